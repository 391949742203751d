"""The results of a run in a remote store: photos go there at once, records are written on this machine and copied."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from onlymymodel.data.manifest import sha256 as sha256_of
from onlymymodel.data.regular_file import Readable
from onlymymodel.data.stores.errors import as_user_errors
from onlymymodel.data.stores.lines import RemoteLines
from onlymymodel.data.stores.lock import PREFIX, lock_remote
from onlymymodel.data.stores.remote import RemoteFolder
from onlymymodel.data.stores.stamps import RESULTS, SOURCES, Known, StampedStore
from onlymymodel.errors import UserError

_LONGEST_PATH = 1024  # bytes of a key, in S3 and Google Cloud Storage


@dataclass(eq=False)
class RemoteStore(StampedStore):
    """A folder of a remote store, see `Store`; make it with `load_store`.

    Attributes:
        folder: the folder.
        records: the copy of its records, an empty folder of this machine until `load_store` returns.
        whole: names of the records that are written as a whole.
        lines: the records that grow by lines.
        base: the folder that relative files of this machine in the records start from.
        checksum: whether objects that have not changed are read again, too.
    """

    folder: RemoteFolder
    records: Path
    whole: Sequence[str]
    lines: Sequence[RemoteLines]
    base: Path = field(default_factory=Path)
    checksum: bool = False
    _copied: dict[str, bytes] = field(default_factory=dict, init=False)  # records as they are in the store
    _listed: dict[str, str | None] | None = field(default=None, init=False)  # stamps by name

    def __str__(self) -> str:
        return self.folder.uri

    @contextmanager
    def lock(self, *, photos: int, offset: int) -> Iterator[None]:
        """Hold the folder, see `lock_remote`. The lines that are there at the end, also that by an error, are saved."""
        with lock_remote(self.folder, {"photos": photos, "offset": offset}):
            self._allow_stamps()
            try:
                yield
            except BaseException:
                with suppress(OSError):  # their photos are protected again
                    self._save_lines()
                raise

    def below(self, name: str, records: Path) -> RemoteStore:
        """Return a folder of the folder; `records` may be there, but has to be empty. Raises UserError."""
        records.mkdir(exist_ok=True)
        names = [lines.name for lines in self.lines]
        return load_store(self.folder.below(name), records, whole=self.whole, lines=names, checksum=self.checksum)

    def names(self) -> Iterator[str]:
        """Yield the names of all objects but those of a run at work, or stopped, in order. Raises OSError."""
        of_runs = (PREFIX, *(lines.prefix for lines in self.lines))
        yield from (file.key for file in self.folder.files() if not file.key.startswith(of_runs))

    def check(self, name: str) -> None:
        """Check that a key can have this name. Raises OSError."""
        try:
            length = len(f"{self.folder.root}/{name}".encode())
        except UnicodeEncodeError as error:
            raise OSError(errno.EILSEQ, "its name is no Unicode, which stores ask for", name) from error
        if length > _LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, "its name is too long for a store", name)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the content of an object. Raises OSError, also for a larger one."""
        file = self.folder.file(name)
        if file.size > max_bytes:
            raise OSError(errno.EFBIG, f"{file.size:,} bytes, the limit is {max_bytes:,}", name)
        return file.read_all()

    def holds(self, name: str, sha256: str | None) -> bool:
        """Return whether there is an object of this name and content; one that has not changed is not read."""
        try:
            if self._listed is None:
                self._listed = {file.key: file.stamp for file in self.folder.files()}
            if name not in self._listed:
                return False
            known = self._results.get(name, self._listed[name])
            if known is not None:
                return known.sha256 == sha256
            file = self.folder.file(name)
            found = sha256_of(file.read_all())
            self._remember(name, file.stamp, found)
        except OSError:  # whatever it is, it is written again
            return False
        return found == sha256

    def write(self, name: str, data: bytes, original: Readable) -> None:  # noqa: ARG002 - objects have no permissions
        """Write a result, and check that it is there. Raises OSError."""
        self.check(name)
        self.folder.put(name, data)
        written = self.folder.file(name)
        if written.size != len(data):
            raise OSError(errno.EIO, f"{len(data):,} bytes were sent, {written.size:,} are there", name)
        self._remember(name, written.stamp, sha256_of(data))

    def remove(self, name: str) -> None:
        """Remove a result of an earlier run, if it is there. Raises OSError."""
        self.folder.remove(name)

    def remove_partials(self) -> None:
        """Do nothing: an object is there as a whole or not at all."""

    def create_record(self, name: str) -> bool:
        """Bring a record to the store if there is none; else take over the one that is there, and return False.

        Raises:
            UserError: it cannot be written or read.
        """
        content = (self.records / name).read_bytes()
        if name in self._copied:
            return True
        with as_user_errors(f"{self.folder}/{name}"):
            try:
                self.folder.put(name, content, create=True)
            except FileExistsError:
                (self.records / name).unlink()
                self.folder.download(name, self.records / name)
                return False
        self._copied[name] = content
        return True

    def save_records(self) -> None:
        """Bring new lines, and records that have changed, to the store. Raises UserError."""
        with _ends_run(self.folder):
            self._save_lines()
            self._save_whole()

    def finish_records(self) -> None:
        """Bring all records to the store, in their final form. Raises UserError."""
        with _ends_run(self.folder):
            for lines in self.lines:
                lines.finish()
            self._save_whole()

    def load(self) -> None:
        """Copy the records from the store. Raises OSError."""
        for name in self.whole:
            if self.folder.download(name, path := self.records / name):
                self._copied[name] = path.read_bytes()
        for lines in self.lines:
            lines.load()

    def _remember(self, name: str, stamp: str | None, sha256: str) -> None:
        if stamp is not None:
            self._results.add(Known(name, stamp, sha256))
        if self._listed is not None:
            self._listed[name] = stamp

    def _save_whole(self) -> None:
        for name in self.whole:
            path = self.records / name
            content = path.read_bytes() if path.exists() else None
            if content is not None and content != self._copied.get(name):
                self.folder.put(name, content)
                self._copied[name] = content

    def _save_lines(self) -> None:
        for lines in self.lines:
            lines.save()


def load_store(
    folder: RemoteFolder, records: Path, *, whole: Sequence[str], lines: Sequence[str], checksum: bool = False
) -> RemoteStore:
    """Return the results in a folder of a store, with a copy of their records.

    Args:
        folder: the folder, which need not exist.
        records: an empty folder of this machine.
        whole: names of the records that are written as a whole.
        lines: names of the records that grow by lines; those of what is known of files are added.
        checksum: see `RemoteStore`.

    Raises:
        UserError: it is one object, or cannot be read.
    """
    if folder.single:
        raise UserError(f"the output {folder} is an object; it must be a folder")
    names = dict.fromkeys((*lines, SOURCES, RESULTS))
    copied = [RemoteLines(folder, name, records / name) for name in names]
    store = RemoteStore(folder, records, whole, copied, checksum=checksum)
    with as_user_errors(str(folder)):
        store.load()
    return store


@contextmanager
def _ends_run(folder: RemoteFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder}: the records of the run cannot be written: {error.strerror}; what is protected so far stays, "
            "and the same command goes on"
        ) from error
