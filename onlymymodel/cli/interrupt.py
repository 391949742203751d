"""Ctrl-C: exit at once while a command starts, and stop it whatever libraries make of the signal."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
_last_words = {1: "", 2: "\nomm: stopped\n"}  # by file descriptor
_noted = threading.Event()  # Ctrl-C was pressed


def set_last_words(out: str, err: str) -> None:
    """Set what is written to standard output and standard error where the process ends at once."""
    _last_words.update({1: out, 2: err})


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """End the process at once on Ctrl-C, with its last words and exit code 130; for imports.

    Imports take seconds, have nothing to clean up, and may lose a KeyboardInterrupt, which Python only prints if it
    is raised in a callback (of a weak reference, for example). A handler that a program has set is not replaced.
    """
    usual = _usual_handler()
    if usual is None:
        yield
        return
    signal.signal(signal.SIGINT, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


@contextmanager
def interrupts_noted() -> Iterator[None]:
    """Raise KeyboardInterrupt in place of an error that follows Ctrl-C, which a library has made of it.

    Code that calls Python from another language may lose a KeyboardInterrupt, as safetensors does while it makes a
    tensor. A handler that a program has set is not replaced.
    """
    usual = _usual_handler()
    if usual is None:
        yield
        return
    _noted.clear()
    signal.signal(signal.SIGINT, _note)
    try:
        yield
    except Exception as error:
        if _noted.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, usual)


def _usual_handler() -> Callable[[int, FrameType | None], object] | None:
    """Return the handler of Ctrl-C if it is Python's or `_note`, and may be replaced by this thread; else None."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        return None
    return next((usual for usual in (signal.default_int_handler, _note) if usual is handler), None)


def _note(number: int, frame: FrameType | None) -> NoReturn:
    _noted.set()
    signal.default_int_handler(number, frame)


def _exit(*_: object) -> None:
    try:
        for descriptor, text in _last_words.items():
            os.write(descriptor, text.encode())
    finally:  # a closed pipe, for example
        os._exit(INTERRUPTED)
