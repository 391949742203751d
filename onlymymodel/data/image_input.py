"""Pictures as Python programs have them (paths, bytes, Pillow images, arrays, tensors), as the bytes of a file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.data.image_io import MAX_PIXELS
from onlymymodel.data.photo_metadata import DECODER_ERRORS
from onlymymodel.data.regular_file import max_photo_bytes, read_regular
from onlymymodel.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Picture: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8] | NDArray[np.floating] | Tensor"

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_CHANNELS = (1, 3, 4)  # gray, RGB, and RGB with transparency
_EXIF = 0x8769  # not empty where there is a block of EXIF


def picture_bytes(picture: Picture, max_pixels: int = MAX_PIXELS) -> bytes:
    """Return the bytes of a picture's file: those of its own file, or of an uncompressed PNG with the same pixels.

    Args:
        picture: a path; the bytes of a file; a Pillow image, whose EXIF and color profile are kept; an array of shape
            (H,W), (H,W,1), (H,W,3) or (H,W,4); or a tensor of shape (1,H,W), (3,H,W) or (4,H,W), on any device. Pixels
            are RGB, uint8 from 0 to 255, or floats from 0 to 1, which are rounded to 8 bits.
        max_pixels: largest number of pixels; it limits how much of a file is read.

    Raises:
        UserError: the file cannot be read, or the object is no picture.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, str | os.PathLike):
        path = Path(picture)
        try:
            return read_regular(path, max_photo_bytes(max_pixels))
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if isinstance(picture, Image.Image):
        return _png(picture)
    if isinstance(picture, np.ndarray):
        return _png(Image.fromarray(_pixels(picture)))
    from torch import Tensor

    if not isinstance(picture, Tensor):
        raise UserError(
            "a picture is a path, the bytes of a file, a Pillow image, an array or a tensor, not "
            f"{type(picture).__name__}"
        )
    if picture.ndim != 3:
        raise UserError(f"a picture as a tensor has the shape (3,H,W) or (1,H,W), not {tuple(picture.shape)}")
    tensor = picture.detach().cpu().permute(1, 2, 0)
    # NumPy has no bfloat16
    return _png(Image.fromarray(_pixels((tensor.double() if tensor.is_floating_point() else tensor).numpy())))


def _pixels(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return (H,W) or (H,W,3|4) uint8 pixels of an array."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in _CHANNELS or 0 in array.shape:
        raise UserError(
            f"a picture as an array has the shape (H,W,3), (H,W,4), (H,W,1) or (H,W), not {array.shape}: one picture, "
            "with its channels last (a tensor has them first)"
        )
    array = array[..., 0] if array.shape[2] == 1 else array
    if np.issubdtype(array.dtype, np.floating):
        # NaN is not between 0 and 1 either
        values = array.astype(np.float64)
        if not ((values >= 0) & (values <= 1)).all():
            raise UserError("pixels that are floats lie from 0 to 1; pass uint8 for pixels from 0 to 255")
        return np.rint(values * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise UserError(f"pixels are uint8 from 0 to 255 or floats from 0 to 1, not {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.uint8)


def _png(image: Image.Image) -> bytes:
    if image.mode not in _PNG_MODES:
        raise UserError(f"a Pillow image of mode {image.mode} has to be converted first: image.convert('RGB')")
    try:
        image.load()  # before its EXIF is read: Pillow turns the pixels of a TIFF now, and then forgets the orientation
    except DECODER_ERRORS as error:
        raise UserError(f"the Pillow image cannot be read: {error}") from error
    exif = image.getexif()
    file = io.BytesIO()
    # uncompressed: the random numbers of a photo come from its bytes, which compression libraries do not agree on
    image.save(
        file,
        "PNG",
        compress_level=0,
        icc_profile=image.info.get("icc_profile"),
        exif=exif.tobytes() if len(exif) or exif.get_ifd(_EXIF) else None,
    )
    return file.getvalue()
