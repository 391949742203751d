"""Errors of the clients of remote stores, as OSError with a reason in one line, or as UserError."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from onlymymodel.errors import UserError, first_line

# of an address in a client's message: they may have a signature or a password
_QUERY, _USER = re.compile(r"\?[^\s'\"]*"), re.compile(r"://[^/@\s]*@")
_LONGEST = 300  # characters of a reason


@contextmanager
def as_user_errors(place: str) -> Iterator[None]:
    """Turn OSError into UserError, which names the place."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{place} cannot be used: {error.strerror or first_line(error)}") from error


@contextmanager
def reasons(name: str) -> Iterator[None]:
    """Turn every error of a client into OSError with a reason in one line, without secrets."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "no such object", name) from error
    except FileExistsError as error:
        raise FileExistsError(errno.EEXIST, "it exists", name) from error
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise OSError(getattr(error, "errno", None) or errno.EIO, reason_of(error), name) from error


def reason_of(error: Exception) -> str:
    """Return why a client failed, in one line and without what follows a ? in an address."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
    return _USER.sub("://***@", _QUERY.sub("?***", text))[:_LONGEST]
