"""Face detection by MTCNN of facenet-pytorch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import numpy as np
import torch
from cachetools import LRUCache, cached
from facenet_pytorch import MTCNN
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.surrogates.folding import TRACING

MIN_FACE_SIZE = 20  # pixels of the photo that the detector gets
MAX_SIDE = 1600  # larger photos are reduced to this long side: faces in them are larger too
CACHED_PHOTOS = 256
MIN_PROBABILITY = 0.9  # MTCNN's own last threshold is 0.7, at which textures pass for faces


@dataclass(frozen=True)
class Face:
    """A detected face.

    Attributes:
        box: left, top, right, bottom in pixels, clipped to the photo.
        landmarks: (x, y) of left eye, right eye, nose, left and right corner of the mouth, in pixels; left is where x
            is smaller.
        probability: confidence of the detector.
    """

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    probability: float


def find_faces(image: NDArray[np.uint8]) -> list[Face]:
    """Detect the faces in a photo by MTCNN (Zhang et al., 2016; its weights come with facenet-pytorch).

    Results for the most recently used photos are cached: region, models and judges need the same faces in turn.

    Args:
        image: (H,W,3) or (H,W,1) uint8, upright.

    Returns:
        The faces, the largest first.
    """
    return list(_find(image))


def set_cache_size(photos: int) -> None:
    """Set for how many photos `find_faces` caches its results; this empties the cache."""
    global _find
    _find = _cached_search(photos)


def _digest(image: NDArray[np.uint8]) -> bytes:
    return sha256(f"{image.shape}".encode() + image.tobytes()).digest()


def _cached_search(photos: int) -> Callable[[NDArray[np.uint8]], list[Face]]:
    return cached(LRUCache[bytes, list[Face]](photos), key=_digest)(_search)


def _search(image: NDArray[np.uint8]) -> list[Face]:
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("RGB")
    scale = min(1.0, MAX_SIDE / max(picture.size))
    if scale < 1:
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BOX)
    if min(picture.size) < MIN_FACE_SIZE:  # the detector fails on photos smaller than a face
        return []
    with TRACING:  # the page looks for faces while a run begins
        boxes, probabilities, landmarks = detector().detect(picture, landmarks=True)
    if boxes is None:
        return []
    height, width = image.shape[:2]
    scale_x, scale_y = width / picture.width, height / picture.height
    return [
        Face(
            (
                max(float(left) * scale_x, 0.0),
                max(float(top) * scale_y, 0.0),
                min(float(right) * scale_x, float(width)),
                min(float(bottom) * scale_y, float(height)),
            ),
            tuple((float(x) * scale_x, float(y) * scale_y) for x, y in points),
            float(probability),
        )
        for (left, top, right, bottom), probability, points in zip(boxes, probabilities, landmarks, strict=True)
        if probability >= MIN_PROBABILITY
    ]


@cache
def detector() -> MTCNN:
    """Return MTCNN with its weights, made once."""
    # on the CPU: its many small passes gain nothing from an accelerator, and boxes are the same on every machine
    with torch.random.fork_rng():  # it draws initial weights before it loads its own
        return MTCNN(min_face_size=MIN_FACE_SIZE, keep_all=True, device=torch.device("cpu")).eval()


_find = _cached_search(CACHED_PHOTOS)
