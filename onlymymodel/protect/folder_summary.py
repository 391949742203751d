"""Counts and outcomes of the photos of a folder."""

from collections import Counter
from dataclasses import dataclass

from onlymymodel.protect.photo_record import WRITTEN, Status


@dataclass(frozen=True)
class Outcome:
    """Outcome of one photo: its path below the source, its status, and the reason."""

    source: str
    status: Status
    reason: str


@dataclass(frozen=True)
class Summary:
    """Outcome of a run.

    Attributes:
        outcomes: what became of each picture.
        not_photos: number of files that are not photos.
        own_outputs: number of the photos that are protected files of an earlier run, and were not protected again.
    """

    outcomes: tuple[Outcome, ...]
    not_photos: int
    own_outputs: int = 0

    @property
    def counts(self) -> Counter[str]:
        """Number of photos with each status."""
        return Counter(outcome.status for outcome in self.outcomes)

    @property
    def written(self) -> int:
        """Number of photos that have a file."""
        return sum(self.counts[status] for status in WRITTEN)

    @property
    def all_protected(self) -> bool:
        """Return whether every photo is protected."""
        return set(self.counts) <= {"protected"}
