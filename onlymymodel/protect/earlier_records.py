"""The records of earlier runs, read from the manifest when they are needed, so that memory stays small."""

from onlymymodel.data.stores.store import Store
from onlymymodel.protect.photo_record import PhotoManifest, PhotoRecord


class EarlierRecords:
    """The last record of each photo in a store, as the manifest is now; lines that are appended later are not seen.

    Attributes:
        superseded: whether there are lines that later ones of the same photos replace.
        outputs: names of the files of all lines, by their hashes.

    Args:
        store: the results of a run.

    Raises:
        UserError: see `PhotoManifest.read`.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._manifest = PhotoManifest(store.records)
        self._offsets: dict[str, int] = {}
        self._sources: dict[str, str] | None = None  # by file; read when it is first needed
        self.outputs: dict[str, str] = {}
        lines = 0
        for offset, record in self._manifest.read():
            lines += 1
            self._offsets[record.source] = offset
            if record.output_sha256 is not None and record.output is not None:
                self.outputs.setdefault(record.output_sha256, record.output)
        self.superseded = lines > len(self._offsets)

    def get(self, source: str) -> PhotoRecord | None:
        """Return the last record of a photo by its path below the source; None if it has none. Raises UserError."""
        offset = self._offsets.get(source)
        return None if offset is None else self._manifest.read_at(offset)

    def source_of(self, output: str) -> str | None:
        """Return the photo whose last record has a file of this name; None if none has. Raises UserError."""
        if self._sources is None:
            last = (record for offset, record in self._manifest.read() if self._offsets.get(record.source) == offset)
            self._sources = {record.output: record.source for record in last if record.output is not None}
        return self._sources.get(output)

    def close(self) -> None:
        """Close the manifest, before it is replaced."""
        self._manifest.close()
