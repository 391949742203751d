"""Addresses of folders in remote stores, such as `s3://bucket/photos`; importing this is quick."""

from __future__ import annotations

import re
from pathlib import Path

from onlymymodel.errors import UserError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_LOCAL = ("file", "local")


def is_remote(text: str) -> bool:
    """Return whether a text is the address of a store, not a path of this machine."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and match[1].lower() not in _LOCAL


def parse_place(text: str) -> Path | str:
    """Return the path that a text is, or the text if it is the address of a store; `file:///photos` is a path.

    Raises:
        UserError: the address has no path.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or match[1].lower() not in _LOCAL:
        return text if match is not None else Path(text)
    if not match[2]:
        raise UserError(f"{text} names no folder: write it as in {text}/photos")
    return Path(match[2])


def parse_address(address: str) -> tuple[str, str]:
    """Return the scheme, and the bucket with the path in it.

    Raises:
        UserError: it is none, or has credentials, a query, a chain of schemes or no bucket. The message has no secret.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UserError("this is not the address of a store: write it as in s3://bucket/photos")
    scheme, rest = match[1].lower(), match[2].rstrip("/")
    if "@" in rest.partition("/")[0] or "?" in rest or "#" in rest:
        raise UserError(
            f"an address of {scheme}:// may have no user, password, key, ? or #: credentials are those of the "
            "client's environment"
        )
    if not rest or "::" in address:
        raise UserError(f"{scheme}:// names no folder here: write it as in {scheme}://bucket/photos")
    return scheme, rest
