"""Face verification: how well a model with a gallery of people tells them apart, by rank and by threshold.

The terms are those of ISO/IEC 19795-1 and of the protocols of LFW and IJB; `DEFINITION` says what they mean here, where
a person is represented by the mean of the photos in the gallery. Thresholds always come from clean photos, as those of
a deployed system do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    "originals": "an embedder without a gallery has the clean originals of the photos in the place of people",
    "left out": "photos whose label is nobody in the gallery. Where a model does not know the labels, the person whom "
    "it named in the clean photo is the right one, and photos in which it named nobody are left out",
}
FLOAT_SLACK = 1e-9  # 0.29 * 100 is 28.999...

Cosines = NDArray[np.float32]


@dataclass(frozen=True)
class FarThreshold:
    """Threshold at a false accept rate.

    Attributes:
        far: false accept rate.
        cosine: the cosine above which at most this share of the impostor scores lies; None where it is not resolved.
    """

    far: float
    cosine: float | None


@dataclass(frozen=True)
class VerificationScores:
    """Verification scores of a model on one version of the photos through one channel.

    Attributes:
        photos: number of photos, without those left out.
        left_out: photos whose correct person is not in the gallery.
        failed: photos without an answer.
        nearest: photos to which their own person is the nearest.
        accepted: by FAR, photos whose genuine score is above the threshold; None where that is not resolved.
        matched: photos named correctly when clean, at the model's own threshold.
        lost: photos among the matched ones that are named otherwise here.
    """

    photos: int
    left_out: int
    failed: int
    nearest: int
    accepted: Mapping[float, int | None]
    matched: int
    lost: int


@dataclass(frozen=True)
class GalleryMatches:
    """Matches of all photos with the gallery of an embedder.

    Attributes:
        persons: (photos,) index of the correct person; None where the photo is left out.
        threshold: the model's own threshold, a cosine.
        impostors: number of impostor scores.
        limits: thresholds by falling FAR.
        nearest: version -> channel -> (photos,) the person at the largest cosine; None where the model failed.
        genuine: version -> channel -> (photos,) the genuine score; None where the model failed or the photo is left
            out.
    """

    persons: tuple[int | None, ...]
    threshold: float
    impostors: int
    limits: tuple[FarThreshold, ...]
    nearest: Mapping[str, Mapping[str, tuple[int | None, ...]]]
    genuine: Mapping[str, Mapping[str, tuple[float | None, ...]]]

    def verify(
        self, version: str, channel: str, *, clean: Sequence[int | None], answers: Sequence[int | None]
    ) -> VerificationScores:
        """Return the scores of one version through one channel.

        Args:
            version, channel: keys of `nearest` and `genuine`.
            clean, answers: (photos,) the model's answers at its own threshold, to the clean photos and to these.
        """
        shown = [index for index, person in enumerate(self.persons) if person is not None]
        genuine, nearest = self.genuine[version][channel], self.nearest[version][channel]
        matched = [index for index in shown if clean[index] == self.persons[index]]
        return VerificationScores(
            photos=len(shown),
            left_out=len(self.persons) - len(shown),
            failed=sum(answers[index] is None for index in shown),
            nearest=sum(nearest[index] == self.persons[index] for index in shown),
            accepted={
                limit.far: None if limit.cosine is None else count_accepted(genuine, limit.cosine)
                for limit in self.limits
            },
            matched=len(matched),
            lost=sum(answers[index] not in (None, self.persons[index]) for index in matched),
        )


def match_gallery(
    cosines: Mapping[str, Mapping[str, Sequence[Cosines | None]]],
    clean: Sequence[Cosines | None],
    persons: Sequence[int | None],
    threshold: float,
) -> GalleryMatches:
    """Compute nearest persons, genuine scores, and the thresholds at `FARS`.

    Args:
        cosines: version -> channel -> for each photo the (people,) cosines to all means; None where the model failed.
        clean: cosines of the clean photos, from which the thresholds come.
        persons, threshold: see `GalleryMatches`.
    """
    impostor_scores = [
        np.delete(scores, person)
        for scores, person in zip(clean, persons, strict=True)
        if scores is not None and person is not None
    ]
    impostors = np.concatenate(impostor_scores) if impostor_scores else np.zeros(0, np.float32)
    return GalleryMatches(
        persons=tuple(persons),
        threshold=threshold,
        impostors=len(impostors),
        limits=tuple(FarThreshold(far, threshold_at_far(impostors, far)) for far in FARS),
        nearest={
            version: {
                channel: tuple(None if scores is None else int(scores.argmax()) for scores in by_photo)
                for channel, by_photo in channels.items()
            }
            for version, channels in cosines.items()
        },
        genuine={
            version: {channel: _genuine_scores(by_photo, persons) for channel, by_photo in channels.items()}
            for version, channels in cosines.items()
        },
    )


def threshold_at_far(impostors: NDArray[np.floating[Any]], far: float) -> float | None:
    """Return the smallest number with at most a share `far` of the impostor scores above it.

    This is the largest score after those that may be above: of equal scores, all are above a number or none.

    Args:
        impostors: (N,) finite scores, in any order.
        far: false accept rate, above 0 and below 1.

    Returns:
        The threshold; None with fewer than 1/far scores.
    """
    rank = rank_at_far(len(impostors), far)
    return None if rank is None else float(np.partition(impostors, rank)[rank])


def rank_at_far(count: int, far: float) -> int | None:
    """Return the index of the threshold of `threshold_at_far` among `count` ascending scores; None with too few."""
    allowed = int(far * count + FLOAT_SLACK)
    return None if allowed < 1 else count - 1 - allowed


def count_accepted(genuine: Sequence[float | None], threshold: float) -> int:
    """Return the number of genuine scores above a threshold, where None is no score; over all scores it is the TAR."""
    return sum(score is not None and score > threshold for score in genuine)


def _genuine_scores(by_photo: Sequence[Cosines | None], persons: Sequence[int | None]) -> tuple[float | None, ...]:
    return tuple(
        None if scores is None or person is None else float(scores[person])
        for scores, person in zip(by_photo, persons, strict=True)
    )
