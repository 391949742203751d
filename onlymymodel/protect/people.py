"""The people on one photo: each face has an area of its own, and keeps what the authorized model calls it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onlymymodel.protect.answers import Answers, look_at_face
from onlymymodel.protect.context import Context

MOST = 20  # faces of one photo that are worked on
SAME = 0.3  # intersection over union of two boxes from which on they hold the same face

FaceBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class Person:
    """One face of an original.

    Attributes:
        box: left, top, right, bottom in pixels of the photo.
        landmarks: (5,2) in pixels of the photo.
        label: what the authorized model is to keep reading there.
        before: what the models say of it; those that do not align say what they say of the whole photo.
    """

    box: FaceBox
    landmarks: Tensor
    label: int
    before: Answers


def people_on(original: Tensor, label: int, whole: Answers, context: Context) -> tuple[list[Person], int]:
    """The people on one (C,H,W) uint8 photo who are worked on one by one, the largest first, and how many were found.

    The first has the photo's label; the others are to be read as the authorized model reads them now.

    Args:
        whole: what all models say of the photo.

    Returns:
        Nobody where there is but one face: then the photo is worked on as a whole.
    """
    from onlymymodel.surrogates.faces import find_faces  # the detector takes seconds to import

    faces = find_faces(_image(original))
    if len(faces) < 2:
        return [], len(faces)
    people = []
    for number, face in enumerate(faces[:MOST]):
        landmarks = torch.tensor(face.landmarks)
        # models that align read the largest face: of the first they have said all
        before = look_at_face(original, landmarks, None, whole, context) if number else whole
        read = before.authorized if number and context.reads_faces else label
        people.append(Person(face.box, landmarks, read, before))
    return people, len(faces)


def read_again(pixels: Tensor, people: Sequence[Person], whole: Answers, context: Context) -> list[Answers | None]:
    """What the models say of each person on another version of the photo, (C,H,W) uint8; None of whom is not found."""
    places = found_again(pixels, [person.box for person in people])
    return [
        None if place is None else look_at_face(pixels, place, person.label, whole, context)
        for person, place in zip(people, places, strict=True)
    ]


def found_again(pixels: Tensor, boxes: Sequence[FaceBox]) -> list[Tensor | None]:
    """(5,2) landmarks of the face that overlaps each box the most on a (C,H,W) uint8 photo; None where none does."""
    if not boxes:
        return []
    from torchvision.ops import box_iou  # torchvision and the detector take seconds to import

    from onlymymodel.surrogates.faces import find_faces

    faces = find_faces(_image(pixels))
    if not faces:
        return [None] * len(boxes)
    overlaps = box_iou(torch.tensor(boxes), torch.tensor([face.box for face in faces]))
    return [torch.tensor(faces[int(row.argmax())].landmarks) if float(row.max()) >= SAME else None for row in overlaps]


def nearest_box(boxes: Sequence[FaceBox], height: int, width: int) -> NDArray[np.uint8]:
    """(height, width) number of the box that is nearest to each pixel's center; inside several boxes, the last."""
    x, y = np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5
    nearest = np.full((height, width), np.inf, np.float32)
    owner = np.zeros((height, width), np.uint8)
    for number, (left, top, right, bottom) in enumerate(boxes):
        across, down = np.maximum(np.maximum(left - x, x - right), 0), np.maximum(np.maximum(top - y, y - bottom), 0)
        distance = across[None] ** 2 + down[:, None] ** 2
        # equal: the later box is the smaller one, and would else own nothing where it lies inside a larger
        mine = distance <= nearest
        nearest[mine], owner[mine] = distance[mine], number
    return owner


def _image(pixels: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())
