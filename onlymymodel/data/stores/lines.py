"""A file of JSON lines in a store whose objects cannot be appended to.

New lines become further objects, the parts; at the end of a run all lines become one object, and the parts are removed.
A kill at any moment loses no line that was saved: a part is removed only once its lines are elsewhere, and lines that
are then found twice are equal, of which the last one counts.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from onlymymodel.data.atomic import OWN
from onlymymodel.data.stores.remote import RemoteFolder

JOINED = 200  # small parts that become one larger part, so that a long run leaves few to read


def folder_of_parts(name: str) -> str:
    """Return the folder with the parts of the lines of this name; it is gone once a run has ended."""
    return f"{OWN}{name.removeprefix(OWN)}.parts"


@dataclass
class RemoteLines:
    """Lines of a store, and their copy on this machine, which is the one that is written.

    Attributes:
        folder: the folder of the store.
        name: of the object with all lines.
        path: of the copy, in a folder of its own.
    """

    folder: RemoteFolder
    name: str
    path: Path
    _saved: int = field(default=0, init=False)  # bytes of the copy that are in the store
    _whole: bool = field(default=True, init=False)  # whether the one object has them all
    _small: list[str] = field(default_factory=list, init=False)
    _large: list[str] = field(default_factory=list, init=False)
    _joined_from: int = field(default=0, init=False)  # where the lines of the small parts begin
    _next: int = field(default=1, init=False)
    _finished: bool = field(default=False, init=False)

    @property
    def prefix(self) -> str:
        """The beginning of the keys of all parts."""
        return f"{folder_of_parts(self.name)}/"

    def load(self) -> None:
        """Copy all lines from the store. Raises OSError."""
        self.folder.download(self.name, self.path)
        for part in self.folder.files_below(self.prefix):
            with self.path.open("ab") as copy:
                copy.write(part.read_all())
            self._large.append(part.key)
            number = part.key.removeprefix(self.prefix).partition("-")[0]
            self._next = max(self._next, int(number) + 1 if number.isascii() and number.isdigit() else 1)
        self._whole = not self._large
        self._saved = self._joined_from = self._size()

    def save(self) -> None:
        """Bring lines that were appended to the copy to the store, as a part. Raises OSError."""
        size = self._size()
        if size <= self._saved or self._finished:
            return
        self._small.append(self._put(self._saved, size, self._next))
        self._next += 1
        self._saved, self._whole = size, False
        if len(self._small) >= JOINED:
            # in the order of keys it comes before the parts that it stands for, should some of them stay
            self._large.append(self._put(self._joined_from, size, self._next - len(self._small)))
            for key in self._small:
                self.folder.remove(key)
            self._small, self._joined_from = [], size

    def finish(self) -> None:
        """Make all lines of the copy, which may have been written anew, one object. Raises OSError."""
        self._finished = True  # it may have been written anew: its end is no longer what was appended
        size = self._size()
        if self._whole and size == self._saved:
            return
        self.folder.upload(self.path, self.name)
        for key in (*self._large, *self._small):
            with suppress(OSError):  # it is read once more by the next run
                self.folder.remove(key)
        self._saved = self._joined_from = size
        self._large, self._small, self._whole = [], [], True

    def _put(self, start: int, end: int, number: int) -> str:
        """Write a part with the copy's bytes from `start` to `end`, and return its key. Raises OSError."""
        with self.path.open("rb") as copy:
            copy.seek(start)
            lines = copy.read(end - start)
        key = f"{self.prefix}{number:010}-{secrets.token_hex(4)}.jsonl"  # another run never writes the same object
        self.folder.put(key, lines)
        return key

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0
