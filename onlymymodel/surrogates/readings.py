"""Models that read photos as a deployment does, instead of by their own preprocessing."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from onlymymodel.data.pixels import to_image, to_tensor
from onlymymodel.surrogates.alignment import main_faces
from onlymymodel.surrogates.black_box import BlackBox, ClassifierBlackBox
from onlymymodel.surrogates.classifier import Classifier, Preprocess
from onlymymodel.surrogates.deployments import Reading
from onlymymodel.surrogates.detector import Detections, DetectorBlackBox, detector_of
from onlymymodel.surrogates.object_matches import mirror_boxes
from onlymymodel.surrogates.resize import resize

RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}


class DeployedClassifier:
    """A Classifier as a black box whose owner reads photos in a way of their own.

    Args:
        classifier: the model; it stays on its device.
        reading: how photos become its input.
    """

    def __init__(self, classifier: Classifier, reading: Reading) -> None:
        self.classifier, self.reading = classifier, reading
        self.card = classifier.card

    @property
    def variant(self) -> str:
        """Key of the reading: its answers are cached by the card and this key."""
        return json.dumps(asdict(self.reading), sort_keys=True)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`."""
        with self._as_deployed():
            rows = [self.classifier.logits(self._read(image))[0].float().cpu().numpy() for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)

    def _read(self, image: NDArray[np.uint8]) -> Tensor:
        return read_input(image, self.card.preprocess, self.reading).to(self.classifier.mean.device)

    @contextmanager
    def _as_deployed(self) -> Iterator[None]:
        low, device = self.reading.precision == "bfloat16", self.classifier.mean.device
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=low):
            yield


class DeployedDetector(DeployedClassifier):
    """A detector whose owner reads photos in a way of their own."""

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """See `Detects`; the boxes are those on the image as it is, not on its mirror image."""
        with self._as_deployed():
            found = detector_of(self.classifier).detect(self.classifier.normalize(self._read(image)))[0]
        return mirror_boxes(found) if self.reading.mirror else found


def deployed(model: BlackBox, reading: Reading) -> BlackBox:
    """Return a model that reads photos in this way; models whose network is not available are returned as they are."""
    if reading == Reading() or not isinstance(model, ClassifierBlackBox):
        return model
    kind = DeployedDetector if isinstance(model, DetectorBlackBox) else DeployedClassifier
    return kind(model.classifier, reading)


def read_input(
    image: NDArray[np.uint8], preprocess: Preprocess, reading: Reading, landmarks: Tensor | None = None
) -> Tensor:
    """Turn one image into the input of a network.

    A detector's letterbox is only mirrored. For a model that aligns faces, the shift is applied to the landmarks, as if
    another detector had found them; library, interpolation, resize and crop have no effect.

    Args:
        image: (H,W,C) uint8, C 1 or 3.
        preprocess: of the model.
        reading: how the photo is read.
        landmarks: (1,5,2) of the face in pixels of the image, for a model that aligns faces; detected if None.

    Returns:
        (1,3,height,width) in [0,1].
    """
    if reading.library == "torch" or preprocess.fit in ("align", "letterbox"):
        return read_pixels(to_tensor(image)[None], preprocess, reading, landmarks)
    preprocess = _changed(preprocess, reading)
    picture = to_image(image[:, ::-1] if reading.mirror else image)
    height, width = _canvas_size(picture.height, picture.width, preprocess, reading)
    pixels = np.asarray(picture.resize((width, height), RESAMPLING[preprocess.interpolation]))
    canvas = to_tensor(pixels if pixels.ndim == 3 else pixels[..., None])[None].float().expand(-1, 3, -1, -1) / 255
    return _crop(canvas, preprocess, reading)


def read_pixels(pixels: Tensor, preprocess: Preprocess, reading: Reading, landmarks: Tensor | None = None) -> Tensor:
    """Turn a photo into the input of a network, differentiably: as `read_input`, but the library is always torch.

    Args:
        pixels: (1,C,H,W) in [0,1], or uint8, C 1 or 3.
        preprocess: of the model.
        reading: how the photo is read.
        landmarks: (1,5,2) in pixels of the photo, see `read_input`.

    Returns:
        (1,3,height,width) in [0,1].
    """
    canvas = canvas_map(pixels, preprocess, reading, landmarks)(pixels)
    return crop_canvas(canvas, preprocess, reading)


def canvas_map(
    pixels: Tensor, preprocess: Preprocess, reading: Reading, landmarks: Tensor | None = None
) -> Callable[[Tensor], Tensor]:
    """Return the map from a photo, or from one of its channels, to the canvas from which its input is cut.

    It is affine, with a derivative that does not depend on the pixels. See `read_pixels` for the arguments.

    Returns:
        a function from (1,C,H,W) to (1,C,h,w), which bicubic filters may take out of [0,1].
    """
    if reading.mirror:
        landmarks = None if landmarks is None else _mirror_landmarks(landmarks, pixels.shape[-1])
    if preprocess.fit == "align":
        if landmarks is None:
            landmarks = main_faces(_mirrored(pixels, reading))
        eyes = (landmarks[:, 1] - landmarks[:, 0]).norm(dim=1).view(-1, 1, 1)
        # the template has 35 pixels between the eyes: a pixel of the input is that fraction of their distance
        moved = landmarks + torch.tensor(reading.shift).to(landmarks) * eyes / 35
        return lambda photo: preprocess.resized(_mirrored(photo, reading), moved)
    if preprocess.fit == "letterbox":
        return lambda photo: preprocess.resized(_mirrored(photo, reading))
    changed = _changed(preprocess, reading)
    size = _canvas_size(pixels.shape[-2], pixels.shape[-1], changed, reading)
    return lambda photo: resize(_mirrored(photo, reading), size, changed.interpolation)


def crop_canvas(canvas: Tensor, preprocess: Preprocess, reading: Reading) -> Tensor:
    """Cut the (1,3,height,width) input of a network, in [0,1], out of the canvas of a photo, (1,C,h,w)."""
    canvas = canvas.clamp(0, 1).expand(-1, 3, -1, -1)
    if preprocess.fit == "align":
        return preprocess.center(canvas)
    return canvas if preprocess.fit == "letterbox" else _crop(canvas, preprocess, reading)


def _mirrored(pixels: Tensor, reading: Reading) -> Tensor:
    return pixels.flip(-1) if reading.mirror else pixels


def _changed(preprocess: Preprocess, reading: Reading) -> Preprocess:
    """Return the preprocessing with the reading's own filter and crop."""
    changes = {
        "interpolation": reading.interpolation or preprocess.interpolation,
        "crop_pct": reading.crop_pct or preprocess.crop_pct,
    }
    return replace(preprocess, **changes)  # type: ignore[arg-type]


def _canvas_size(height: int, width: int, preprocess: Preprocess, reading: Reading) -> tuple[int, int]:
    canvas_height, canvas_width = preprocess.canvas_size(height, width)
    return max(canvas_height + reading.resize_offset, 1), max(canvas_width + reading.resize_offset, 1)


def _mirror_landmarks(landmarks: Tensor, width: int) -> Tensor:
    """Return (B,5,2) landmarks on the mirrored photo: left and right eye, and left and right corner, are exchanged."""
    mirrored = landmarks[:, [1, 0, 2, 4, 3]].clone()
    mirrored[..., 0] = width - mirrored[..., 0]
    return mirrored


def _crop(canvas: Tensor, preprocess: Preprocess, reading: Reading) -> Tensor:
    """Cut the shifted center crop out of a (1,3,h,w) canvas; black beyond it."""
    right, down = reading.shift
    top, left = preprocess.crop_box(canvas.shape[-2], canvas.shape[-1])
    top, left = top + down, left + right
    # a negative pad cuts: this is the window, wherever it lies
    bottom, side = top + preprocess.height - canvas.shape[-2], left + preprocess.width - canvas.shape[-1]
    return F.pad(canvas, (-left, side, -top, bottom))
