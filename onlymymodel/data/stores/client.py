"""Clients of remote stores, from fsspec."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any

from onlymymodel.data.stores.errors import reason_of
from onlymymodel.errors import UserError, did_you_mean, first_line

_S3 = ("s3", "s3a")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # of this package, by scheme


def open_client(scheme: str, rest: str) -> Any:
    """Return the client of an address, an fsspec file system with the settings of its own environment and files.

    Args:
        scheme: of the address.
        rest: what follows it; some clients take a host and a port from it.

    Raises:
        UserError: the scheme is unknown, its client is not installed, not configured or needs more than an address, or
            its server cannot be reached.
    """
    import fsspec

    if scheme not in fsspec.available_protocols():
        raise UserError(f"no store is known by {scheme}://{did_you_mean(scheme, ('s3', 'gs', 'hf', 'memory'))}")
    address = f"{scheme}://{rest}"
    try:
        kind = fsspec.get_filesystem_class(scheme)
        values = kind._get_kwargs_from_urls(address)
        if missing := _missing(kind, values):
            names = " and ".join(missing)
            raise UserError(f"{scheme}:// cannot be used: its client needs {names}, which no address has")
        # neither an instance nor a listing of an earlier run in this process
        client = fsspec.filesystem(scheme, **values, skip_instance_cache=True, use_listings_cache=False)
    except ImportError as error:
        extra = f"onlymymodel[{_EXTRAS[scheme]}]" if scheme in _EXTRAS else None
        hint = f"pip install '{extra}'" if extra else first_line(error)
        raise UserError(f"{scheme}:// needs a client that is not installed: {hint}") from error
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{address} cannot be used: {reason_of(error)}") from error
    if scheme in _S3:
        # botocore repeats requests as its settings say; s3fs would repeat all of that 5 times, and readings 25 times
        client.retries = 1
    return client


def _missing(kind: Any, values: dict[str, Any]) -> list[str]:
    """Return the arguments that a client needs and has neither from an address nor from its environment."""
    from fsspec.config import apply_config

    given = apply_config(kind, values)
    return [
        name
        for name, parameter in list(signature(kind.__init__).parameters.items())[1:]
        if parameter.default is Parameter.empty
        and parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        and name not in given
    ]
