"""Read files of strangers: never a pipe or a device, never more bytes than a limit, and no link where none may be."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Protocol

# O_BINARY exists on Windows only; the others do not exist there
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a pipe would wait until something writes to it

_CHUNK = 1 << 20  # bytes of a file that grows that are read at once
# a pixel has at most four channels of 16 bits; the rest is room for metadata, previews and a short film behind a photo
_BYTES_PER_PIXEL, _BYTES_BESIDE_PIXELS = 8, 64 << 20


class NamedByKey:
    """The name and suffix of a `StoredFile`, from its key."""

    key: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The end of its name, from the last dot."""
        return PurePosixPath(self.name).suffix


class StoredFile(Protocol):
    """A file in a remote store, which is opened as a regular file of this machine is."""

    @property
    def name(self) -> str:
        """The last part of its path."""

    @property
    def suffix(self) -> str:
        """The end of its name, from the last dot."""

    @property
    def key(self) -> str:
        """Its path below its folder."""

    @property
    def stamp(self) -> str | None:
        """Changes with the content; None where that is not known."""

    @property
    def size(self) -> int:
        """Number of bytes. Raises OSError where it has to be read for that."""

    def open(self) -> BufferedReader:
        """Open it for reading; only what is read is transferred. Raises OSError."""

    def read_all(self) -> bytes:
        """Return all bytes. Raises OSError."""


Readable = Path | StoredFile


def open_regular(path: Readable, *, follow_links: bool = True) -> BufferedReader:
    """Open a regular file for reading, without waiting for anything.

    Args:
        path: of the file, or a file in a store.
        follow_links: whether `path` itself may be a symbolic link.

    Raises:
        OSError: it is a folder, a pipe, a socket or a device, or a link that may not be followed; or it cannot be
            opened.
    """
    if not isinstance(path, Path):
        return path.open()
    descriptor = os.open(path, _READ | _NO_WAIT | (0 if follow_links else NO_LINK))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Readable, max_bytes: int | None = None, *, follow_links: bool = True) -> bytes:
    """Return the bytes of a regular file, whose size is checked before memory is taken.

    Args:
        path: of the file, or a file in a store.
        max_bytes: largest size; any if None.
        follow_links: see `open_regular`.

    Raises:
        OSError: see `open_regular`; or the file is larger than `max_bytes`.
    """
    if not isinstance(path, Path):
        if max_bytes is not None and path.size > max_bytes:
            raise OSError(errno.EFBIG, f"{path.size:,} bytes, the limit is {max_bytes:,}", path.name)
        return path.read_all()
    with open_regular(path, follow_links=follow_links) as file:
        size = os.fstat(file.fileno()).st_size
        parts = list[bytes]()
        while True:
            if max_bytes is not None and size > max_bytes:
                raise OSError(errno.EFBIG, f"{size:,} bytes, the limit is {max_bytes:,}", str(path))
            parts.append(file.read(_CHUNK if parts else size + 1))
            if not parts[-1]:
                return b"".join(parts[:-1])
            size = max(size, sum(map(len, parts)))  # it may grow while it is read


def is_file(path: Path) -> bool:
    """Return whether a file exists; False also for a path that the system refuses, such as one that is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Return whether a folder exists; False as in `is_file`."""
    try:
        return path.is_dir()
    except OSError:
        return False


def max_photo_bytes(max_pixels: int) -> int:
    """Return the largest number of bytes of a photo's file: enough for `max_pixels` without compression."""
    return _BYTES_PER_PIXEL * max_pixels + _BYTES_BESIDE_PIXELS
