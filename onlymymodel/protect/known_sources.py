"""Index of photos in a store, or in rows, that earlier runs have read, so that unchanged ones are not read again."""

from contextlib import suppress
from pathlib import Path

from onlymymodel.data.entry import Entry
from onlymymodel.data.stores.stamps import SOURCES, Known, Stamps


class KnownSources:
    """The hashes and headers of photos in a store or in rows; nothing of local files, which are quick to read.

    Args:
        records: the folder of a run's records.
    """

    def __init__(self, records: Path) -> None:
        self.stamps = Stamps(records / SOURCES)

    def sha256(self, entry: Entry) -> str | None:
        """Return the hash of a photo's bytes; None if it has to be read."""
        if isinstance(entry.file, Path):
            return None
        known = self.stamps.get(entry.file.key, entry.file.stamp)
        return None if known is None else known.sha256

    def add(self, entry: Entry, sha256: str) -> None:
        """Keep the hash of a photo that was read, and its header."""
        if isinstance(entry.file, Path) or entry.file.stamp is None:
            return
        header = None if entry.header is None else (entry.header.width, entry.header.height, entry.header.channels)
        with suppress(OSError):  # it is read again the next time
            self.stamps.add(Known(entry.file.key, entry.file.stamp, sha256, header))
