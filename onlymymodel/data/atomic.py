"""Write files completely or not at all, even if the process is killed, and never through a symbolic link."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from onlymymodel.data.regular_file import NO_LINK

OWN = ".omm-"  # begins the name of every file that is not a result: they may be removed, and are never a stranger's
PARTIAL = ".partial"

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)  # from file systems that sync no folders, such as VirtualBox's shared ones
# O_BINARY exists on Windows only
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def write_atomic(
    path: Path, data: bytes | Iterable[bytes], *, root: Path | None = None, mode: int | None = None
) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part of it.

    The bytes are written to a new file of a random name in the same folder and synced to the disk, then the file is
    renamed: a link at `path` is replaced, not followed. Missing parent folders are created. On any error, Ctrl-C
    included, the new file is removed and `path` is unchanged.

    Args:
        path: of the file.
        data: its content, or the parts of it, which are not all in memory at once.
        root: a folder that contains `path`, if only folders up to it may be links; the folder of `path` if None.
        mode: permissions of the file; those of any new file if None. The file never has more, even half-written.

    Raises:
        OSError: the disk is full, permission is denied, a folder below `root` is a link, ...
    """
    refuse_links(path.parent, path.parent if root is None else root)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{OWN}{secrets.token_hex(8)}{PARTIAL}")  # short, however long the name of `path` is
    descriptor = os.open(partial, _NEW, 0o666 if mode is None else mode & 0o600)
    try:
        try:
            for part in (data,) if isinstance(data, bytes) else data:
                rest = memoryview(part)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            if mode is not None and hasattr(os, "fchmod"):  # Windows has it since Python 3.13
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def refuse_links(path: Path, root: Path) -> None:
    """Check that nothing from below `root` down to `path` is a symbolic link; what does not exist is none.

    Raises:
        OSError: there is a link.
    """
    link = _first_link(path, root)
    if link is not None:
        raise OSError(errno.ELOOP, "a symbolic link, which is not followed", str(link))


def leads_through_link(path: Path | str, root: Path) -> bool:
    """Return whether anything from below `root` down to `path` is a symbolic link."""
    return _first_link(path, root) is not None


def _first_link(path: Path | str, root: Path) -> Path | None:
    place, text = str(root), str(path)
    # of every photo of a large folder: without making paths, as far as possible
    below = text.startswith(place + os.sep) and ".." not in text
    parts = text[len(place) + 1 :].split(os.sep) if below else Path(path).relative_to(root).parts  # noqa: PTH206
    for part in parts:
        place = os.path.join(place, part)  # noqa: PTH118
        if os.path.islink(place):  # noqa: PTH114
            return Path(place)
    return None


def sync_folder(folder: Path) -> None:
    """Sync the names in `folder` to the disk, so that new files survive a power failure.

    Does nothing on Windows, and on file systems that cannot.

    Raises:
        OSError: the folder cannot be opened or synced.
    """
    if os.name == "nt":  # Windows cannot open a folder; it has no such function
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def remove_partials(root: Path) -> list[Path]:
    """Remove the half-written files of a killed run anywhere below `root` and return their paths, sorted.

    Only regular files named *.partial are removed; links are not followed.

    Args:
        root: a folder that belongs to us; no other run may be writing there.

    Raises:
        OSError: a file cannot be removed.
    """
    leftovers = []
    for folder, _, names in os.walk(root):
        candidates = [Path(folder, name) for name in names if name.endswith(PARTIAL)]
        leftovers += [path for path in candidates if path.is_file() and not path.is_symlink()]
    for path in leftovers:
        path.unlink()
    return sorted(leftovers)
