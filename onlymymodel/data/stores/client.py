"""Clients of remote stores, from fsspec."""

from __future__ import annotations

from typing import Any

from onlymymodel.data.stores.errors import reason_of
from onlymymodel.errors import UserError, did_you_mean, first_line

_S3 = ("s3", "s3a")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # of this package, by scheme


def open_client(scheme: str) -> Any:
    """Return the client of a scheme, an fsspec file system with the settings of its own environment and files.

    Raises:
        UserError: it is unknown, not installed or not configured.
    """
    import fsspec

    if scheme not in fsspec.available_protocols():
        raise UserError(f"no store is known by {scheme}://{did_you_mean(scheme, ('s3', 'gs', 'hf', 'memory'))}")
    try:
        # neither an instance nor a listing of an earlier run in this process
        client = fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False)
    except ImportError as error:
        extra = f"onlymymodel[{_EXTRAS[scheme]}]" if scheme in _EXTRAS else None
        hint = f"pip install '{extra}'" if extra else first_line(error)
        raise UserError(f"{scheme}:// needs a client that is not installed: {hint}") from error
    except Exception as error:
        raise UserError(f"{scheme}:// cannot be used: {reason_of(error)}") from error
    if scheme in _S3:
        # botocore repeats requests as its settings say; s3fs would repeat all of that 5 times, and readings 25 times
        client.retries = 1
    return client
