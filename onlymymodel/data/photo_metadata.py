"""Metadata of an image file: EXIF, read through Pillow and cleaned."""

from __future__ import annotations

import struct
import zlib

from PIL import Image, ImageFile, TiffImagePlugin

from onlymymodel.data import exif as exif_block
from onlymymodel.data.choices import Metadata

# exceptions of Pillow and its codecs for broken files; listed, so that Ctrl-C and exits are not caught
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError,
    EOFError, MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def read_exif(
    image: ImageFile.ImageFile, raw: bytes | None, metadata: Metadata, keep_makernotes: bool
) -> tuple[bytes | None, int, list[str]]:
    """Return the EXIF bytes that a written photo gets, the orientation (1 to 8) of the pixels, and notes.

    The orientation of a TIFF file is always 1, because Pillow has already turned its pixels.

    Args:
        image: the loaded image.
        raw: its EXIF block; ignored for a TIFF file, whose tags are read instead.
        metadata: what to keep.
        keep_makernotes: keep the maker note, unless nothing is kept.
    """
    is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
    try:
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            raw = None if metadata == "none" else exif_block.from_tiff(image)
        if not raw:
            return None, 1, []
        cleaned = exif_block.clean(raw, location=metadata == "keep", maker_note=keep_makernotes)
    except exif_block.ExifError as error:
        return None, 1, [f"malformed EXIF was dropped: {error}"]
    except DECODER_ERRORS:
        return None, 1, ["malformed EXIF was dropped"]
    if metadata == "none":
        return None, cleaned.orientation, []
    return cleaned.data, cleaned.orientation, _notes(cleaned, is_tiff)


def _notes(cleaned: exif_block.Exif, is_tiff: bool) -> list[str]:
    notes = ["EXIF was rebuilt from the tags of the TIFF file"] if is_tiff else []
    if cleaned.damaged:
        notes.append("EXIF is damaged: what could be read of it was kept")
    if cleaned.dropped:
        notes.append(f"dropped from EXIF, since it may hold the unprotected photo: {', '.join(cleaned.dropped)}")
    if cleaned.has_maker_note:
        notes.append("warning: the maker note was kept, and may hold the unprotected photo or the place")
    return notes
