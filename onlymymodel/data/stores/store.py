"""Interface of a store of results, and its implementation for a local folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from onlymymodel.data.atomic import leads_through_link, refuse_links, remove_partials, write_atomic
from onlymymodel.data.folder_lock import lock_folder
from onlymymodel.data.regular_file import Readable, read_regular
from onlymymodel.data.stores.stamps import StampedStore, Stamps, stamp_of


class Store(Protocol):
    """The folder of a run's results. Names are paths below it, with forward slashes.

    Records (`run.json`, the manifest, `seal.json`) are read and written in the folder `records`, and brought to the
    store by the last three methods. Results are written to the store itself.
    """

    @property
    def records(self) -> Path:
        """A folder of this machine with the records: that of the results, or a copy of a remote store's."""

    @property
    def base(self) -> Path:
        """The folder that relative files of this machine in the records start from."""

    @property
    def sources(self) -> Stamps:
        """Cached facts about the originals that earlier runs have read."""

    def lock(self, *, photos: int, offset: int) -> AbstractContextManager[None]:
        """Hold the store, so that no other run writes into it. Raises UserError where one does.

        Args:
            photos: number of photos that the run is about, for `omm status`.
            offset: end of the manifest of earlier runs.
        """

    def below(self, name: str, records: Path) -> Store:
        """Return a folder of the store as a store of its own, whose records are in another folder."""

    def names(self) -> Iterator[str]:
        """Yield the names of all files, in order. Raises OSError."""

    def check(self, name: str) -> None:
        """Check, before a result is computed, that a file of this name can be. Raises OSError."""

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the content of a file, which no link leads to. Raises OSError, also for a larger file."""

    def holds(self, name: str, sha256: str | None) -> bool:
        """Return whether there is a file of this name and content; one that has not changed is not read again."""

    def write(self, name: str, data: bytes, original: Readable) -> None:
        """Write a result, completely or not at all, as private as its original. Raises OSError."""

    def remove(self, name: str) -> None:
        """Remove a result of an earlier run, if it is there. Raises OSError."""

    def remove_partials(self) -> None:
        """Remove what a killed run left half-written. Raises OSError."""

    def create_record(self, name: str) -> bool:
        """Bring a record to the store if there is none; else take over the one that is there, and return False.

        Raises:
            UserError: it cannot be written or read.
        """

    def save_records(self) -> None:
        """Bring what is new in the records to the store, after each batch. Raises UserError."""

    def finish_records(self) -> None:
        """Bring all records to the store, in their final form. Raises UserError."""


@dataclass(frozen=True)
class LocalStore(StampedStore):
    """A folder of this machine.

    Attributes:
        records: the folder.
        checksum: whether files that have not changed are read again, too.
    """

    records: Path
    checksum: bool = False
    _written: list[str] = field(default_factory=list, init=False, compare=False)  # whose stamps are not known yet

    @property
    def base(self) -> Path:
        """The folder itself."""
        return self.records

    @contextmanager
    def lock(self, *, photos: int, offset: int) -> Iterator[None]:
        """Hold the folder, see `lock_folder`."""
        with lock_folder(self.records, photos=photos, offset=offset):
            self._allow_stamps()
            yield

    def below(self, name: str, records: Path) -> LocalStore:  # noqa: ARG002 - a folder has its records in itself
        """Return a folder of the folder."""
        return LocalStore(self.records / name, self.checksum)

    def names(self) -> Iterator[str]:
        """Yield the names of all files, in order."""
        for path in sorted(self.records.rglob("*")):
            if path.is_file():
                yield path.relative_to(self.records).as_posix()

    def check(self, name: str) -> None:
        """Check that no folder of the path is a link, and that the system accepts its name. Raises OSError."""
        path = self.records / name
        refuse_links(path.parent, self.records)
        with suppress(FileNotFoundError):
            path.lstat()

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the content of a regular file, which no link leads to. Raises OSError."""
        refuse_links(self.records / name, self.records)
        return read_regular(self.records / name, max_bytes)

    def holds(self, name: str, sha256: str | None) -> bool:
        """Return whether there is a regular file of this name and content, which no link leads to."""
        path = os.path.join(self.records, name)  # noqa: PTH118 - of every photo of a large folder
        try:
            return not leads_through_link(path, self.records) and self._results.sha256(name, path) == sha256
        except OSError:  # whatever it is, it is written again
            return False

    def write(self, name: str, data: bytes, original: Readable) -> None:
        """Write a file with the permissions of the original, in folders with those of the original's. Raises OSError.

        Where these are not known, only the owner may read them.
        """
        path = self.records / name
        refuse_links(path.parent, self.records)
        folders = PurePosixPath(name).parents[:-1]  # the last is the store itself
        for depth, folder in reversed(list(enumerate(folders))):
            mode = _permissions(original.parents[depth], 0o700) if isinstance(original, Path) else 0o700
            (self.records / folder).mkdir(mode | 0o700, exist_ok=True)
        mode = _permissions(original, 0o600) if isinstance(original, Path) else 0o600
        write_atomic(path, data, root=self.records, mode=mode)
        self._written.append(name)

    def remove(self, name: str) -> None:
        """Remove a file or a link; a folder or a device was not written by a run and stays. Raises OSError."""
        path = self.records / name
        refuse_links(path.parent, self.records)
        if path.is_file() or path.is_symlink():
            path.unlink()

    def remove_partials(self) -> None:
        """Remove half-written files, see `atomic.remove_partials`. Raises OSError."""
        remove_partials(self.records)

    def create_record(self, name: str) -> bool:  # noqa: ARG002 - any record
        """Return True: it is where it was written."""
        return True

    def save_records(self) -> None:
        """Keep the stamps of results, but of those just written, which have none; records are where they are."""
        waiting = self._written.copy()
        self._written.clear()
        for name in waiting:
            path = self.records / name
            with suppress(OSError):  # it is read again the next time
                if stamp_of(path) is None:
                    self._written.append(name)
                elif not leads_through_link(path, self.records):
                    self._results.sha256(name, path)

    def finish_records(self) -> None:
        """Do nothing: they are written where they are."""


def _permissions(path: Path, gone: int) -> int:
    """Return the permissions of a file or folder; `gone` if it is there no more."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return gone
