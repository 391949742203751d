"""Retrieval of a protected photo's original among the originals of all photos, by an embedder.

It is the question of a gallery that has each photo's original in the place of a person: rank-1, TAR at FAR, and the
answer at the model's own threshold. Photos with equal embeddings, such as copies, are one original.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onlymymodel.evaluate.face_verification import FARS, FarThreshold, GalleryMatches, rank_at_far
from onlymymodel.evaluate.order_statistics import order_statistics
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Answer

Embedding = NDArray[np.float32]  # (D,), of length 1
Embeddings = Mapping[str, Mapping[str, Sequence[Embedding | None]]]  # version -> channel -> photos; None: failed
Answers = dict[str, dict[str, tuple[Answer, ...]]]
NONE_OF_THEM = "none of them"
BLOCK = 256  # originals whose cosines to all others are in memory at a time


def match_originals(embeddings: Embeddings, threshold: float) -> tuple[GalleryMatches, Answers]:
    """Compare all embeddings with those of the clean photos as written.

    Args:
        embeddings: of all photos, among them the version `clean` in the channel `png`.
        threshold: cosine below which the model finds none of the originals.

    Returns:
        The matches, whose persons are the originals by their index, and the answers: the index of the nearest original,
        or the number of photos for none of them.
    """
    clean = embeddings[CLEAN][AS_WRITTEN]
    first: dict[bytes, int] = {}
    owners = tuple(
        None if embedding is None else first.setdefault(embedding.tobytes(), index)
        for index, embedding in enumerate(clean)
    )
    indices = list(first.values())
    place = {index: column for column, index in enumerate(indices)}
    references: NDArray[np.float32] = np.stack(
        [part for part in (clean[index] for index in indices) if part is not None] or [np.zeros(0, np.float32)]
    )
    answers: Answers = {}
    nearest: dict[str, dict[str, tuple[int | None, ...]]] = {}
    genuine: dict[str, dict[str, tuple[float | None, ...]]] = {}
    for version, channels in embeddings.items():
        for channel, photos in channels.items():
            matched = [
                _Match()
                if photo is None or not indices
                else _match(references @ photo, None if owner is None else place[owner])
                for photo, owner in zip(photos, owners, strict=True)
            ]
            nearest.setdefault(version, {})[channel] = tuple(
                None if match.column is None else indices[match.column] for match in matched
            )
            genuine.setdefault(version, {})[channel] = tuple(match.own for match in matched)
            answers.setdefault(version, {})[channel] = tuple(
                None if match.column is None else indices[match.column] if match.largest >= threshold else len(clean)
                for match in matched
            )
    impostors, limits = _limits(references)
    matches = GalleryMatches(
        persons=owners, threshold=threshold, impostors=impostors, limits=limits, nearest=nearest, genuine=genuine
    )
    return matches, answers


class _Match(NamedTuple):
    """The part of a photo's cosines to all originals that is needed.

    Attributes:
        column: of the largest; None where the model failed.
        largest: the largest.
        own: that to the photo's own original; None where there is none.
    """

    column: int | None = None
    largest: float = -1.0
    own: float | None = None


def _match(cosines: NDArray[np.float32], own: int | None) -> _Match:
    """Return the match of a photo whose own original has the column `own`."""
    column = int(cosines.argmax())
    return _Match(column, float(cosines[column]), None if own is None else float(cosines[own]))


def _limits(references: NDArray[np.float32]) -> tuple[int, tuple[FarThreshold, ...]]:
    """Return the number of impostor scores, which are the cosines of different originals, and the thresholds."""
    count = len(references) * (len(references) - 1)
    ranks = {far: rank for far in FARS if (rank := rank_at_far(count, far)) is not None}
    found = dict(zip(ranks, order_statistics(lambda: _impostors(references), list(ranks.values())), strict=True))
    return count, tuple(FarThreshold(far, found.get(far)) for far in FARS)


def _impostors(references: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield the cosines of different originals, in blocks."""
    for start in range(0, len(references), BLOCK):
        cosines = references[start : start + BLOCK] @ references.T
        others = np.ones(cosines.shape, bool)
        np.fill_diagonal(others[:, start:], False)
        yield cosines[others]
