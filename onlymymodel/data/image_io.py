"""Decode image files to upright 8-bit pixels and separate metadata, and encode them without loss.

Every file gives a `Photo`, whose notes list what was changed, or a `PhotoError` with a reason.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.data import color_description
from onlymymodel.data.choices import Metadata
from onlymymodel.data.color_description import ColorDescription
from onlymymodel.data.dropped_parts import dropped_parts
from onlymymodel.data.exif import orientation_of
from onlymymodel.data.icc import to_srgb
from onlymymodel.data.jpeg_end import with_end_marker
from onlymymodel.data.opened_image import (
    MAX_ASPECT,
    MAX_PIXELS,
    MIN_SIDE,
    OpenedImage,
    PhotoError,
    open_image,
    pillow_settings,
)
from onlymymodel.data.photo_metadata import DECODER_ERRORS, read_exif
from onlymymodel.data.pixel_modes import DecodedArrays, to_arrays
from onlymymodel.data.regular_file import Readable, open_regular
from onlymymodel.errors import number_of

__all__ = [
    "MAX_ASPECT",
    "MAX_PIXELS",
    "MIN_SIDE",
    "Header",
    "Photo",
    "PhotoError",
    "decode",
    "encode",
    "probe",
    "probe_bytes",
]

_WEBP_MAX_SIDE = 16383
_PARTS_NAMED = 10
# Pillow, like other readers, refuses to unpack more than this from a PNG chunk.
_PNG_MAX_ICC = 1 << 20


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo, upright.

    Attributes:
        pixels: (H,W,3) RGB or, for gray photos, (H,W,1), uint8.
        alpha: (H,W) uint8, or None.
        exif: EXIF bytes without the "Exif" prefix, with orientation 1 and harmless entries only; or None.
        icc: color profile, or None.
        source_format: Pillow's name: "PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "GIF", "AVIF" or "HEIF".
        notes: a sentence for everything that was changed or dropped when the file was decoded.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    exif: bytes | None
    icc: bytes | None
    source_format: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Header:
    """Facts about a photo that are read without decoding it.

    Attributes:
        width, height: in pixels, upright.
        channels: 1 for gray photos, 3 for all others.
    """

    width: int
    height: int
    channels: int


def probe(path: Readable, max_pixels: int = MAX_PIXELS, *, first_frame: bool = False) -> Header:
    """Return the header of the file at `path`, without decoding its pixels.

    Args:
        path: the file, also one in a store.
        max_pixels: see `decode`.
        first_frame: see `decode`.

    Raises:
        PhotoError: as `decode`, for all that the header shows; or the file cannot be read.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise PhotoError("failed", f"cannot be read: {error.strerror}") from error
    with file:
        return _probe(file, max_pixels, first_frame)


def probe_bytes(data: bytes, max_pixels: int = MAX_PIXELS, *, first_frame: bool = False) -> Header:
    """Return the header of a file that is in memory, see `probe`."""
    return _probe(io.BytesIO(data), max_pixels, first_frame)


def _probe(file: IO[bytes], max_pixels: int, first_frame: bool) -> Header:
    with pillow_settings(max_pixels):
        opened = open_image(file, max_pixels, first_frame=first_frame, header_only=True)
        width, height = opened.image.size
        # Pillow reports the upright size of a TIFF
        if orientation_of(opened.exif or b"") >= 5:
            width, height = height, width
        return Header(width, height, 1 if opened.pixel_format.gray else 3)


def decode(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    metadata: Metadata = "keep",
    keep_makernotes: bool = False,
    first_frame: bool = False,
) -> Photo:
    """Decode a photo.

    Args:
        data: the bytes of a PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF or, with the extra `heif`, HEIC file.
        max_pixels: width x height above which a file is refused before it is decoded.
        metadata: what to keep of EXIF: all that is harmless, all of that but the location, or nothing.
        keep_makernotes: keep the maker note of EXIF, too, which may hold the photo.
        first_frame: decode the first frame of an animation instead of refusing it.

    Raises:
        PhotoError: `failed` for empty, broken, truncated or too large files; `skipped` for other formats, animations,
            several pages, pixels that have no faithful 8-bit form, sides below MIN_SIDE, and strips narrower than
            1 : MAX_ASPECT.
    """
    with pillow_settings(max_pixels) as warned:
        opened = open_image(io.BytesIO(data), max_pixels, first_frame=first_frame)
        notes = list(opened.notes)
        if opened.image.format in ("JPEG", "MPO") and (ended := with_end_marker(data)) is not None:
            data, opened = ended, open_image(io.BytesIO(ended), max_pixels)
            notes.append("its end marker is missing, but no pixel is")
        image, name = opened.image, str(opened.image.format)
        color = _color(opened, data)
        try:
            image.load()
            arrays = to_arrays(image, opened.pixel_format, color.icc)
        except MemoryError as error:
            raise PhotoError("failed", "not enough memory to decode it") from error
        except DECODER_ERRORS as error:
            raise PhotoError("failed", f"damaged or cut short {name} file: {error}") from error
        exif, orientation, exif_notes = read_exif(image, opened.exif, metadata, keep_makernotes)
        parts = dropped_parts(image, data) if opened.png is None else list(opened.png.dropped)
        notes += [*color.notes, *arrays.notes, *exif_notes]
        notes += [f"{part} was not carried over" for part in parts[:_PARTS_NAMED]]
        if others := len(parts[_PARTS_NAMED:]):
            notes.append(f"{number_of(others, 'other part was', 'other parts were')} not carried over")
        notes += dict.fromkeys(f"the decoder warned: {warning.message}" for warning in warned)
    turned = opened.tiff_orientation if name == "TIFF" else orientation
    if turned in range(2, 9):
        notes.insert(0, f"turned upright (orientation {turned})")
    pixels, alpha = _upright(arrays, orientation)
    photo = Photo(pixels, alpha, exif, color.icc if arrays.keep_icc else None, name, tuple(notes))
    return _with_small_profile(photo)


def encode(
    pixels: NDArray[np.uint8],
    *,
    like: Photo,
    format: Literal["png", "webp"] = "png",
) -> bytes:
    """Encode a lossless file with `pixels` and with the alpha, EXIF and color profile of `like`.

    Decoding the result gives all four back bit for bit, and the same input gives the same bytes. WebP has two
    exceptions: gray is decoded as three equal channels, and an alpha that is 255 everywhere is decoded as None. TIFF is
    not offered, because it cannot hold EXIF bytes unchanged.

    Args:
        pixels: (H,W,3) or (H,W,1) uint8, of the size of `like`.
        like: the photo whose alpha, EXIF and color profile are written.
        format: of the file.

    Raises:
        ValueError: pixels of another type or size.
        PhotoError: the format cannot hold the photo.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ValueError(f"pixels must be (H,W,1) or (H,W,3) uint8, not {pixels.shape} {pixels.dtype}")
    if pixels.shape[:2] != like.pixels.shape[:2]:
        raise ValueError(f"pixels are {pixels.shape[:2]}, the photo is {like.pixels.shape[:2]}")
    exif = like.exif or b""
    out = io.BytesIO()
    if format == "webp":
        _check_webp(pixels, like)
        image = _image(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels, like.alpha)
        # exact: keep the colors under transparent pixels
        image.save(out, "WEBP", lossless=True, exact=True, exif=exif, icc_profile=like.icc)
    else:
        if like.icc is not None and len(like.icc) > _PNG_MAX_ICC:
            raise PhotoError("failed", "its color profile is too large for PNG; write WebP instead")
        image = _image(pixels, like.alpha)
        image.save(out, "PNG", exif=exif or None, icc_profile=like.icc)
    return out.getvalue()


def _color(opened: OpenedImage, data: bytes) -> ColorDescription:
    """Return the colors of an image; raise PhotoError if 8 bits cannot hold them."""
    gray, name = opened.pixel_format.gray, opened.image.format
    profile = opened.image.info.get("icc_profile") or None
    if opened.png is not None:
        color = color_description.of_png(opened.png, gray)
    elif name == "BMP":
        color = color_description.of_bmp(data, gray)
    elif name in ("AVIF", "HEIF"):
        color = color_description.of_avif(data, profile, gray)
    else:
        color = ColorDescription(profile)
    if color.refusal is not None:
        raise PhotoError("skipped", color.refusal)
    return color


def _with_small_profile(photo: Photo) -> Photo:
    """Return a photo whose color profile a PNG can hold: its colors are converted to sRGB if it is too large."""
    if photo.icc is None or len(photo.icc) <= _PNG_MAX_ICC:
        return photo
    converted = to_srgb(_image(photo.pixels, None), photo.icc)
    if converted is None:
        note = "the color profile was dropped: it is too large, and does not describe the pixels"
        return replace(photo, icc=None, notes=(*photo.notes, note))
    note = "colors were converted to sRGB: the color profile is too large to be carried over"
    return replace(photo, pixels=np.array(converted), icc=None, notes=(*photo.notes, note))


def _upright(arrays: DecodedArrays, orientation: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return pixels and alpha turned by an EXIF orientation from 1 to 8."""

    def turn(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if orientation >= 5:
            array = array.swapaxes(0, 1)
        if orientation in (3, 4, 7, 8):
            array = array[::-1]
        if orientation in (2, 3, 6, 7):
            array = array[:, ::-1]
        return np.ascontiguousarray(array)

    return turn(arrays.pixels), None if arrays.alpha is None else turn(arrays.alpha)


def _check_webp(pixels: NDArray[np.uint8], like: Photo) -> None:
    """Raise PhotoError if WebP cannot hold the photo."""
    if max(pixels.shape[:2]) > _WEBP_MAX_SIDE:
        raise PhotoError("failed", f"WebP allows {_WEBP_MAX_SIDE} pixels a side; write PNG instead")
    if like.icc is not None and like.icc[16:20] == b"GRAY":
        raise PhotoError("failed", "WebP has no gray pixels for its gray color profile; write PNG instead")


def _image(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> Image.Image:
    """Return a Pillow image L, LA, RGB or RGBA."""
    if alpha is not None:
        return Image.fromarray(np.concatenate([pixels, alpha[..., None]], axis=2))
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
