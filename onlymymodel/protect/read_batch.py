"""The photos of one batch of a run over a folder, after they were read."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from onlymymodel.data.folder import Entry
from onlymymodel.protect.context import PhotoSource
from onlymymodel.protect.photo_record import PhotoRecord
from onlymymodel.protect.remote_batches import PhotoName


@dataclass
class Batch:
    """The photos of one batch after they were read.

    Attributes:
        unread: photos that cannot be read, with their records.
        own: photos that are protected files of an earlier run, with their hashes.
        readable: the other photos.
        finished: records of those of them that an earlier run finished.
        names: of the readable photos, for workers that read them themselves.
    """

    unread: list[tuple[Entry, PhotoRecord]] = field(default_factory=list)
    own: list[tuple[Entry, PhotoSource, str]] = field(default_factory=list)
    readable: list[tuple[Entry, PhotoSource]] = field(default_factory=list)
    finished: dict[PurePosixPath, PhotoRecord] = field(default_factory=dict)
    names: list[PhotoName] = field(default_factory=list)

    @property
    def sources(self) -> list[PhotoSource]:
        """Return the photos to compute: all of the batch unless all is finished, so that a resumed run is equal."""
        unfinished = any(entry.relative not in self.finished for entry, _ in self.readable)
        return [source for _, source in self.readable] if unfinished else []

    def forget(self) -> None:
        """Let go of the bytes of the readable photos."""
        self.readable = [(entry, PhotoSource(b"", source.label)) for entry, source in self.readable]
