"""From Pillow's many pixel modes to 8-bit RGB or gray with alpha set apart, every loss noted.

`convert("L")` and its like clip, truncate or drop in silence for some modes; here each is handled on purpose.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_BITS_TAG, _PHOTOMETRIC_TAG, _EXTRA_SAMPLES_TAG = 258, 262, 338
_GRAY_MODES = ("1", "L", "LA", "La")
_WIDE_GRAY_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_PNG_GRAY_COLOR_TYPES = (0, 4)


@dataclass(frozen=True)
class Arrays:
    """pixels: (H,W,3) RGB or (H,W,1) gray, uint8; alpha: (H,W) uint8 or None; notes: what was changed.

    keep_icc: False where the color profile no longer describes the pixels.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    notes: tuple[str, ...]
    keep_icc: bool = True


@dataclass(frozen=True)
class Source:
    """What the file's header says that Pillow's mode does not: bits per sample, and if the photo is gray."""

    bits: int
    gray: bool


def describe(image: Image.Image, head: bytes) -> Source:
    """Return the facts about an open, not yet loaded `image`; `head` is its file's first 26 bytes or more."""
    if image.format == "PNG":
        bits, color_type = head[24], head[25]
        return Source(bits, color_type in _PNG_GRAY_COLOR_TYPES)
    tags = getattr(image, "tag_v2", {})
    bits = max(tags.get(_BITS_TAG, (8,)))
    return Source(bits, image.mode in _GRAY_MODES + _WIDE_GRAY_MODES)


def unsupported(image: Image.Image, source: Source) -> str | None:
    """Return why the pixels of an open `image` cannot become 8-bit faithfully, None where they can."""
    if image.mode == "F":
        return "floating-point pixels have no fixed black and white"
    if image.mode == "I" and not _is_wide_gray(image):
        return "32-bit or signed integer pixels have no fixed black and white"
    if _is_wide_gray(image) and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == 0:
        return "16-bit pixels stored as negative (white is zero) are not supported"
    if source.bits == 16 and image.mode == "RGB" and "transparency" in image.info:
        return "a transparent color in a 16-bit RGB picture cannot be kept at 8 bits"
    return None


def to_arrays(image: Image.Image, source: Source, icc: bytes | None) -> Arrays:
    """Convert a loaded `image` for which `unsupported` gave None. Raises what Pillow raises."""
    if _is_wide_gray(image):
        return _from_wide_gray(image, source)
    notes = []
    if source.bits == 16:
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
        return _split(color, _keyed_alpha(image, source), notes)
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
        return _split(color, np.array(image.getchannel("A")), notes, gray=source.gray)
    return _split(image, None, notes)


def _split(
    color: Image.Image,
    alpha: NDArray[np.uint8] | None,
    notes: list[str],
    *,
    gray: bool = False,
    keep_icc: bool = True,
) -> Arrays:
    """Return the arrays of an "L" or "RGB" image; gray: its RGB is known to be one channel repeated."""
    pixels: NDArray[np.uint8] = np.array(color)  # a copy: writable, and independent of the decoder's buffer
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return Arrays(pixels[..., :1].copy() if gray else pixels, alpha, tuple(notes), keep_icc)


def _is_wide_gray(image: Image.Image) -> bool:
    # Pillow before 11.1 opens 16-bit gray PNG as 32-bit "I"; in a TIFF that mode means real 32-bit values.
    return image.mode in _WIDE_GRAY_MODES or (image.mode == "I" and image.format == "PNG")


def _from_wide_gray(image: Image.Image, source: Source) -> Arrays:
    """Return 16-bit (or, in TIFF, 12-bit) gray as 8 bits, exactly rounded: `convert("L")` clips at 255."""
    wide = np.asarray(image).astype(np.uint32)
    top = (1 << source.bits) - 1
    pixels = ((wide * 510 + top) // (2 * top)).astype(np.uint8)[..., None]  # round(255 v / top) in integers
    notes = [f"{source.bits}-bit gray was rounded to 8 bits"]
    key = image.info.get("transparency")
    if key is None:
        return Arrays(pixels, None, tuple(notes))
    alpha = np.where(wide == key, 0, 255).astype(np.uint8)
    return Arrays(pixels, alpha, (*notes, "a transparent color was turned into an alpha channel"))


def _keyed_alpha(image: Image.Image, source: Source) -> NDArray[np.uint8]:
    """Return alpha (H,W): 0 where a pixel has the color that the PNG declares transparent, else 255."""
    key = image.info["transparency"]
    if image.mode == "RGB":
        matches = (np.asarray(image) == np.array(key)).all(axis=-1)
    elif image.mode == "1":
        matches = np.asarray(image.convert("L")) == key
    else:
        # Pillow scales 2- and 4-bit pixels to 0..255 but leaves the key as it stands in the file
        matches = np.asarray(image) == key * (255 // ((1 << source.bits) - 1))
    return np.where(matches, 0, 255).astype(np.uint8)


def _from_cmyk(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, str]:
    """Return an sRGB image and how it was made: through the file's profile where it has one that works."""
    naive = "colors are approximate"
    if icc is None:
        return image.convert("RGB"), f"CMYK was converted to RGB without a color profile: {naive}"
    try:
        converted = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):  # littlecms says no more than that it failed
        return image.convert("RGB"), f"CMYK was converted to RGB, its profile is broken: {naive}"
    if converted is None:
        raise ValueError("in-place conversion was not asked for")
    return converted, "CMYK was converted to sRGB through its color profile"


def _from_lab(image: Image.Image) -> tuple[Image.Image, str]:
    return image.convert("RGB"), "LAB was converted to sRGB"
