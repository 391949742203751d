"""Temporary folders of the server, and the removal of those that a killed server left behind.

A running server holds a lock on a file in its folder, which ends with its process, however that ends.
"""

import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

PREFIX = "omm-app-"
LOCK = "lock"
ABANDONED = 24 * 3600  # seconds after which a folder without a lock belongs to no server


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder that only this user can read; it is removed at the end."""
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name,
        (Path(name) / f"{LOCK}.new").open("wb") as file,
    ):
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
            # named only now: a lock that has its name is free only once this process has ended
            Path(file.name).rename(Path(name) / LOCK)
        yield Path(name)


def sweep() -> int:
    """Remove the folders of this user's servers that were killed; return their number. Windows has no such locks."""
    if sys.platform == "win32":
        return 0
    return sum(_remove_dead(path) for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


def _remove_dead(path: Path) -> bool:
    """Remove a folder unless a server runs in it or it is somebody else's; return whether it is gone."""
    if sys.platform == "win32":
        return False
    try:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return False
        file = os.open(path / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        if not path.exists() or time.time() - status.st_mtime < ABANDONED:
            return False
        shutil.rmtree(path, ignore_errors=True)
        return not path.exists()
    except OSError:  # another user's, or no regular lock
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
        return not path.exists()
    except BlockingIOError:  # its server runs
        return False
    finally:
        os.close(file)
