"""Open an untrusted image file without decoding it: its format, what its header shows, and why it may be refused."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import IO, Literal

from PIL import Image, ImageFile

from onlymymodel.data.file_signatures import HEAD, HEIC, READABLE, TIFF, format_of
from onlymymodel.data.photo_metadata import DECODER_ERRORS
from onlymymodel.data.pixel_modes import PixelFormat, pixel_format_of, unsupported
from onlymymodel.data.png_chunks import PngChunks, read_chunks

MIN_SIDE = 16  # pixels; models recognize nothing in smaller photos
# models resize the short side to about 256 pixels: a strip of 16 x 5,000,000 would become terabytes
MAX_ASPECT = 20
MAX_PIXELS = 100_000_000

_ORIENTATION_TAG, _SUBFILE_TAG, _SUB_IFDS_TAG, _DNG_TAG = 274, 254, 330, 50706
# Pillow's safety settings and Python's warning filters are global. They are changed only inside `pillow_settings`, by
# one thread at a time, so importing this module changes nothing.
_SETTINGS_LOCK = threading.RLock()


class PhotoError(Exception):
    """A file that cannot be used as a photo.

    Args:
        status: `failed` (broken) or `skipped` (valid, but not supported).
        reason: a sentence without a full stop.
    """

    def __init__(self, status: Literal["failed", "skipped"], reason: str) -> None:
        super().__init__(status, reason)  # both, so that the error can be pickled between processes
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class OpenedImage:
    """An image whose header has been read and accepted, and what Pillow does not keep.

    Attributes:
        image: not loaded yet.
        pixel_format: see `PixelFormat`.
        tiff_orientation: Pillow deletes it when it loads the pixels.
        png: the chunks, if it is a PNG.
        notes: on what is not carried over.
    """

    image: ImageFile.ImageFile
    pixel_format: PixelFormat
    tiff_orientation: int
    png: PngChunks | None
    notes: tuple[str, ...]

    @property
    def exif(self) -> bytes | None:
        """The EXIF block; None for a TIFF file, where EXIF is not a block."""
        return self.image.info.get("exif") if self.png is None else self.png.exif


@contextmanager
def pillow_settings(max_pixels: int) -> Iterator[list[warnings.WarningMessage]]:
    """Set Pillow's global limits for one file and restore them; yield the warnings that are raised meanwhile.

    The limit on pixels must be ours, or Pillow warns or fails at its own. A truncated file must be an error even if the
    program that uses this package has told Pillow to fill in the missing part.
    """
    with _SETTINGS_LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Pillow only warns up to twice its limit; our own check catches these sizes
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
        try:
            yield caught
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def open_image(
    file: IO[bytes], max_pixels: int, *, first_frame: bool = False, header_only: bool = False
) -> OpenedImage:
    """Open the image in `file`, inside `pillow_settings`.

    Args:
        file: seekable.
        max_pixels: see `pillow_settings`.
        first_frame: accept an animation; its first frame is opened.
        header_only: the pixels will not be loaded.

    Raises:
        PhotoError: for all that the header shows.
    """
    head = file.read(HEAD)
    if not head:
        raise PhotoError("failed", "an empty file")
    name = _format(head)
    png = None
    try:
        if name == "PNG":
            png = read_chunks(file, header_only=header_only)
            file = io.BytesIO(png.pixels)
        image = Image.open(file, formats=("HEIF" if name == HEIC else name,))
        pixel_format = pixel_format_of(image, head)
        reason = unsupported(image, pixel_format)
        tags = getattr(image, "tag_v2", {})
        tiff_orientation = tags.get(_ORIENTATION_TAG, 1)
        is_raw = _DNG_TAG in tags or (_SUB_IFDS_TAG in tags and tags.get(_SUBFILE_TAG, 0) == 1)
        frames = _frames(image, name)
    except Image.DecompressionBombError as error:
        raise PhotoError("failed", f"too large: the limit is {max_pixels:,} pixels (--max-pixels)") from error
    except DECODER_ERRORS as error:
        raise PhotoError("failed", f"a damaged {name} file, or one of an unusual kind") from error
    _check_size(*image.size, max_pixels)
    if is_raw:  # Pillow would open its preview
        raise PhotoError("skipped", "not a supported format (camera RAW)")
    notes = _check_frames(name, image.format == "MPO", frames, first_frame)
    if reason is not None:
        raise PhotoError("skipped", reason)
    return OpenedImage(image, pixel_format, tiff_orientation, png, notes)


def reason_not_read(head: bytes) -> str | None:
    """Return why pictures of the format that the first HEAD bytes show are not read; None if they are."""
    found = format_of(head)
    if found is None:
        return "not a picture, whatever its name says"
    if found.name not in READABLE:
        return f"not a supported format ({found.name})"
    if found.name == HEIC and not register_heif():
        return "HEIC needs pillow-heif: pip install 'onlymymodel[heif]'"
    return None


def _format(head: bytes) -> str:
    """Return the format of a file that can be read; raise PhotoError for any other."""
    reason, found = reason_not_read(head), format_of(head)
    if found is None or reason is not None:
        raise PhotoError("failed" if found is None else "skipped", reason or "")
    return found.name


def _check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise PhotoError for a size outside the limits."""
    if width * height > max_pixels:
        raise PhotoError("failed", f"too large: {width}x{height}, the limit is {max_pixels:,} pixels (--max-pixels)")
    if min(width, height) < MIN_SIDE:
        raise PhotoError("skipped", f"too small: {width}x{height}, the limit is {MIN_SIDE} pixels a side")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PhotoError("skipped", f"too narrow: {width}x{height}, a side of more than {MAX_ASPECT} times the other")


def _frames(image: ImageFile.ImageFile, name: str) -> int:
    """Return the number of pictures in a file; of pages only whether there are several: Pillow's count is quadratic."""
    if not getattr(image, "is_animated", False):
        return 1
    return 2 if name == TIFF else int(getattr(image, "n_frames", 1))


def _check_frames(name: str, is_mpo: bool, frames: int, first_frame: bool) -> tuple[str, ...]:
    """Raise PhotoError for several pictures in a file, unless the others are extras or were given up; return notes."""
    # The second picture of an MPO (a phone's stereo or depth picture) is an extra. Frames and pages are not: protecting
    # one of them would leave the others unprotected.
    if is_mpo or frames <= 1:
        return ()
    if name in (TIFF, HEIC):
        several = "several pages" if name == TIFF else "several pictures"
        raise PhotoError("skipped", f"{several}: only single pictures can be protected")
    if not first_frame:
        raise PhotoError(
            "skipped", "an animation: only single pictures can be protected (--first-frame takes its first)"
        )
    return (f"only the first of {frames} frames was used",)


@cache
def register_heif() -> bool:
    """Make Pillow read HEIC; return whether pillow-heif is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
