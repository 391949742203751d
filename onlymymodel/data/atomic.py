"""Files that are either wholly there or not there at all, whatever kills the process."""

from __future__ import annotations

import os
from pathlib import Path

PARTIAL = ".partial"


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file, or the new one, and never a part of it.

    The bytes go to a neighbor NAME.partial first, reach the disk, and only then take the name. Missing parent
    folders are made. On any error, Ctrl-C included, the neighbor is removed and what was at `path` stays.
    Raises OSError (disk full, no permission, ...).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        # unbuffered: closing a buffered file would try the write that has just failed a second time
        with partial.open("wb", buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make new names in `folder` survive a power failure. Raises OSError. Does nothing on Windows."""
    if os.name == "nt":  # Windows cannot open a folder; it has no such call
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_partials(root: Path) -> list[Path]:
    """Remove what a killed run left half-written anywhere under `root`; return the removed paths, sorted.

    Only regular files named *.partial go; links are not followed. `root` must be a folder that is ours to
    write to, and no other run may be writing there. Raises OSError where one cannot be removed.
    """
    leftovers = []
    for folder, _, names in os.walk(root):
        candidates = [Path(folder, name) for name in names if name.endswith(PARTIAL)]
        leftovers += [path for path in candidates if path.is_file() and not path.is_symlink()]
    for path in leftovers:
        path.unlink()
    return sorted(leftovers)
