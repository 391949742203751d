"""Which part of a photo may change; everything else stays as it is, to the bit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onlymymodel.data.image_io import PhotoError, decode
from onlymymodel.data.manifest import sha256
from onlymymodel.errors import UserError

if TYPE_CHECKING:
    from onlymymodel.surrogates.faces import Face

Kind = Literal["image", "face", "mask"]
NoFace = Literal["skip", "image"]
Faces = Literal["all", "largest"]
KINDS, NO_FACE, FACES = get_args(Kind), get_args(NoFace), get_args(Faces)
NOBODY = "no face was found"
MARGIN = 0.25  # of a face's box, added on each side: recognizers see hair, ears and chin too

Mask = NDArray[np.uint8]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Region:
    """What of every photo may change.

    Attributes:
        kind: the whole `image`, each `face` that is found, or what a `mask` given beside the photo leaves open.
        no_face: what becomes of a photo without a face: `skip` it, or take the whole `image`.
        faces: where models align faces, whether `all` are worked on or the `largest` alone.

    Raises:
        UserError: other words.
    """

    kind: Kind = "image"
    no_face: NoFace = "skip"
    faces: Faces = "all"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"a region is one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.no_face not in NO_FACE:
            raise UserError(f"a photo without a face can be one of {', '.join(NO_FACE)}, not {self.no_face!r}")
        if self.faces not in FACES:
            raise UserError(f"the faces that are worked on are one of {', '.join(FACES)}, not {self.faces!r}")


WHOLE = Region()


@dataclass(frozen=True)
class Area:
    """The region of one photo.

    Attributes:
        mask: (H,W) uint8, 1 where the photo may change; None for the whole photo.
        record: what the manifest says of it, enough to find it again; None for the whole photo.
    """

    mask: Mask | None = None
    record: dict[str, Any] | None = None

    def tensor(self, photo: Tensor) -> Tensor:
        """(1,H,W) float32 of 0 and 1 for a (C,H,W) photo, on its device."""
        if self.mask is None:
            return torch.ones_like(photo[:1], dtype=torch.float32)
        return torch.from_numpy(self.mask)[None].float().to(photo.device)


def area_of(pixels: NDArray[np.uint8], mask: bytes | None, region: Region, *, reads_faces: bool = False) -> Area:
    """Find the region of a photo.

    Args:
        pixels: (H,W,C) uint8, upright.
        mask: bytes of a picture of the photo's size, bright (128 or more in any channel) where it may change; for
            the kind `mask` alone.
        reads_faces: whether the authorized model reads faces: it has nothing to read in a photo without one.

    Raises:
        PhotoError: skipped for want of a face, or a mask that leaves nothing open; failed where the mask is missing,
            broken or of another size.
    """
    if region.kind == "image" and not reads_faces:
        return Area()
    if region.kind == "mask" and not reads_faces:
        return _from_picture(pixels, mask)
    from onlymymodel.surrogates.faces import find_faces  # the detector takes seconds to import

    faces = find_faces(pixels)
    if not faces and region.no_face == "skip":
        raise PhotoError("skipped", NOBODY)
    if region.kind == "mask":
        return _from_picture(pixels, mask)
    if not faces:
        return Area(record={"kind": "image", "reason": NOBODY})
    return _from_faces(pixels, faces) if region.kind == "face" else Area()


def area_again(pixels: NDArray[np.uint8], record: dict[str, Any] | None) -> Area:
    """The region that a manifest's record names, where it can be told without the mask's file.

    Args:
        pixels: (H,W,C) uint8, any version of the photo.
    """
    if record is None or record["kind"] != "face":
        return Area(record=record)
    return Area(_of_boxes(pixels, [tuple(box) for box in record["boxes"]]), record)


def _from_faces(pixels: NDArray[np.uint8], faces: Sequence["Face"]) -> Area:
    boxes = [_wider(face.box, pixels.shape[1], pixels.shape[0]) for face in faces]
    return Area(_of_boxes(pixels, boxes), {"kind": "face", "boxes": [list(box) for box in boxes]})


def _wider(box: tuple[float, float, float, float], width: int, height: int) -> Box:
    """A face's box with its margin, in whole pixels inside the photo."""
    left, top, right, bottom = box
    across, down = MARGIN * (right - left), MARGIN * (bottom - top)
    return (
        max(math.floor(left - across), 0),
        max(math.floor(top - down), 0),
        min(math.ceil(right + across), width),
        min(math.ceil(bottom + down), height),
    )


def _of_boxes(pixels: NDArray[np.uint8], boxes: Sequence[Box]) -> Mask:
    mask = np.zeros(pixels.shape[:2], np.uint8)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = 1
    return mask


def _from_picture(pixels: NDArray[np.uint8], data: bytes | None) -> Area:
    if data is None:
        raise PhotoError("failed", "it has no mask")
    try:
        picture = decode(data).pixels
    except PhotoError as error:
        raise PhotoError("failed", f"its mask cannot be read: {error}") from error
    if picture.shape[:2] != pixels.shape[:2]:
        was, wanted = (f"{shape[1]}x{shape[0]}" for shape in (picture.shape, pixels.shape))
        raise PhotoError("failed", f"its mask is {was} pixels, the photo {wanted}")
    mask: Mask = np.any(picture >= 128, axis=2).astype(np.uint8)
    if not mask.any():
        raise PhotoError("skipped", "its mask leaves nothing open")
    return Area(mask, {"kind": "mask", "sha256": sha256(data)})
