"""Messages of the package's loggers on standard error."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from onlymymodel.progress import emit

PACKAGE = "onlymymodel"


class _Lines(logging.Handler):
    """Writes messages as lines that begin with `omm: `, or as JSON where progress is JSON."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message, with the traceback of its error, if any."""
        text = record.getMessage()
        level = record.levelname.lower()
        named = text if record.levelno >= logging.WARNING else f"{level}: {text}"
        error = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        emit(f"omm: {named}" + f"\n{error}".rstrip(), "message", level=level, text=text, error=error)


@contextmanager
def messages_on_stderr(level: str) -> Iterator[None]:
    """Write the package's messages from a level on to standard error while the context is open.

    Args:
        level: debug, info, warning or error.
    """
    logger, handler = logging.getLogger(PACKAGE), _Lines()
    earlier = logger.level
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(earlier)
