"""Name the parts of JPEG, WebP and TIFF files that a written photo will not have."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import ImageFile

from onlymymodel.data.jpeg_segments import jpeg_segments

_XMP, _CREDENTIALS = "XMP", "content credentials (C2PA)"
_IPTC = "IPTC and Photoshop data"
# segments of a JPEG by marker and first bytes; None: carried over, or about the encoding of the file that was read
_JPEG_SEGMENTS: tuple[tuple[int, bytes, str | None], ...] = (
    (0xE0, b"JFXX\0", "a thumbnail (JFXX)"), (0xE0, b"", None), (0xE1, b"Exif\0", None),
    (0xE1, b"http://ns.adobe.com/", _XMP), (0xE2, b"ICC_PROFILE\0", None),
    (0xE2, b"MPF\0", "an index of further pictures (MPF)"), (0xE2, b"urn:iso:std:iso:ts:21496", "a gain map"),
    (0xEB, b"JP", _CREDENTIALS), (0xED, b"Photoshop 3.0\0", _IPTC), (0xEE, b"Adobe", None),
    (0xFE, b"", "the JPEG comment"),
)  # fmt: skip
_WEBP_CHUNKS = {b"XMP ": _XMP, b"C2PA": _CREDENTIALS}
_WEBP_CARRIED = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF")
_TIFF_TAGS = {
    700: _XMP, 33723: _IPTC, 34377: _IPTC, 330: "further pictures (SubIFDs)", 52545: _CREDENTIALS,
}  # fmt: skip
_TRAILER = "data after the end of the picture"


def dropped_parts(image: ImageFile.ImageFile, data: bytes) -> list[str]:
    """Return the names of the parts that a written photo will not have, each once; for PNG see `png_chunks`.

    Args:
        image: the opened image.
        data: the bytes of its file.
    """
    names: list[str] = []
    if image.format in ("JPEG", "MPO"):
        names += _of_jpeg(data)
        names += ["a second picture (MPO)"] if image.format == "MPO" else []
        # Pillow calls it JPEG, not MPO, where the second picture is a gain map
        names += ["a gain map"] if image.format == "JPEG" and "mpoffset" in image.info else []
    elif image.format == "WEBP":
        names += _of_webp(data)
    elif image.format == "TIFF":
        names += [name for tag, name in _TIFF_TAGS.items() if tag in getattr(image, "tag_v2", {})]
    else:
        names += [_XMP] if image.info.get("xmp") else []
        names += ["the GIF comment"] if image.format == "GIF" and "comment" in image.info else []
        further = any(image.info.get(key) for key in ("depth_images", "aux", "thumbnails"))
        names += ["further pictures (a thumbnail, a depth or gain map)"] if further else []
    return list(dict.fromkeys(names))


def _of_jpeg(data: bytes) -> Iterator[str]:
    for marker, start, end in jpeg_segments(data):
        if marker == 0xD9:
            if end < len(data):
                yield _TRAILER
        elif marker >= 0xE0:
            beginning = data[start : min(end, start + 40)]
            known = [name for other, prefix, name in _JPEG_SEGMENTS if other == marker and beginning.startswith(prefix)]
            name = known[0] if known else f"a JPEG segment (APP{marker - 0xE0})" if marker < 0xF0 else None
            if name is not None:
                yield name


def _of_webp(data: bytes) -> Iterator[str]:
    at, end = 12, min(8 + struct.unpack_from("<I", data, 4)[0], len(data))
    while at + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, at)
        if name not in _WEBP_CARRIED:
            text = name.decode("ascii") if name.isalnum() else name.hex()
            yield _WEBP_CHUNKS.get(name, f"WebP chunk {text}")
        at += 8 + length + length % 2
    if end < len(data):
        yield _TRAILER
