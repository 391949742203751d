"""Cache of the hashes of files by stamp, so that unchanged ones are not read again.

A stamp is what a store gives, such as an ETag, or is made of what the file system says about a file of this machine.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import msgspec

from onlymymodel.data.atomic import OWN
from onlymymodel.data.manifest import LinesAt, sha256_file
from onlymymodel.data.regular_file import NO_LINK, open_regular

SOURCES, RESULTS = f"{OWN}sources.jsonl", f"{OWN}results.jsonl"
RECENT = 2.0  # seconds; the coarsest times of changes are those of FAT
_CREATE = 0o666


class Known(msgspec.Struct, frozen=True):
    """Cached facts about a file.

    Attributes:
        name: its path below its folder.
        stamp: see `RemoteFile` and `stamp_of`; while it is the same, the rest holds.
        sha256: of its bytes.
        header: width, height and channels of a photo; None where they are not known.
    """

    name: str
    stamp: str
    sha256: str
    header: tuple[int, int, int] | None = None


class _Name(msgspec.Struct):
    """The field of a line by which it is found."""

    name: str


_NOT_OURS = (msgspec.DecodeError, ValueError, RecursionError)
_DECODER, _NAME_DECODER = msgspec.json.Decoder(Known), msgspec.json.Decoder(_Name)


class Stamps:
    """Cached facts about files by name, kept in a file of JSON lines that may be removed at any time.

    The file is read when it is first needed; of each line only its place is kept in memory.

    Attributes:
        writable: whether `add` keeps anything; who holds the folder may write.

    Args:
        path: of that file; lines that are none of ours are passed over.
        trusted: whether `get` tells what is known; if not, everything is read, and known, again.
    """

    def __init__(self, path: Path, *, trusted: bool = True) -> None:
        self._path, self._trusted = path, trusted
        self.writable = False
        self._lines = LinesAt(path)
        self._places: dict[str, int] | None = None

    def get(self, name: str, stamp: str | None) -> Known | None:
        """Return what is known of a file with a stamp; None if it has changed since, or has no stamp."""
        known = self._last(name) if self._trusted and stamp is not None else None
        return known if known is not None and known.stamp == stamp else None

    def add(self, known: Known) -> None:
        """Keep what is known of a file, if that may and can be written: without it the file is read again."""
        if not self.writable or self._last(known.name) == known:
            return
        try:
            line = msgspec.json.encode(known) + b"\n"
        except UnicodeEncodeError:  # a name of this machine that is no Unicode: it is read each time
            return
        with suppress(OSError):  # the disk is full, or the file is another user's
            with open(self._path, "ab", opener=_opener) as file:
                offset = file.tell()
                file.write(line)
            self._offsets()[known.name] = offset

    def sha256(self, name: str, path: Path | str) -> str:
        """Return the hash of a regular file of this machine, read only if it may have changed. Raises OSError."""
        before = stamp_of(path)
        known = self.get(name, before)
        if known is not None:
            return known.sha256
        found = sha256_file(Path(path))
        if before is not None and stamp_of(path) == before:
            self.add(Known(name, before, found))
        return found

    def _offsets(self) -> dict[str, int]:
        if self._places is None:
            self._places = dict(_names(self._path))
        return self._places

    def _last(self, name: str) -> Known | None:
        offset = self._offsets().get(name)
        if offset is None:
            return None
        try:
            known = _DECODER.decode(self._lines.line(offset))
        except (OSError, *_NOT_OURS):  # it was removed or changed by another program
            return None
        return known if known.name == name else None


class StampedStore:
    """Base class of stores that cache the hashes of originals and results among their records.

    Attributes:
        records: folder of this machine with the records.
        checksum: whether files that have not changed are read again, too.
    """

    records: Path
    checksum: bool

    @cached_property
    def sources(self) -> Stamps:
        """Cached facts about the originals that earlier runs have read."""
        return Stamps(self.records / SOURCES, trusted=not self.checksum)

    @cached_property
    def _results(self) -> Stamps:
        return Stamps(self.records / RESULTS, trusted=not self.checksum)

    def _allow_stamps(self) -> None:
        """Let both caches be written, by the run that holds the store."""
        self.sources.writable = self._results.writable = True


def stamp_of(path: Path | str) -> str | None:
    """Return what changes with the content of a file of this machine; None where that cannot be told.

    It is a hash of size, inode and the times of its last changes, that of its inode included. A file that changed in
    the last seconds has none: a further change might have the same times (as git's index, "racily clean").

    Raises:
        OSError: there is no such file.
    """
    return stamp_from(os.stat(path))  # noqa: PTH116 - of every photo of a large folder


def stamp_from(found: os.stat_result) -> str | None:
    """Return the stamp of a file from its status, see `stamp_of`."""
    if time.time() - max(found.st_mtime, found.st_ctime) < RECENT:
        return None
    facts = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
    return hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()  # the times themselves are nobody's business


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | NO_LINK, _CREATE)


def _names(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and the offset of each line that is one of ours."""
    try:
        file = open_regular(path, follow_links=False)
    except OSError:
        return
    with file:
        offset = 0
        for line in file:
            with suppress(*_NOT_OURS):
                yield _NAME_DECODER.decode(line).name, offset
            offset += len(line)
