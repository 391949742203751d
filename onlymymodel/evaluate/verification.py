"""How well a model that compares faces tells people apart: who is nearest, and who passes a threshold.

The words are those of ISO/IEC 19795-1 and of the protocols of LFW and IJB; `DEFINITION` says what they mean here, where
a person is the mean of its photos in the gallery. Thresholds always come from clean photos, as those of others do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FARS = (1e-2, 1e-3)
DEFINITION = {
    "genuine score": "cosine of a photo to the mean of its own person in the gallery",
    "impostor scores": "cosines of the clean photos (channel png) to the means of all other people in the gallery",
    "threshold at a FAR": "the smallest cosine with at most that share of the impostor scores above it; "
    "none with fewer than 1/FAR impostor scores",
    "TAR at a FAR": "share of the photos whose genuine score is above that threshold; a missing answer is not",
    "rank-1": "share of the photos to which their own person is the nearest, at any cosine; "
    "a missing answer is not right",
    "no longer matched": "share of the photos named right at the model's own threshold when clean that it names "
    "otherwise now; a missing answer is still matched",
    "left out": "photos whose label is nobody in the gallery. Where a model does not know the labels, the person whom "
    "it named in the clean photo is the right one, and photos in which it named nobody are left out",
}
FLOAT_SLACK = 1e-9  # 0.29 * 100 is 28.999...

Cosines = NDArray[np.float32]


@dataclass(frozen=True)
class Limit:
    """A threshold: the cosine above which at most `far` of the impostor scores lie; None where it is not resolved."""

    far: float
    cosine: float | None


@dataclass(frozen=True)
class Verification:
    """How a model fares with one version of the photos through one channel.

    Attributes:
        photos: all of them, but those left out.
        left_out: photos without a right person.
        failed: without an answer.
        nearest: whose own person is the nearest.
        accepted: by FAR, those whose genuine score is above its threshold; None where that is not resolved.
        matched: named right when clean, at the model's own threshold.
        lost: of these, those named otherwise here.
    """

    photos: int
    left_out: int
    failed: int
    nearest: int
    accepted: Mapping[float, int | None]
    matched: int
    lost: int


@dataclass(frozen=True)
class Matches:
    """What an embedder found of each photo in its gallery.

    Attributes:
        persons: (photos,) the right person's index; None where the photo is left out.
        threshold: the model's own, a cosine.
        impostors: how many impostor scores there are.
        limits: by falling FAR.
        nearest: version -> channel -> (photos,) the person at the largest cosine; None where the model failed.
        genuine: version -> channel -> (photos,) the genuine score; None where it failed or the photo is left out.
    """

    persons: tuple[int | None, ...]
    threshold: float
    impostors: int
    limits: tuple[Limit, ...]
    nearest: Mapping[str, Mapping[str, tuple[int | None, ...]]]
    genuine: Mapping[str, Mapping[str, tuple[float | None, ...]]]

    def verify(
        self, version: str, channel: str, *, clean: Sequence[int | None], said: Sequence[int | None]
    ) -> Verification:
        """Count.

        Args:
            clean, said: (photos,) the model's answers at its own threshold, to the clean photos and to these.
        """
        shown = [place for place, person in enumerate(self.persons) if person is not None]
        genuine, nearest = self.genuine[version][channel], self.nearest[version][channel]
        matched = [place for place in shown if clean[place] == self.persons[place]]
        return Verification(
            photos=len(shown),
            left_out=len(self.persons) - len(shown),
            failed=sum(said[place] is None for place in shown),
            nearest=sum(nearest[place] == self.persons[place] for place in shown),
            accepted={
                limit.far: None if limit.cosine is None else accepted(genuine, limit.cosine) for limit in self.limits
            },
            matched=len(matched),
            lost=sum(said[place] not in (None, self.persons[place]) for place in matched),
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Matches":
        """What `to_json` gave. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
        by_photo = {
            name: {
                version: {channel: tuple(found) for channel, found in channels.items()}
                for version, channels in fields[name].items()
            }
            for name in ("nearest", "genuine")
        }
        limits = tuple(Limit(**limit) for limit in fields["limits"])
        return cls(**{**fields, **by_photo, "persons": tuple(fields["persons"]), "limits": limits})


def match(
    cosines: Mapping[str, Mapping[str, Sequence[Cosines | None]]],
    clean: Sequence[Cosines | None],
    persons: Sequence[int | None],
    threshold: float,
) -> Matches:
    """Find everybody's nearest and genuine scores, and the thresholds at `FARS`.

    Args:
        cosines: version -> channel -> for each photo the (people,) cosines to all means; None where the model failed.
        clean: those of the clean photos, from which the thresholds come.
        persons, threshold: see `Matches`.
    """
    found = [
        np.delete(one, person)
        for one, person in zip(clean, persons, strict=True)
        if one is not None and person is not None
    ]
    impostors = np.concatenate(found) if found else np.zeros(0, np.float32)
    return Matches(
        persons=tuple(persons),
        threshold=threshold,
        impostors=len(impostors),
        limits=tuple(Limit(far, threshold_at_far(impostors, far)) for far in FARS),
        nearest={
            version: {
                channel: tuple(None if one is None else int(one.argmax()) for one in by_photo)
                for channel, by_photo in channels.items()
            }
            for version, channels in cosines.items()
        },
        genuine={
            version: {channel: _genuine(by_photo, persons) for channel, by_photo in channels.items()}
            for version, channels in cosines.items()
        },
    )


def threshold_at_far(impostors: NDArray[np.floating[Any]], far: float) -> float | None:
    """The smallest number with at most `far` of the impostor scores above it; None where they are fewer than 1/far.

    That is the largest score after those that may be above: of equal scores all are above a number or none.

    Args:
        impostors: (N,) finite scores, in any order.
        far: false accept rate, above 0 and below 1.
    """
    allowed = int(far * len(impostors) + FLOAT_SLACK)
    if allowed < 1:
        return None
    place = len(impostors) - 1 - allowed
    return float(np.partition(impostors, place)[place])


def accepted(genuine: Sequence[float | None], threshold: float) -> int:
    """How many genuine scores are above a threshold; None is no score. Over their number it is the TAR."""
    return sum(score is not None and score > threshold for score in genuine)


def _genuine(by_photo: Sequence[Cosines | None], persons: Sequence[int | None]) -> tuple[float | None, ...]:
    return tuple(
        None if one is None or person is None else float(one[person])
        for one, person in zip(by_photo, persons, strict=True)
    )
