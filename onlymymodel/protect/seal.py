"""The seal of a protected folder: a hash chain over `run.json` and the manifest's lines, and a signature of its end.

The lines have the hashes of originals and files, so that the chain covers these too. Anyone can make a chain: only a
signature shows who made it.
"""

import hashlib
import json
from dataclasses import dataclass
from itertools import chain as chain_of
from pathlib import Path

import msgspec

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.manifest import Manifest, sha256
from onlymymodel.data.regular_file import read_regular
from onlymymodel.errors import UserError
from onlymymodel.protect import run_record
from onlymymodel.protect.photo_record import MANIFEST
from onlymymodel.protect.signing import Signer

NAME = "seal.json"
SCHEMA = 1
DOMAIN = b"onlymymodel seal 1\n"  # what is hashed and signed here means nothing elsewhere
MAX_BYTES = 1 << 30  # of a seal: the links of more than ten million photos


@dataclass(frozen=True)
class Seal:
    """The content of `seal.json`.

    Attributes:
        links: SHA-256, as 64 hexadecimal digits, of `run.json`, then of each line of the manifest, each together with
            the link before it.
        public_key: of the signature, 32 bytes (Ed25519) as hexadecimal digits; "" without one.
        signature: of the last link, 64 bytes as hexadecimal digits; "" without one.
    """

    schema: int
    links: tuple[str, ...]
    public_key: str = ""
    signature: str = ""

    @property
    def signed_message(self) -> bytes:
        """The bytes that the signature is of."""
        return DOMAIN + self.links[-1].encode()


def chain(out: Path) -> tuple[str, ...]:
    """Return the links of a folder as it is now, see `Seal`. Every byte of both files counts.

    Raises:
        UserError: a file cannot be read.
    """
    links = [""]
    try:
        lines = (line.removesuffix(b"\n") for _, line in Manifest(out / MANIFEST).lines())
        for content in chain_of((run_record.read_bytes(out),), lines):
            links.append(hashlib.sha256(DOMAIN + links[-1].encode() + sha256(content).encode()).hexdigest())
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error
    return tuple(links[1:])


def seal_folder(out: Path, signer: Signer | None = None) -> bool:
    """Write `seal.json` of a folder whose run has ended.

    A seal that still holds is left as it is, with its signature, unless there is a key to sign with.

    Args:
        out: the folder.
        signer: signs the seal; it has no signature if None.

    Returns:
        Whether a signature was lost: the earlier seal had one, no longer holds, and there is no key.

    Raises:
        UserError: a file cannot be read or written.
    """
    earlier, links = _earlier(out), chain(out)
    if signer is None and earlier is not None and earlier.links == links:
        return False
    seal = Seal(SCHEMA, links)
    if signer is not None:
        seal = Seal(SCHEMA, links, signer.public_key.hex(), signer.sign(seal.signed_message).hex())
    try:
        write_atomic(out / NAME, (json.dumps(msgspec.to_builtins(seal), indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"{out / NAME} cannot be written: {error.strerror}") from error
    return earlier is not None and bool(earlier.signature) and not seal.signature


def read_seal(out: Path) -> Seal | None:
    """Return the seal of a folder; None if it has none.

    Raises:
        UserError: it cannot be read, is broken, or of another schema.
    """
    try:
        seal = msgspec.json.decode(read_regular(out / NAME, MAX_BYTES, follow_links=False), type=Seal)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{out / NAME} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # ValidationError is a ValueError
        raise UserError(f"{out / NAME} is broken: {error}") from error
    if seal.schema != SCHEMA:
        raise UserError(f"{out / NAME} is of schema {seal.schema}; this version reads {SCHEMA}")
    if not seal.links:
        raise UserError(f"{out / NAME} is broken: it has no links")
    return seal


def _earlier(out: Path) -> Seal | None:
    """Return the seal that is there; None also if it is broken, since it is replaced."""
    try:
        return read_seal(out)
    except UserError:
        return None
