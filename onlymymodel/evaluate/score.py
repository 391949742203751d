"""Counts and shares of correct answers, with Wilson 95 % intervals."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

WILSON_Z = 1.959963984540054  # two-sided 95 %


@dataclass(frozen=True)
class Proportion:
    """A share of the photos; `hits` is None where it cannot be determined, `total` may be 0."""

    hits: int | None
    total: int

    @property
    def share(self) -> float | None:
        """Share in [0, 1]; None where there is none."""
        return None if self.hits is None or self.total == 0 else self.hits / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval; (0, 1) where the share cannot be determined."""
        return (0.0, 1.0) if self.hits is None else wilson(self.hits, self.total)


@dataclass(frozen=True)
class Score:
    """Score of a model on one version of the photos through one channel.

    Attributes:
        photos: number of photos, without those whose label has no matching class in the model.
        right: photos read correctly.
        failed: photos without an answer, or without a clean answer to compare with; they do not count as `right`.
        readable: photos read correctly when clean through the same channel: what a channel costs the clean photo, the
            protection did not.
        still_right: photos among the readable ones that are read correctly here.
    """

    photos: int
    right: int
    failed: int
    readable: int
    still_right: int

    @property
    def share(self) -> float:
        """Accuracy over all photos, in [0, 1]."""
        return self.right / self.photos

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of `share`."""
        return wilson(self.right, self.photos)

    @property
    def kept_of_readable(self) -> Proportion:
        """Share of the photos read correctly when clean, through the same channel, that are read correctly here."""
        return Proportion(self.still_right, self.readable)

    @property
    def kept(self) -> float | None:
        """`kept_of_readable` in [0, 1]; None where no photo is readable."""
        return self.kept_of_readable.share

    @property
    def kept_interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of `kept`."""
        return self.kept_of_readable.interval

    @property
    def unprotected(self) -> float:
        """Share of the photos that an unauthorized model read or may have read: a missing answer proves nothing."""
        return (self.right + self.failed) / self.photos

    def to_json(self) -> dict[str, Any]:
        """Return counts, shares and intervals as JSON values."""
        derived = {"share": self.share, "interval": self.interval, "kept": self.kept}
        return {**asdict(self), **derived, "kept_interval": self.kept_interval}


@dataclass(frozen=True)
class ShareEstimate:
    """A share with its 95 % interval, all in [0, 1]."""

    share: float
    low: float
    high: float


def mean_unprotected(scores: Sequence[Score]) -> ShareEstimate:
    """Return the mean of `Score.unprotected` over models, at least one.

    The interval of the mean is the mean of the models' intervals: the models are evaluated on the same photos and tend
    to err together, so more models do not make it narrower.
    """
    estimates = [(score.unprotected, *wilson(score.right + score.failed, score.photos)) for score in scores]
    return ShareEstimate(*(fmean(values) for values in zip(*estimates, strict=True)))


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the Wilson score interval, 95 %, of a share (Wilson, JASA 1927)."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = hits / total, WILSON_Z**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = WILSON_Z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)
