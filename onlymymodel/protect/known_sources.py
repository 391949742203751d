"""Index of photos that earlier runs have read, so that unchanged ones are not read again."""

from pathlib import Path

from onlymymodel.data.entry import Entry
from onlymymodel.data.stores.stamps import Known, Stamps, stamp_of


class KnownSources:
    """The hashes and headers of photos.

    Args:
        stamps: those of a run's originals.
    """

    def __init__(self, stamps: Stamps) -> None:
        self.stamps = stamps

    def stamp(self, entry: Entry) -> str | None:
        """Return the stamp of a photo, as it is now on this machine or was listed; None if that cannot be told."""
        if not isinstance(entry.file, Path):
            return entry.file.stamp
        try:
            return stamp_of(entry.file)
        except OSError:  # the same error will be recorded when it is read
            return None

    def sha256(self, entry: Entry) -> str | None:
        """Return the hash of a photo's bytes; None if it has to be read."""
        known = self.stamps.get(str(entry.relative), self.stamp(entry))
        return None if known is None else known.sha256

    def add(self, entry: Entry, sha256: str, stamp: str | None) -> None:
        """Keep the hash of a photo that was read, and its header.

        Args:
            entry: the photo.
            sha256: of its bytes.
            stamp: from before they were read; it has to be the same now.
        """
        if stamp is None or self.stamp(entry) != stamp:
            return
        header = None if entry.header is None else (entry.header.width, entry.header.height, entry.header.channels)
        self.stamps.add(Known(str(entry.relative), stamp, sha256, header))
