"""Check that bundled models know pictures of the kind that they are to read."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from statistics import fmean

import torch
from torch import Tensor

from onlymymodel.data.image_io import PhotoError, decode
from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.regular_file import Readable, max_photo_bytes, read_regular
from onlymymodel.surrogates import zoo
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.load import load_model

SAMPLE = 16  # photos that are read
# Share of pairs of bundled models of one task that answer alike, in the mean over both tasks and a sample. Rendered
# portraits: 0.98 in the mean, 0.89 of 40 pixels, 0.70 for the worst single one; photos: 0.28 (NIPS 2017), 0.36 (faces),
# 0.53 for the worst of 2000 samples of four; noise: 0.31. Confidence does not tell them apart: these models are as sure
# of photos, and surer of noise.
LEAST_AGREEMENT = 0.6


def unknown_pictures(uri: str, photos: Sequence[Readable], *, max_pixels: int, first_frame: bool = False) -> str:
    """Return in one sentence that a bundled model knows no such pictures; "" if it does, or for any other model.

    The bundled models were trained on rendered portraits alone. Independent models agree about pictures like those that
    they were trained on, and disagree about others (Lakshminarayanan et al., NeurIPS 2017).

    Args:
        uri: of the model.
        photos: files that it is to read; up to 16 of them are read, at even distances. What cannot be read is left out.
        max_pixels, first_frame: see `decode`.
    """
    if not is_bundled(uri):
        return ""
    return unknown_pixels(uri, _read(sample(photos), max_pixels, first_frame))


def sample(photos: Sequence[Readable]) -> Sequence[Readable]:
    """Return up to 16 photos, at even distances."""
    return photos[:: -(-len(photos) // SAMPLE)] if photos else []


def is_bundled(uri: str) -> bool:
    """Return whether a URI names a bundled model."""
    return uri.partition(":")[0] == "zoo"


def unknown_pixels(uri: str, pixels: Iterable[Tensor]) -> str:
    """Return in one sentence that a bundled model knows no such pictures; "" if it does, or for any other model.

    Args:
        uri: of the model.
        pixels: (C,H,W) uint8 each, C 1 or 3, of the pictures that it is to read.
    """
    if not is_bundled(uri):
        return ""
    alike = shares_alike(pixels)
    agreement = fmean(alike) if alike else 1.0
    if agreement >= LEAST_AGREEMENT:
        return ""
    return (
        f"{uri} does not know these pictures: {zoo.LIMIT} (asked about {len(alike)} of these, {agreement:.0%} of "
        f"their answers agree; about rendered portraits at least {LEAST_AGREEMENT:.0%} do)"
    )


@torch.inference_mode()
def shares_alike(photos: Iterable[Tensor]) -> list[float]:
    """Return for each photo the share of pairs of bundled models of one task that answer alike, in the mean over tasks.

    Args:
        photos: (C,H,W) uint8 pixels, C 1 or 3; one after the other, so that they need not be in memory together.
    """
    models = dict[str, Classifier]()
    alike = []
    for photo in photos:
        models = models or {name: load_model(f"zoo:{name}") for name in zoo.NAMES}
        batch = photo[None]
        answers = {name: int(model(batch).argmax(1)) for name, model in models.items()}
        of_tasks = []
        for task in zoo.TASKS:
            of_task = [answer for name, answer in answers.items() if name.startswith(f"{task}-")]
            pairs = list(combinations(of_task, 2))
            of_tasks.append(sum(first == second for first, second in pairs) / len(pairs))
        alike.append(fmean(of_tasks))
    return alike


def _read(photos: Sequence[Readable], max_pixels: int, first_frame: bool) -> Iterator[Tensor]:
    for path in photos:
        try:
            photo = decode(
                read_regular(path, max_photo_bytes(max_pixels)), max_pixels=max_pixels, first_frame=first_frame
            )
        except (OSError, MemoryError, PhotoError):
            continue  # the run itself reports it
        yield to_tensor(photo.pixels)
