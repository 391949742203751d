"""Faces by facenet-pytorch: its networks and its detector. The only file that imports it."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import numpy as np
import torch
from facenet_pytorch import MTCNN, InceptionResnetV1
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from onlymymodel.surrogates.classifier import Preprocess

PEOPLE = {"vggface2": 8631, "casia-webface": 10575}
PREPROCESS = Preprocess(
    height=160, width=160, crop_pct=1.0, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)
SMALLEST_FACE = 20  # pixels of the photo that is searched
SEARCHED_SIDE = 1600  # a larger photo is searched at this long side: faces in it are larger too
REMEMBERED = 256  # photos that are not searched twice
CERTAIN = 0.9  # MTCNN's own last threshold is 0.7, at which textures pass for faces

_found: "OrderedDict[str, list[Face]]" = OrderedDict()


@dataclass(frozen=True)
class Face:
    """A face that was found.

    Attributes:
        box: left, top, right, bottom in pixels of the photo, inside it.
        landmarks: (x, y) of left eye, right eye, nose, left and right corner of the mouth, in pixels; left is where x
            is smaller.
        probability: the detector's.
    """

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    probability: float


def identity_network(weights: str, *, embed: bool = False) -> nn.Module:
    """InceptionResnetV1 (Schroff et al., CVPR 2015; Szegedy et al., AAAI 2017); may download its weights.

    Args:
        weights: a key of `PEOPLE`.
        embed: whether it gives (B,512) embeddings of length 1 instead of logits over the people of its training set.
    """
    network: nn.Module = InceptionResnetV1(pretrained=weights, classify=not embed)
    return network


def find_faces(image: NDArray[np.uint8]) -> list[Face]:
    """The faces in a photo, the largest first, by MTCNN (Zhang et al., 2016; weights come with facenet-pytorch).

    The last photos are remembered: region, models and judge ask about the same one in turn.

    Args:
        image: (H,W,3) or (H,W,1) uint8, upright.
    """
    key = sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()
    if key not in _found:
        _found[key] = _search(image)
        while len(_found) > REMEMBERED:
            _found.popitem(last=False)
    return list(_found[key])


def _search(image: NDArray[np.uint8]) -> list[Face]:
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("RGB")
    scale = min(1.0, SEARCHED_SIDE / max(picture.size))
    if scale < 1:
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BOX)
    if min(picture.size) < SMALLEST_FACE:  # the detector fails on what has no room for a face
        return []
    boxes, probabilities, landmarks = _detector().detect(picture, landmarks=True)
    if boxes is None:
        return []
    height, width = image.shape[:2]
    across, down = width / picture.width, height / picture.height
    return [
        Face(
            (
                max(float(left) * across, 0.0),
                max(float(top) * down, 0.0),
                min(float(right) * across, float(width)),
                min(float(bottom) * down, float(height)),
            ),
            tuple((float(x) * across, float(y) * down) for x, y in points),
            float(probability),
        )
        for (left, top, right, bottom), probability, points in zip(boxes, probabilities, landmarks, strict=True)
        if probability >= CERTAIN
    ]


@cache
def _detector() -> MTCNN:
    # on the CPU: its many small passes gain nothing from an accelerator, and boxes stay the same everywhere
    with torch.random.fork_rng():  # it draws initial weights before it loads its own
        return MTCNN(min_face_size=SMALLEST_FACE, keep_all=True, device=torch.device("cpu")).eval()
