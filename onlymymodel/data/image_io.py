"""Photos in, photos out: bytes to upright 8-bit pixels with their metadata set apart, and back without loss.

Every file ends as a Photo whose notes say what was changed on the way in, or as a PhotoError with a reason.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from onlymymodel.data.exif import orientation_of
from onlymymodel.data.photo_metadata import DECODER_ERRORS, PNG_SIGNATURE, left_behind, png_exif, read_exif
from onlymymodel.data.pixel_modes import Arrays, Source, describe, to_arrays, unsupported

# The suffixes of photo candidates, in lower case. Whether one really is a photo, its bytes say.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".webp", ".tif", ".tiff", ".bmp"})
MIN_SIDE = 16  # pixels; models see nothing in less
# A model's resize makes the short side some 256 pixels: of a strip of 16 x 5,000,000 that would be terabytes.
MAX_ASPECT = 20
MAX_PIXELS = 100_000_000

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_WEBP_MAX_SIDE = 16383
# Pillow, like other readers, refuses to unpack more than this from a PNG chunk.
_PNG_MAX_ICC = 1 << 20
_HEAD = 32  # bytes: enough for every signature below and for a PNG's bit depth
_ORIENTATION_TAG = 274
# (offset, bytes, name): formats that people have under a photo's name.
_OWN_SIGNATURES = (
    (0, PNG_SIGNATURE, "PNG"), (0, b"\xff\xd8\xff", "JPEG"), (8, b"WEBP", "WebP"), (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"), (0, b"MM\x00*", "TIFF"), (0, b"II+\x00", "TIFF"), (0, b"MM\x00+", "TIFF"),
)  # fmt: skip
_OTHER_SIGNATURES = (
    (0, b"GIF8", "GIF"), (4, b"ftypavif", "AVIF"), (4, b"ftypheic", "HEIC"), (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"), (4, b"ftyp", "video"), (0, b"\xff\x0a", "JPEG XL"), (4, b"JXL ", "JPEG XL"),
    (4, b"jP  \r\n", "JPEG 2000"), (0, b"8BPS", "Photoshop"), (0, b"%PDF", "PDF"),
)  # fmt: skip

# Pillow's safety settings and Python's warning filters belong to the whole process. They are changed only
# inside `_pillow_settings`, one thread at a time, so that importing this module changes nothing for anybody.
_SETTINGS_LOCK = threading.RLock()


class PhotoError(Exception):
    """A file that gives no photo. status: "failed" (broken) or "skipped" (fine, but not for us)."""

    def __init__(self, status: Literal["failed", "skipped"], reason: str) -> None:
        super().__init__(status, reason)  # both, so that the error survives the way between processes
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo, upright.

    pixels: (H,W,3) RGB or, for gray photos, (H,W,1), uint8. alpha: (H,W) uint8, or None.
    exif: EXIF bytes without the "Exif" prefix, orientation 1, embedded previews blanked. icc: color profile.
    source_format: "PNG", "JPEG", "MPO", "WEBP", "TIFF" or "BMP".
    notes: everything that was changed or dropped on the way in, in plain words.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    exif: bytes | None
    icc: bytes | None
    source_format: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Header:
    """Upright size in pixels, and 1 channel for gray photos or 3 for all others."""

    width: int
    height: int
    channels: int


def probe(path: Path, max_pixels: int = MAX_PIXELS) -> Header:
    """Return what the header of the file at `path` says, without decoding pixels.

    Raises PhotoError as `decode` would for everything that can be seen there, and where there is no
    readable file.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise PhotoError("failed", f"cannot be read: {error.strerror}") from error
    with file, _pillow_settings(max_pixels):
        opened = _open(file, max_pixels)
        # Pillow gives the size of a TIFF upright already; its tags are not in info["exif"]
        raw = opened.png_exif or opened.image.info.get("exif") or b""
        width, height = opened.image.size
        if orientation_of(raw) >= 5:
            width, height = height, width
        return Header(width, height, 1 if opened.source.gray else 3)


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Return the photo in `data`, the bytes of a PNG, JPEG, WebP, TIFF or BMP file.

    max_pixels: width x height above which a file is refused before it is decoded.
    Raises PhotoError: "failed" for what is empty, broken, cut short or too large, "skipped" for other
    formats, animations and several pages, pixels that have no faithful 8-bit form, sides below MIN_SIDE and
    strips narrower than 1 : MAX_ASPECT.
    """
    with _pillow_settings(max_pixels) as warned:
        opened = _open(io.BytesIO(data), max_pixels)
        image, name = opened.image, str(opened.image.format)
        icc = image.info.get("icc_profile") or None
        try:
            image.load()
            arrays = to_arrays(image, opened.source, icc)
        except MemoryError as error:
            raise PhotoError("failed", "not enough memory to decode it") from error
        except DECODER_ERRORS as error:
            raise PhotoError("failed", f"damaged or cut short {name} file: {error}") from error
        exif, orientation, exif_notes = read_exif(image)
        notes = (*arrays.notes, *exif_notes, *left_behind(image, icc))
        notes += tuple(dict.fromkeys(f"the decoder warned: {warning.message}" for warning in warned))
    turned = opened.tiff_orientation if name == "TIFF" else orientation
    if turned in range(2, 9):
        notes = (f"turned upright (orientation {turned})", *notes)
    pixels, alpha = _upright(arrays, orientation)
    return Photo(pixels, alpha, exif, icc if arrays.keep_icc else None, name, notes)


def encode(
    pixels: NDArray[np.uint8],
    *,
    like: Photo,
    format: Literal["png", "webp"] = "png",
    strip_metadata: bool = False,
) -> bytes:
    """Return a lossless file with `pixels` and with the alpha, EXIF and color profile of `like`.

    pixels: (H,W,3) or (H,W,1) uint8, the size of `like`. Decoding the result gives all four back bit for
    bit, and the same input gives the same bytes. WebP has two gaps: gray comes back as three equal channels,
    and an alpha that is 255 everywhere comes back as None. TIFF is not offered, because it cannot hold EXIF
    bytes unchanged.
    strip_metadata: leave out EXIF. The color profile stays: without it the same numbers are other colors.

    Raises ValueError for pixels of another type or size; PhotoError where the format cannot hold the photo.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ValueError(f"pixels must be (H,W,1) or (H,W,3) uint8, not {pixels.shape} {pixels.dtype}")
    if pixels.shape[:2] != like.pixels.shape[:2]:
        raise ValueError(f"pixels are {pixels.shape[:2]}, the photo is {like.pixels.shape[:2]}")
    exif = b"" if strip_metadata or like.exif is None else like.exif
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


@dataclass(frozen=True)
class _Opened:
    """An image whose header has been read and found good, and what Pillow does not keep for later.

    tiff_orientation: Pillow deletes it on loading. png_exif: it may stand where Pillow has not read yet.
    """

    image: ImageFile.ImageFile
    source: Source
    tiff_orientation: int
    png_exif: bytes | None


@contextmanager
def _pillow_settings(max_pixels: int) -> Iterator[list[warnings.WarningMessage]]:
    """Set Pillow's process-wide limits for one file and put them back; yield the warnings it gives meanwhile.

    The limit on pixels must be ours, or Pillow warns or fails at its own. A file cut short must be an error
    even where the program that uses us has told Pillow to make up the missing part.
    """
    with _SETTINGS_LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Pillow only warns up to twice its limit; what lies between is caught by our own check
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
        try:
            yield caught
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def _open(file: IO[bytes], max_pixels: int) -> _Opened:
    """Open the image in `file` without decoding it. Raises PhotoError for all that the header shows."""
    head = file.read(_HEAD)
    if not head:
        raise PhotoError("failed", "an empty file")
    try:
        late_exif = png_exif(file) if head.startswith(PNG_SIGNATURE) else None
        image = Image.open(file, formats=_FORMATS)
        source = describe(image, head)
        reason = unsupported(image, source)
        tiff_orientation = getattr(image, "tag_v2", {}).get(_ORIENTATION_TAG, 1)
    except Image.DecompressionBombError as error:
        raise PhotoError("failed", f"too large: the limit is {max_pixels:,} pixels") from error
    except DECODER_ERRORS as error:
        raise _unreadable(head) from error
    width, height = image.size
    if width * height > max_pixels:
        raise PhotoError("failed", f"too large: {width}x{height}, the limit is {max_pixels:,} pixels")
    if min(width, height) < MIN_SIDE:
        raise PhotoError("skipped", f"too small: {width}x{height}, the limit is {MIN_SIDE} pixels a side")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PhotoError("skipped", f"too narrow: {width}x{height}, a side of more than {MAX_ASPECT} times the other")
    # The second picture of an MPO (a phone's stereo or depth picture) is an extra; frames and pages are not:
    # protecting one of them would leave the others as they are.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        several = "several pages" if image.format == "TIFF" else "an animation"
        raise PhotoError("skipped", f"{several}: only single pictures can be protected")
    if reason is not None:
        raise PhotoError("skipped", reason)
    return _Opened(image, source, tiff_orientation, late_exif)


def _unreadable(head: bytes) -> PhotoError:
    """Return the error for a file that no decoder takes, named by its first bytes."""
    for offset, signature, name in _OWN_SIGNATURES:
        if head.startswith(signature, offset):
            return PhotoError("failed", f"a damaged {name} file, or one of an unusual kind")
    for offset, signature, name in _OTHER_SIGNATURES:
        if head.startswith(signature, offset):
            return PhotoError("skipped", f"not a supported format ({name})")
    return PhotoError("failed", "not a picture, whatever its name says")


def _upright(arrays: Arrays, orientation: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return pixels and alpha turned by an EXIF orientation 1 to 8."""

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
    """Raise PhotoError where WebP cannot hold the photo."""
    if max(pixels.shape[:2]) > _WEBP_MAX_SIDE:
        raise PhotoError("failed", f"WebP allows {_WEBP_MAX_SIDE} pixels a side; write PNG instead")
    if like.icc is not None and like.icc[16:20] == b"GRAY":
        raise PhotoError("failed", "WebP has no gray pixels for its gray color profile; write PNG instead")


def _image(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> Image.Image:
    """Return a Pillow image L, LA, RGB or RGBA."""
    if alpha is not None:
        return Image.fromarray(np.concatenate([pixels, alpha[..., None]], axis=2))
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
