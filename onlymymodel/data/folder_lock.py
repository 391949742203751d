"""Let one run at a time write into a folder."""

from __future__ import annotations

import errno
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import sleep

from onlymymodel.data.atomic import OWN
from onlymymodel.data.regular_file import NO_LINK, open_regular
from onlymymodel.errors import UserError

LOCK = f"{OWN}lock"
_FLAGS = os.O_RDWR | os.O_CREAT | NO_LINK | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
_LONGEST = 4096  # bytes that are read of a lock's file
_TRIES, _PAUSE = 3, 0.05  # seconds: `read_lock` holds it for less


@dataclass(frozen=True)
class Holder:
    """Holder of a folder's lock, or its last holder if that was killed.

    Attributes:
        process: its number.
        computer: name of its computer.
        since: when it began.
        photos: number of photos that it is about; None where it does not say.
        offset: number of bytes that the manifest had when it began.
        holds: whether it holds the lock now, as far as this computer can see.
    """

    process: int
    computer: str
    since: datetime
    photos: int | None
    offset: int
    holds: bool

    def __str__(self) -> str:
        return f"process {self.process} on {self.computer}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"


@contextmanager
def lock_folder(folder: Path, *, photos: int | None = None, offset: int = 0) -> Iterator[None]:
    """Hold the lock of an existing folder, so that no other run writes into it.

    The lock is one of the operating system on the file `.omm-lock`, which names its holder: it ends with the process,
    so that the file of a killed run holds nothing up. The file is removed at the end.

    Args:
        folder: the folder.
        photos, offset: see `Holder`; for those who look at the folder meanwhile.

    Raises:
        UserError: another run holds it (the message says which), or the file cannot be written.
    """
    path = folder / LOCK
    try:
        descriptor = _acquire(path, {"photos": photos, "offset": offset})
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


def read_lock(folder: Path) -> Holder | None:
    """Return who holds the lock of a folder, or held it when it was killed; None if nobody does.

    Nothing is written: the lock is asked for as readers share it, and given back at once.

    Raises:
        OSError: the lock's file cannot be read.
    """
    try:
        file = open_regular(folder / LOCK, follow_links=False)
    except FileNotFoundError:
        return None
    with file:
        try:
            _share(file.fileno())
            holds = False
        except OSError as error:
            if error.errno not in _HELD:
                raise
            holds = True
        return _holder(file.fileno(), holds=holds)


def _acquire(path: Path, facts: dict[str, int | None]) -> int:
    """Return a descriptor of the lock's file, which holds the lock until it is closed."""
    while True:
        descriptor = os.open(path, _FLAGS, 0o666)
        try:
            try:
                _lock_patiently(descriptor)
            except OSError as error:
                if error.errno not in _HELD:
                    raise
                raise UserError(
                    f"{path.parent} is in use by another run ({_named(descriptor)}): wait for its end, or give "
                    "another --out"
                ) from error
            if _is_at(descriptor, path):  # else its holder has just removed it
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                now = datetime.now(UTC).isoformat(timespec="seconds")
                holder = {"process": os.getpid(), "computer": platform.node(), "since": now, **facts}
                os.write(descriptor, json.dumps(holder).encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock_patiently(descriptor: int) -> None:
    """Take the lock, even if somebody looks at it at this moment. Raises OSError if it is held."""
    for _ in range(_TRIES - 1):
        try:
            _lock(descriptor)
            return
        except OSError as error:
            if error.errno not in _HELD:
                raise
            sleep(_PAUSE)
    _lock(descriptor)


def _named(descriptor: int) -> str:
    """Return who holds the lock, in words."""
    return str(_holder(descriptor, holds=True) or "which has only just begun")


def _holder(descriptor: int, *, holds: bool) -> Holder | None:
    """Return who wrote a lock's file; None where it does not say. What another program wrote there is not believed."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = json.loads(os.read(descriptor, _LONGEST))
        process, since = int(holder["process"]), datetime.fromisoformat(holder["since"]).astimezone(UTC)
        computer = "".join(character for character in str(holder["computer"]) if character.isprintable())
        photos, offset = holder.get("photos"), int(holder.get("offset", 0))
        return Holder(process, computer, since, None if photos is None else int(photos), offset, holds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


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

    _share = _lock  # until the file is closed

else:
    import fcntl

    def _share(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
