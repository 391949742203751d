"""What a file carries beside its pixels: EXIF, read through Pillow and cleaned, and what gets left behind."""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO

from PIL import Image, ImageFile, TiffImagePlugin

from onlymymodel.data import exif as exif_block

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What Pillow and its codecs raise on broken files. Named one by one, so that Ctrl-C and exits pass through.
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError,
    EOFError, MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip

_USUAL_GAMMA = 1 / 2.2
_IPTC_TAG, _PHOTOSHOP_TAG = 33723, 34377


def png_exif(file: IO[bytes]) -> bytes | None:
    """Return the EXIF bytes of a PNG, which may stand behind the pixels where Pillow does not see them yet.

    Raises EOFError where the last chunk is missing or cut: Pillow is content once the pixels are there.
    """
    end = file.seek(0, io.SEEK_END)
    at, exif = len(PNG_SIGNATURE), None
    while at + 12 <= end:  # length, name, data, checksum; each step moves forward by 12 or more
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        at += 12 + length
        if name == b"eXIf" and at <= end:
            exif = file.read(length)
        if name == b"IEND" and at <= end:
            return exif
    raise EOFError("the file ends before its last chunk")


def read_exif(image: ImageFile.ImageFile) -> tuple[bytes | None, int, list[str]]:
    """Return the cleaned EXIF bytes of a loaded image, the orientation (1 to 8) of its pixels, and notes.

    A TIFF file always has orientation 1 here, because Pillow has turned its pixels already.
    """
    notes = []
    try:
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            raw = exif_block.from_tiff(image)
            if raw is not None:
                notes.append("EXIF was rebuilt from the tags of the TIFF file")
        else:
            raw = image.info.get("exif") or None
        if raw is None:
            return None, 1, notes
        cleaned = exif_block.clean(raw)
    except exif_block.ExifError as error:
        return None, 1, [f"malformed EXIF was dropped: {error}"]
    except DECODER_ERRORS:
        return None, 1, ["malformed EXIF was dropped"]
    if cleaned.blanked:
        notes.append(f"{cleaned.blanked} preview(s) of the unprotected photo inside EXIF were blanked")
    return cleaned.data, cleaned.orientation, notes


def left_behind(image: ImageFile.ImageFile, icc: bytes | None) -> list[str]:
    """Return what else the file has that a result will not have."""
    info, tags = image.info, getattr(image, "tag_v2", {})
    # without a profile, gamma tells what the colors are; readers assume the usual one
    gamma = info.get("gamma", _USUAL_GAMMA)
    found = {
        "XMP": "xmp" in info or "XML:com.adobe.xmp" in info,
        "PNG text": bool(getattr(image, "text", None)),
        "the JPEG comment": "comment" in info,
        "IPTC and Photoshop data": "photoshop" in info or _IPTC_TAG in tags or _PHOTOSHOP_TAG in tags,
        "a second picture (MPO)": image.format == "MPO",
        "a gain map": image.format == "JPEG" and "mpoffset" in info,
        "the PNG gamma": icc is None and "srgb" not in info and abs(gamma - _USUAL_GAMMA) > 0.001,
    }
    return [f"{what} was not carried over" for what, there in found.items() if there]
