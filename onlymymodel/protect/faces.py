"""Find the faces on a photo that are protected separately, find them again on the result, and predict them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onlymymodel.protect.context import Context
from onlymymodel.protect.photo_record import FaceBox
from onlymymodel.protect.predictions import Predictions, predict_face
from onlymymodel.surrogates.heads import Look

MAX_FACES = 20  # largest number of faces that are protected on one photo
SAME_FACE_IOU = 0.3  # least intersection over union of two boxes of the same face


@dataclass(frozen=True)
class PhotoFace:
    """One face of an original.

    Attributes:
        box: left, top, right, bottom in pixels of the photo.
        landmarks: (5,2) points (x, y) in pixels of the photo.
        label: class index that the authorized model has to keep for the face.
        clean: predictions on the face; those of models that do not align faces are the predictions on the photo.
    """

    box: FaceBox
    landmarks: Tensor
    label: int
    clean: Predictions


def find_photo_faces(
    original: Tensor, label: int, photo_predictions: Predictions, context: Context
) -> tuple[list[PhotoFace], int]:
    """Find the faces that are protected separately, the largest first.

    The first face gets the photo's label; the label of every other face is the authorized model's answer to it.

    Args:
        original: (C,H,W) uint8 pixels.
        label: class index of the photo.
        photo_predictions: predictions on the photo.
        context: models and settings.

    Returns:
        The faces (none if the photo has fewer than two, since it is then protected as a whole), and the number of
        detected faces.
    """
    from onlymymodel.surrogates.face_detector import find_faces  # the detector takes seconds to import

    detected = find_faces(_image(original))
    if len(detected) < 2:
        return [], len(detected)
    faces = []
    for number, face in enumerate(detected[:MAX_FACES]):
        landmarks = torch.tensor(face.landmarks)
        # models that align faces read the largest one: the predictions on the photo are those on the first face
        clean = predict_face(original, landmarks, None, photo_predictions, context) if number else photo_predictions
        face_label = clean.authorized if number and context.reads_faces else label
        faces.append(PhotoFace(face.box, landmarks, face_label, clean))
    return faces, len(detected)


def predict_faces(
    pixels: Tensor,
    landmarks: Sequence[Tensor | None],
    original: Tensor,
    faces: Sequence[PhotoFace],
    photo_predictions: Predictions,
    context: Context,
) -> list[Predictions | None]:
    """Predict the class of each face on another version of the photo.

    Args:
        pixels: (C,H,W) uint8 pixels of the other version.
        landmarks: of each face on it, see `find_same_faces`.
        original: (C,H,W) uint8 pixels of the original.
        faces: faces of the original.
        photo_predictions: predictions on the other version.
        context: models and settings.

    Returns:
        Predictions for each face; None for a face that is not found on the other version.
    """
    return [
        None
        if points is None
        else predict_face(
            pixels, points, face.label, photo_predictions, context, Look(original[None], face.landmarks[None])
        )
        for face, points in zip(faces, landmarks, strict=True)
    ]


def find_same_faces(pixels: Tensor, boxes: Sequence[FaceBox]) -> list[Tensor | None]:
    """Find the face that overlaps each box the most.

    Args:
        pixels: (C,H,W) uint8 pixels.
        boxes: boxes of faces on another version of the photo.

    Returns:
        (5,2) landmarks for each box; None if no face overlaps it by `SAME_FACE_IOU` or more.
    """
    if not boxes:
        return []
    from torchvision.ops import box_iou  # torchvision and the detector take seconds to import

    from onlymymodel.surrogates.face_detector import find_faces

    faces = find_faces(_image(pixels))
    if not faces:
        return [None] * len(boxes)
    overlaps = box_iou(torch.tensor(boxes), torch.tensor([face.box for face in faces]))
    return [
        torch.tensor(faces[int(row.argmax())].landmarks) if float(row.max()) >= SAME_FACE_IOU else None
        for row in overlaps
    ]


def find_same_face(pixels: Tensor, box: FaceBox) -> Tensor | None:
    """Find one face, see `find_same_faces`."""
    return find_same_faces(pixels, [box])[0]


def nearest_face(boxes: Sequence[FaceBox], height: int, width: int) -> NDArray[np.uint8]:
    """Return (height, width) uint8: for each pixel the index of the box nearest to its center; the last of several."""
    x, y = np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5
    nearest = np.full((height, width), np.inf, np.float32)
    owner = np.zeros((height, width), np.uint8)
    for number, (left, top, right, bottom) in enumerate(boxes):
        across, down = np.maximum(np.maximum(left - x, x - right), 0), np.maximum(np.maximum(top - y, y - bottom), 0)
        distance = across[None] ** 2 + down[:, None] ** 2
        # on a tie the later, smaller box wins: inside a larger one it would otherwise get no pixel
        nearer = distance <= nearest
        nearest[nearer], owner[nearer] = distance[nearer], number
    return owner


def _image(pixels: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())
