"""Let one run at a time write into a folder."""

from __future__ import annotations

import errno
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from onlymymodel.data.atomic import OWN
from onlymymodel.data.regular_file import NO_LINK
from onlymymodel.errors import UserError

LOCK = f"{OWN}lock"
_FLAGS = os.O_RDWR | os.O_CREAT | NO_LINK | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
_LONGEST = 4096  # bytes that are read of a lock's file


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of an existing folder, so that no other run writes into it.

    The lock is one of the operating system on the file `.omm-lock`, which names its holder: it ends with the process,
    so that the file of a killed run holds nothing up. The file is removed at the end.

    Raises:
        UserError: another run holds it (the message says which), or the file cannot be written.
    """
    path = folder / LOCK
    try:
        descriptor = _acquire(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        try:
            if sys.platform != "win32":  # while it is held; Windows removes no open file, the next run takes it over
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _acquire(path: Path) -> int:
    """Return a descriptor of the lock's file, which holds the lock until it is closed."""
    while True:
        descriptor = os.open(path, _FLAGS, 0o666)
        try:
            try:
                _lock(descriptor)
            except OSError as error:
                if error.errno not in _HELD:
                    raise
                raise UserError(
                    f"{path.parent} is in use by another run ({_holder(descriptor)}): wait for its end, or give "
                    "another --out"
                ) from error
            if _is_at(descriptor, path):  # else its holder has just removed it
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                now = datetime.now(UTC).isoformat(timespec="seconds")
                holder = {"process": os.getpid(), "computer": platform.node(), "since": now}
                os.write(descriptor, json.dumps(holder).encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """Return who holds the lock, in words. What another program wrote there is not believed."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = json.loads(os.read(descriptor, _LONGEST))
        process, since = int(holder["process"]), datetime.fromisoformat(holder["since"])
        computer = "".join(character for character in str(holder["computer"]) if character.isprintable())
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "which has only just begun"
    return f"process {process} on {computer}, since {since:%Y-%m-%d %H:%M:%S} UTC"


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _LONGEST, os.SEEK_SET)  # behind the text, which others cannot read where it is locked
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
