"""Exit at once on Ctrl-C while a command starts."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130
_last_words = {1: "", 2: "\nomm: stopped\n"}  # by file descriptor


def set_last_words(out: str, err: str) -> None:
    """Set what is written to standard output and standard error where the process ends at once."""
    _last_words.update({1: out, 2: err})


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """End the process at once on Ctrl-C, with its last words and exit code 130; for imports.

    Imports take seconds, have nothing to clean up, and may lose a KeyboardInterrupt, which Python only prints if it
    is raised in a callback (of a weak reference, for example). A handler that a program has set is not replaced.
    """
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_default or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit(*_: object) -> None:
    try:
        for descriptor, text in _last_words.items():
            os.write(descriptor, text.encode())
    finally:  # a closed pipe, for example
        os._exit(INTERRUPTED)
