"""Check that the manifest of a protected folder and its originals match one to one."""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from onlymymodel.data.folder import scan
from onlymymodel.data.regular_file import Readable, max_photo_bytes, read_regular
from onlymymodel.data.source import Source
from onlymymodel.data.stores.errors import as_user_errors
from onlymymodel.errors import UserError
from onlymymodel.evaluate.verify_report import Fault
from onlymymodel.protect.photo_record import WRITTEN, PhotoRecord

MISSING = "its original is missing: neither its budget and region nor whether it differs from it was checked"


@dataclass(frozen=True)
class Originals:
    """The originals of a protected folder.

    Attributes:
        place: a folder, or one photo; also of a store, or in rows.
        files: those in a store or in rows, by their paths; None for files of this machine.
    """

    place: Source
    files: Mapping[str, Readable] | None

    @classmethod
    def at(cls, place: Source) -> "Originals":
        """Return the originals at a place. Raises UserError where a store or rows cannot be listed."""
        if isinstance(place, Path):
            return cls(place, None)
        with as_user_errors(str(place)):
            return cls(place, {file.key: file for file in place.files()})

    @property
    def name(self) -> str:
        """The name of the folder or photo."""
        return self.place.name if isinstance(self.place, Path) else self.place.uri.rpartition("/")[2]

    @property
    def present(self) -> bool:
        """Return whether there is such a folder or photo."""
        return self.place.exists() if isinstance(self.place, Path) else bool(self.files)

    def has(self, source: str) -> bool:
        """Return whether an original is there; True for one photo, whatever its name is now."""
        if isinstance(self.place, Path):
            return os.path.lexists(_file(self.place, source))  # a link may lead nowhere
        return source in (self.files or {})

    def read(self, source: str, max_pixels: int) -> bytes | None:
        """Return the bytes of an original; None if it cannot be read."""
        file = _file(self.place, source) if isinstance(self.place, Path) else (self.files or {}).get(source)
        try:
            return None if file is None else read_regular(file, max_photo_bytes(max_pixels))
        except OSError:
            return None


def _file(place: Path, source: str) -> Path:
    """Return the path of an original: below a folder, or beside one photo, unless that has another name now."""
    if place.is_dir():
        return place / source
    beside = place.parent / source
    return beside if os.path.lexists(beside) else place


def unlisted_originals(
    originals: Originals, records: Collection[PhotoRecord], exclude: tuple[str, ...]
) -> Iterator[Fault]:
    """Yield a fault for each picture of the source that is in no line.

    Args:
        originals: the originals.
        records: the last line of each photo.
        exclude: globs of files that the run passed over.
    """
    try:
        entries = [entry for entry in scan(originals.place, exclude=exclude) if entry.status != "not-a-photo"]
    except UserError as error:
        yield Fault(originals.name, f"was not checked for pictures without a line: {error}")
        return
    listed = {record.source for record in records}
    for entry in entries:
        if str(entry.relative) not in listed:
            yield Fault(str(entry.relative), "is in no line: it was added after the run, or its line was removed")


def lines_without_original(originals: Originals, records: Collection[PhotoRecord]) -> list[str]:
    """Return the sources of the lines without a file whose original is gone, too."""
    return [record.source for record in records if record.status not in WRITTEN and not originals.has(record.source)]
