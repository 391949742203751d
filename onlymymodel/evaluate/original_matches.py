"""Retrieval of a protected photo's original among the originals of all photos, by an embedder.

It is the question of a gallery that has each photo's original in the place of a person: rank-1, TAR at FAR, and the
answer at the model's own threshold. Photos with equal embeddings, such as copies, are one original.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onlymymodel.evaluate.face_verification import FARS, FarThreshold, GalleryMatches, threshold_at_far
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Answer

Embedding = NDArray[np.float32]  # (D,), of length 1
Embeddings = Mapping[str, Mapping[str, Sequence[Embedding | None]]]  # version -> channel -> photos; None: failed
Answers = dict[str, dict[str, tuple[Answer, ...]]]
NONE_OF_THEM = "none of them"


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
            cosines = [None if photo is None or not indices else references @ photo for photo in photos]
            found = tuple(None if row is None else indices[int(row.argmax())] for row in cosines)
            at_threshold = tuple(
                index if row is None or float(row.max()) >= threshold else len(clean)
                for index, row in zip(found, cosines, strict=True)
            )
            own = tuple(
                None if row is None or owner is None else float(row[place[owner]])
                for row, owner in zip(cosines, owners, strict=True)
            )
            nearest.setdefault(version, {})[channel] = found
            genuine.setdefault(version, {})[channel] = own
            answers.setdefault(version, {})[channel] = at_threshold
    impostors: NDArray[np.float32] = (references @ references.T)[~np.eye(len(references), dtype=bool)]
    matches = GalleryMatches(
        persons=owners,
        threshold=threshold,
        impostors=len(impostors),
        limits=tuple(FarThreshold(far, threshold_at_far(impostors, far)) for far in FARS),
        nearest=nearest,
        genuine=genuine,
    )
    return matches, answers
