"""Cache of the hashes of remote files by stamp, such as an ETag, so that unchanged ones are not read again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from onlymymodel.data.atomic import OWN
from onlymymodel.data.regular_file import NO_LINK, open_regular

SOURCES, RESULTS = f"{OWN}sources.jsonl", f"{OWN}results.jsonl"
_CREATE = 0o666


class Known(msgspec.Struct, frozen=True):
    """Cached facts about a file.

    Attributes:
        name: its path below its folder.
        stamp: see `RemoteFile`; while the store gives the same one, the rest holds.
        sha256: of its bytes.
        header: width, height and channels of a photo; None where they are not known.
    """

    name: str
    stamp: str
    sha256: str
    header: tuple[int, int, int] | None = None


_DECODER = msgspec.json.Decoder(Known)


class Stamps:
    """Cached facts about files by name, kept in a file of JSON lines that may be removed at any time.

    Args:
        path: of that file; lines that are none of ours are passed over.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = {known.name: known for known in _read(path)}

    def get(self, name: str, stamp: str | None) -> Known | None:
        """Return what is known of a file with a stamp; None if it has changed since, or its store gives no stamps."""
        known = self._known.get(name)
        return known if known is not None and stamp is not None and known.stamp == stamp else None

    def add(self, known: Known) -> None:
        """Keep what is known of a file. Raises OSError."""
        if self._known.get(known.name) == known:
            return
        with open(self._path, "ab", opener=_opener) as file:
            file.write(msgspec.json.encode(known) + b"\n")
        self._known[known.name] = known

    def all(self) -> Iterator[Known]:
        """Yield what is known of every file."""
        yield from self._known.values()


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | NO_LINK, _CREATE)


def _read(path: Path) -> Iterator[Known]:
    try:
        file = open_regular(path, follow_links=False)
    except OSError:
        return
    with file:
        for line in file:
            try:
                yield _DECODER.decode(line)
            except (msgspec.DecodeError, ValueError, RecursionError):
                continue
