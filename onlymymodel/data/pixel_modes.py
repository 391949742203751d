"""Convert Pillow's many pixel modes to 8-bit RGB or gray with a separate alpha; every loss is noted.

For some modes `convert("L")` and similar calls clip, truncate or drop silently; here each mode is handled explicitly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.data.icc import to_srgb

_BITS_TAG, _PHOTOMETRIC_TAG, _EXTRA_SAMPLES_TAG = 258, 262, 338
_GRAY_MODES = ("1", "L", "LA", "La")
_WIDE_GRAY_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_PNG_GRAY_COLOR_TYPES = (0, 4)


@dataclass(frozen=True)
class DecodedArrays:
    """The pixels of a decoded image.

    Attributes:
        pixels: (H,W,3) RGB or (H,W,1) gray, uint8.
        alpha: (H,W) uint8, or None.
        notes: a sentence for each change.
        keep_icc: False if the color profile no longer describes the pixels.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    notes: tuple[str, ...]
    keep_icc: bool = True


@dataclass(frozen=True)
class PixelFormat:
    """Facts in a file's header that Pillow's mode lacks.

    Attributes:
        bits: per sample.
        gray: whether the pixels are gray.
    """

    bits: int
    gray: bool


def pixel_format_of(image: Image.Image, head: bytes) -> PixelFormat:
    """Return the pixel format of an open image that is not loaded yet.

    Args:
        image: the open image.
        head: at least the first 26 bytes of its file.
    """
    if image.format == "PNG":
        bits, color_type = head[24], head[25]
        return PixelFormat(bits, color_type in _PNG_GRAY_COLOR_TYPES)
    tags = getattr(image, "tag_v2", {})
    bits = max(tags.get(_BITS_TAG, (8,)))
    return PixelFormat(bits, image.mode in _GRAY_MODES + _WIDE_GRAY_MODES)


def unsupported(image: Image.Image, pixel_format: PixelFormat) -> str | None:
    """Return why the pixels of an open image cannot be converted to 8 bits faithfully; None if they can."""
    if image.mode == "F":
        return "floating-point pixels have no fixed black and white"
    if image.mode == "I" and not _is_wide_gray(image):
        return "32-bit or signed integer pixels have no fixed black and white"
    if _is_wide_gray(image) and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == 0:
        return "16-bit pixels stored as negative (white is zero) are not supported"
    if pixel_format.bits == 16 and image.mode == "RGB" and "transparency" in image.info:
        return "a transparent color in a 16-bit RGB picture cannot be kept at 8 bits"
    return None


def to_arrays(image: Image.Image, pixel_format: PixelFormat, icc: bytes | None) -> DecodedArrays:
    """Convert a loaded image for which `unsupported` returned None.

    Raises:
        Exception: any exception that Pillow raises for broken files.
    """
    if _is_wide_gray(image):
        return _from_wide_gray(image, pixel_format)
    notes = []
    if pixel_format.bits == 16:
        notes.append("16-bit channels were cut to their upper 8 bits")
    extra = getattr(image, "tag_v2", {}).get(_EXTRA_SAMPLES_TAG, ())
    if 1 in extra:
        notes.append("colors multiplied by alpha were divided again, which rounds them")
    elif extra and not image.has_transparency_data:
        notes.append("extra channels were dropped")
    keyed = image.info.get("transparency")
    if image.mode in ("1", "L", "RGB") and keyed is not None:
        notes.append("a transparent color was turned into an alpha channel")
        color = image.convert("RGB" if image.mode == "RGB" else "L")
        return _split(color, _keyed_alpha(image, pixel_format), notes)
    if image.mode in ("CMYK", "LAB"):
        image, note = _from_cmyk(image, icc) if image.mode == "CMYK" else _from_lab(image)
        notes += [note] if icc is None else [note, "the color profile was dropped: it does not describe RGB"]
        return _split(image, None, notes, keep_icc=False)
    if image.mode == "YCbCr":
        notes.append("YCbCr was converted to RGB")
    if image.mode in ("P", "PA"):
        notes.append("palette colors were converted to RGB")
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert({"1": "L", "La": "LA", "RGBa": "RGBA"}.get(image.mode, "RGB"))
    if image.mode in ("LA", "RGBA"):
        color = image.convert("RGB" if image.mode == "RGBA" else "L")
        return _split(color, np.array(image.getchannel("A")), notes, gray=pixel_format.gray)
    return _split(image, None, notes)


def _split(
    color: Image.Image,
    alpha: NDArray[np.uint8] | None,
    notes: list[str],
    *,
    gray: bool = False,
    keep_icc: bool = True,
) -> DecodedArrays:
    """Return the arrays of an "L" or "RGB" image; gray: its RGB channels are known to be equal."""
    pixels: NDArray[np.uint8] = np.array(color)  # a copy: writable, and independent of the decoder's buffer
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return DecodedArrays(pixels[..., :1].copy() if gray else pixels, alpha, tuple(notes), keep_icc)


def _is_wide_gray(image: Image.Image) -> bool:
    # Pillow before 11.1 opens 16-bit gray PNG as 32-bit "I"; in a TIFF that mode means real 32-bit values.
    return image.mode in _WIDE_GRAY_MODES or (image.mode == "I" and image.format == "PNG")


def _from_wide_gray(image: Image.Image, pixel_format: PixelFormat) -> DecodedArrays:
    """Return 16-bit (or, in TIFF, 12-bit) gray as 8 bits, exactly rounded: `convert("L")` clips at 255."""
    wide = np.asarray(image).astype(np.uint32)
    top = (1 << pixel_format.bits) - 1
    pixels = ((wide * 510 + top) // (2 * top)).astype(np.uint8)[..., None]  # round(255 v / top) in integers
    notes = [f"{pixel_format.bits}-bit gray was rounded to 8 bits"]
    key = image.info.get("transparency")
    if key is None:
        return DecodedArrays(pixels, None, tuple(notes))
    alpha = np.where(wide == key, 0, 255).astype(np.uint8)
    return DecodedArrays(pixels, alpha, (*notes, "a transparent color was turned into an alpha channel"))


def _keyed_alpha(image: Image.Image, pixel_format: PixelFormat) -> NDArray[np.uint8]:
    """Return alpha (H,W): 0 where a pixel has the color that the PNG declares transparent, else 255."""
    key = image.info["transparency"]
    if image.mode == "RGB":
        matches = (np.asarray(image) == np.array(key)).all(axis=-1)
    elif image.mode == "1":
        matches = np.asarray(image.convert("L")) == key
    else:
        # Pillow scales 2- and 4-bit pixels to 0..255, but not the key
        matches = np.asarray(image) == key * (255 // ((1 << pixel_format.bits) - 1))
    return np.where(matches, 0, 255).astype(np.uint8)


def _from_cmyk(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, str]:
    """Return an sRGB image and a note on the conversion, which uses the file's profile if it has one that works."""
    approximate = "colors are approximate"
    if icc is None:
        return image.convert("RGB"), f"CMYK was converted to RGB without a color profile: {approximate}"
    converted = to_srgb(image, icc)
    if converted is None:
        return image.convert("RGB"), f"CMYK was converted to RGB, its profile is broken: {approximate}"
    return converted, "CMYK was converted to sRGB through its color profile"


def _from_lab(image: Image.Image) -> tuple[Image.Image, str]:
    return image.convert("RGB"), "LAB was converted to sRGB"
