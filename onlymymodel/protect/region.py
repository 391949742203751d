"""Regions: the part of a photo that may change. All other pixels of the written file equal the original's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from onlymymodel.data.image_io import MAX_PIXELS, PhotoError, decode
from onlymymodel.data.manifest import sha256
from onlymymodel.errors import UserError
from onlymymodel.protect.choices import FACES, NO_FACE, REGION_KINDS, WITHOUT_MASKS, Faces, NoFace, RegionKind

if TYPE_CHECKING:
    from torch import Tensor

    from onlymymodel.surrogates.face_detector import Face

NO_FACE_FOUND = "no face was found"
MARGIN = 0.25  # fraction of a face's box added on each side: recognizers see hair, ears and chin too

Mask = NDArray[np.uint8]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Region:
    """The part of every photo that may change.

    Attributes:
        kind: the whole `image`, each detected `face`, or the bright part of a `mask` that is given with the photo.
        no_face: how to treat a photo without a face: `skip` it, or change the whole `image`.
        faces: for models that align faces, protect `all` faces or only the `largest`.

    Raises:
        UserError: an unknown value.
    """

    kind: RegionKind = "image"
    no_face: NoFace = "skip"
    faces: Faces = "all"

    @classmethod
    def at(cls, where: str, no_face: NoFace, faces: Faces) -> "Region":
        """Return the region of the flags: `where` is image, face, or the path of masks. Raises UserError."""
        return cls(next((kind for kind in WITHOUT_MASKS if kind == where), "mask"), no_face, faces)

    def __post_init__(self) -> None:
        if self.kind not in REGION_KINDS:
            raise UserError(f"the kind of a region must be one of {', '.join(REGION_KINDS)}, not {self.kind!r}")
        if self.no_face not in NO_FACE:
            raise UserError(f"no_face must be one of {', '.join(NO_FACE)}, not {self.no_face!r}")
        if self.faces not in FACES:
            raise UserError(f"faces must be one of {', '.join(FACES)}, not {self.faces!r}")


WHOLE = Region()


@dataclass(frozen=True)
class RegionRecord:
    """The region of one photo as the manifest records it.

    Attributes:
        kind: the kind that was used; `image` if the photo had no face and the whole photo was used instead.
        boxes: left, top, right, bottom of each face with its margin, in pixels; set only for `face`.
        sha256: hash of the mask's file, None if the photo had none; set only for `mask`.
        reason: why the whole photo was used; set only for `image`.
    """

    kind: RegionKind
    boxes: tuple[Box, ...] | UnsetType = UNSET
    sha256: str | UnsetType | None = UNSET
    reason: str | UnsetType = UNSET


@dataclass(frozen=True)
class Area:
    """The region of one photo.

    Attributes:
        mask: (H,W) uint8, 1 where the photo may change; None for the whole photo.
        record: entry of the manifest; None for the whole photo.
    """

    mask: Mask | None = None
    record: RegionRecord | None = None

    def tensor(self, photo: "Tensor") -> "Tensor | None":
        """Return (1,H,W) float32 of 0 and 1 for a (C,H,W) photo, on the photo's device; None for the whole photo."""
        import torch  # not at the top: the help of the command line imports this module

        if self.mask is None:
            return None
        return torch.from_numpy(self.mask)[None].float().to(photo.device)


def find_area(
    pixels: NDArray[np.uint8],
    mask: bytes | None,
    region: Region,
    *,
    reads_faces: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Area:
    """Find the region of a photo.

    Args:
        pixels: (H,W,C) uint8, upright.
        mask: bytes of a picture of the photo's size, bright (128 or more in any channel) where the photo may change;
            used only for the kind `mask`.
        region: the setting of the run.
        reads_faces: whether the authorized model reads aligned faces, so that it cannot read a photo without a face.
        max_pixels: largest number of pixels of the mask.

    Raises:
        PhotoError: skipped, because no face was found or the mask is dark everywhere; failed, because the mask is
            missing, unreadable or of another size.
    """
    if region.kind == "image" and not reads_faces:
        return Area()
    if region.kind == "mask" and not reads_faces:
        return _area_of_mask(pixels, mask, max_pixels)
    from onlymymodel.surrogates.face_detector import find_faces  # the detector takes seconds to import

    faces = find_faces(pixels)
    if not faces and region.no_face == "skip":
        raise PhotoError("skipped", NO_FACE_FOUND)
    if region.kind == "mask":
        return _area_of_mask(pixels, mask, max_pixels)
    if not faces:
        return Area(record=RegionRecord("image", reason=NO_FACE_FOUND))
    return _area_of_faces(pixels, faces) if region.kind == "face" else Area()


def area_from_record(pixels: NDArray[np.uint8], record: RegionRecord | None) -> Area:
    """Return the region that a manifest's record describes; its mask is None where it would need the mask's file.

    Args:
        pixels: (H,W,C) uint8, any version of the photo.
        record: the record; None for the whole photo.
    """
    if record is None or record.boxes is UNSET:
        return Area(record=record)
    return Area(_mask_of_boxes(pixels, record.boxes), record)


def _area_of_faces(pixels: NDArray[np.uint8], faces: Sequence["Face"]) -> Area:
    boxes = [_add_margin(face.box, pixels.shape[1], pixels.shape[0]) for face in faces]
    return Area(_mask_of_boxes(pixels, boxes), RegionRecord("face", boxes=tuple(boxes)))


def _add_margin(box: tuple[float, float, float, float], width: int, height: int) -> Box:
    """Return a face's box with its margin, in whole pixels inside the photo."""
    left, top, right, bottom = box
    across, down = MARGIN * (right - left), MARGIN * (bottom - top)
    return (
        max(math.floor(left - across), 0),
        max(math.floor(top - down), 0),
        min(math.ceil(right + across), width),
        min(math.ceil(bottom + down), height),
    )


def _mask_of_boxes(pixels: NDArray[np.uint8], boxes: Sequence[Box]) -> Mask:
    mask = np.zeros(pixels.shape[:2], np.uint8)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = 1
    return mask


def _area_of_mask(pixels: NDArray[np.uint8], data: bytes | None, max_pixels: int) -> Area:
    if data is None:
        raise PhotoError("failed", "it has no mask")
    try:
        picture = decode(data, max_pixels=max_pixels).pixels
    except PhotoError as error:
        raise PhotoError("failed", f"its mask cannot be read: {error}") from error
    if picture.shape[:2] != pixels.shape[:2]:
        was, wanted = (f"{shape[1]}x{shape[0]}" for shape in (picture.shape, pixels.shape))
        raise PhotoError("failed", f"its mask is {was} pixels, the photo {wanted}")
    mask: Mask = np.any(picture >= 128, axis=2).astype(np.uint8)
    if not mask.any():
        raise PhotoError("skipped", "its mask leaves nothing open")
    return Area(mask, RegionRecord("mask", sha256=sha256(data)))
