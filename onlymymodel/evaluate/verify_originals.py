"""Whether the manifest of a protected folder has a line for each original, and an original for each line."""

from collections.abc import Collection, Iterator
from pathlib import Path

from onlymymodel.data.folder import scan
from onlymymodel.errors import UserError
from onlymymodel.evaluate.verify_report import Fault
from onlymymodel.protect.photo_record import WRITTEN, PhotoRecord

MISSING = "its original is missing: neither its budget and region nor whether it differs from it was checked"


def unlisted_originals(originals: Path, records: Collection[PhotoRecord], exclude: tuple[str, ...]) -> Iterator[Fault]:
    """Yield a fault for each picture of the source that is in no line.

    Args:
        originals: a folder, or one photo.
        records: the last line of each photo.
        exclude: globs of files that the run passed over.
    """
    try:
        entries = [entry for entry in scan(originals, exclude=exclude) if entry.status != "not-a-photo"]
    except UserError as error:
        yield Fault(originals.name, f"was not checked for pictures without a line: {error}")
        return
    listed = {record.source for record in records}
    for entry in entries:
        if str(entry.relative) not in listed:
            yield Fault(str(entry.relative), "is in no line: it was added after the run, or its line was removed")


def lines_without_original(originals: Path, records: Collection[PhotoRecord]) -> list[str]:
    """Return the sources of the lines without a file whose original is gone, too."""
    return [
        record.source
        for record in records
        if record.status not in WRITTEN and originals.is_dir() and not (originals / record.source).exists()
    ]
