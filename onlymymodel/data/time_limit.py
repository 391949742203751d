"""A limit on the time that a piece of work takes, which the work checks between its parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

_END: ContextVar[float | None] = ContextVar("end", default=None)


class TimeUp(Exception):
    """Work took longer than its limit."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Limit the time of what is done inside, by this thread; None for no limit."""
    token = _END.set(None if seconds is None else monotonic() + seconds)
    try:
        yield
    finally:
        _END.reset(token)


def check_time() -> None:
    """Raise TimeUp if the time is over."""
    end = _END.get()
    if end is not None and monotonic() > end:
        raise TimeUp
