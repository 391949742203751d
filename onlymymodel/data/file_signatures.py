"""File formats by the first bytes of a file, and by its suffix where the bytes are of no known format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from onlymymodel.data.png_chunks import PNG_SIGNATURE

HEAD = 64  # bytes to read: enough for every signature below, for the brands of HEIC and for a PNG's bit depth
HEIC, AVIF, TIFF = "HEIC", "AVIF", "TIFF"
READABLE = frozenset({"PNG", "JPEG", "WebP", "BMP", TIFF, "GIF", AVIF, HEIC})
# lower-case suffixes of the formats that are read
SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif",
})  # fmt: skip
# of camera RAW files, most of which begin as TIFF files do
_RAW_SUFFIXES = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw",
    ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
})  # fmt: skip
# other pictures; some of their formats cannot be told by the first bytes
_OTHER_SUFFIXES = frozenset({
    ".exr", ".hdr", ".heics", ".hif", ".ico", ".j2c", ".j2k", ".jp2", ".jpf", ".jps", ".jpx", ".jxl", ".jxr", ".mpo",
    ".pbm", ".pcx", ".pgm", ".pnm", ".ppm", ".psb", ".psd", ".qoi", ".tga", ".wdp", ".xcf",
})  # fmt: skip


class Signature(NamedTuple):
    """Bytes at an offset, and the format of files that have them; is_picture is False for formats of other things."""

    offset: int
    start: bytes
    name: str
    is_picture: bool = True


_RAW = "camera RAW"
_SIGNATURES = (
    Signature(0, PNG_SIGNATURE, "PNG"),
    Signature(0, b"\xff\xd8\xff", "JPEG"),
    Signature(8, b"WEBP", "WebP"),
    Signature(0, b"GIF8", "GIF"),
    Signature(8, b"CR\x02\x00", _RAW),
    Signature(0, b"IIU\x00", _RAW),
    Signature(0, b"IIRO", _RAW),
    Signature(0, b"IIRS", _RAW),
    Signature(0, b"MMOR", _RAW),
    Signature(0, b"FUJIFILMCCD-RAW", _RAW),
    Signature(0, b"FOVb", _RAW),
    Signature(0, b"\x00MRM", _RAW),
    Signature(6, b"HEAPCCDR", _RAW),
    Signature(0, b"II*\x00", TIFF),
    Signature(0, b"MM\x00*", TIFF),
    Signature(0, b"II+\x00", TIFF),
    Signature(0, b"MM\x00+", TIFF),
    Signature(4, b"ftypcrx ", _RAW),
    Signature(0, b"\xff\x0a", "JPEG XL"),
    Signature(4, b"JXL \r\n", "JPEG XL"),
    Signature(4, b"jP  \r\n", "JPEG 2000"),
    Signature(0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    Signature(0, b"II\xbc\x01", "JPEG XR"),
    Signature(0, b"8BPS", "Photoshop"),
    Signature(0, b"gimp xcf", "GIMP"),
    Signature(0, b"\x76\x2f\x31\x01", "OpenEXR"),
    Signature(0, b"#?RADIANCE", "Radiance"),
    Signature(0, b"qoif", "QOI"),
    Signature(0, b"%PDF", "PDF", is_picture=False),
    Signature(4, b"ftyp", "video", is_picture=False),
)
# brands of the ISO base media format, ISO/IEC 23008-12 and the AVIF specification; in order of precedence
_BRANDS = (
    (AVIF, (b"avif", b"avis")),
    (HEIC, (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")),
)


class FileFormat(NamedTuple):
    """A file's format, and whether such files are pictures."""

    name: str
    is_picture: bool


def format_of(head: bytes) -> FileFormat | None:
    """Return the format that the first HEAD bytes of a file show, or None."""
    brand = _brand(head)
    if brand is not None:
        return FileFormat(brand, True)
    found = next((row for row in _SIGNATURES if head.startswith(row.start, row.offset)), None)
    if found is not None:
        return FileFormat(found.name, found.is_picture)
    # two letters are too few: the header's size follows them at byte 14
    if head.startswith(b"BM") and head[15:18] == b"\0\0\0" and 12 <= head[14] <= 124:
        return FileFormat("BMP", True)
    return None


def is_named_like_a_picture(suffix: str) -> bool:
    """Return whether a suffix, in any case, is that of a picture, whether its format is read or not."""
    return suffix.lower() in SUFFIXES | _OTHER_SUFFIXES | _RAW_SUFFIXES


def is_named_like_raw(suffix: str) -> bool:
    """Return whether a suffix, in any case, is that of camera RAW."""
    return suffix.lower() in _RAW_SUFFIXES


def _brand(head: bytes) -> str | None:
    """Return the picture format that the brands of an ISO base media file name; None if it is a video or no such file.

    The first brand alone does not tell: a file of brand mif1 may be AVIF or HEIC.
    """
    if head[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands: Sequence[bytes] = [head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))]
    if brands[0] in (b"isom", b"mp41", b"mp42", b"qt  ", b"crx "):
        return None
    return next((name for name, known in _BRANDS if any(brand in known for brand in brands)), None)
