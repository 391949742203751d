"""Photos of several people, and models that recognize them by their aligned faces."""

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut
from torch import Tensor, nn

from onlymymodel.data.image_io import decode
from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.faces import find_same_faces
from onlymymodel.protect.photo import Context, PhotoSource, protect_photos
from onlymymodel.protect.photo_job import PhotoJob, start_job
from onlymymodel.protect.photo_record import PhotoRecord
from onlymymodel.protect.region import Area
from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess
from onlymymodel.surrogates.face_detector import find_faces
from onlymymodel.surrogates.gallery import GalleryHead

Pixels = NDArray[np.uint8]
ALIGN = Preprocess(height=112, width=96, fit="align", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
RECIPE = make_recipe("exact", steps=4, step_share=0.5, views=("center",), kappa=0.5)
PEOPLE = ("ann", "bob", "cem")


def scene(*people: tuple[int, int, int, int], size: tuple[int, int] = (260, 420)) -> Pixels:
    """Faces, each (person, left, top, side), on a plain ground; what lies outside is cut off.

    Person 3 is an astronaut, the others are rendered.
    """
    picture = np.full((*size, 3), (70, 90, 60), np.uint8)
    for person, left, top, side in people:
        portrait = render(person, 0, person, side) if person != 3 else head(side)
        x, y = max(-left, 0), max(-top, 0)
        visible = portrait[y : size[0] - top, x : size[1] - left]
        picture[top + y : top + y + visible.shape[0], left + x : left + x + visible.shape[1]] = visible
    return picture


def head(side: int) -> Pixels:
    """(side,side,3) the face of skimage's astronaut."""
    face = Image.fromarray(astronaut()[:240, 110:350])
    return np.asarray(face.resize((side, side), Image.Resampling.BICUBIC))


TWO = scene((3, 10, 20, 210), (5, 240, 60, 150))  # ann is larger than bob
ALONE = scene((3, 10, 20, 210))


def png(pixels: Pixels, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def crops(picture: Pixels) -> Tensor:
    """(faces,3,112,96) in [0,1], the largest face first."""
    pixels = to_tensor(picture)[None].float() / 255
    points = [torch.tensor(face.landmarks)[None] for face in find_faces(picture)]
    return torch.cat([ALIGN.canvas(pixels, landmarks) for landmarks in points])


def embedder(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3 * 14 * 12, 32, bias=False))


def tilted(direction: Tensor, cosine: float, seed: int) -> Tensor:
    """(N,D) of length 1 at a cosine to each of (N,D) of length 1: a mean is never quite one photo's own embedding."""
    aside = torch.randn(direction.shape, generator=torch.Generator().manual_seed(seed))
    aside = F.normalize(aside - (aside * direction).sum(1, keepdim=True) * direction, dim=1)
    mixed: Tensor = cosine * direction + (1 - cosine**2) ** 0.5 * aside
    return mixed


def embeddings(network: nn.Module, picture: Pixels) -> Tensor:
    """(faces,32) of length 1."""
    with torch.no_grad():
        return F.normalize(network((crops(picture) - 0.5) / 0.5), dim=1)


def recognizer(seed: int, known: Sequence[int] = (0, 1), threshold: float = 0.8, picture: Pixels = TWO) -> Classifier:
    """A face network that recognizes some people of a picture, by their indices in it: ann, bob, ... and a stranger."""
    network = embedder(seed)
    means = tilted(embeddings(network, picture)[list(known)], 0.97, seed)
    labels = (*(PEOPLE[index % 3] for index in known), "stranger")
    card = ModelCard(f"face-{seed}", f"sha-{seed}", len(labels), ALIGN, "identity", labels, gallery=f"{known}")
    return Classifier(GalleryHead(network, means, threshold), card)


@cache
def mine() -> Classifier:
    """The authorized model of the command line's test, as `python:face_scenes:mine`."""
    return recognizer(1)


def context(**changes: Any) -> Context:
    settings: dict[str, Any] = {
        "authorized": mine(),
        "surrogates": (recognizer(2, threshold=0.95), recognizer(3, threshold=0.95)),
    }
    return Context(**{**settings, "budget": Budget(16 / 255), "recipe": RECIPE, **changes})


def protected(data: bytes, **changes: Any) -> tuple[Pixels, PhotoRecord]:
    ((written, record),) = protect_photos([PhotoSource(data)], context(**changes))
    assert record.status == "protected", record.reason
    assert written is not None
    return decode(written).pixels, record


def started_job(picture: Pixels, **changes: Any) -> PhotoJob:
    data, chosen = png(picture), context(**changes)
    return start_job(PhotoSource(data), decode(data), Area(), to_tensor(picture), chosen)


def read(model: Classifier, picture: Pixels, box: Sequence[float]) -> int:
    """Return a model's answer to the face at a box of the written picture, detected and aligned again."""
    (place,) = find_same_faces(to_tensor(picture), [tuple(box)])  # type: ignore[list-item]
    assert place is not None
    return int(model.at(to_tensor(picture)[None].float() / 255, place[None]).argmax())


@cache
def theirs() -> Classifier:
    """The surrogate of the command line's test, as `python:face_scenes:theirs`."""
    return recognizer(2)
