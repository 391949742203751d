"""Look for a picture in any bytes, in every encoding that a photo's metadata may hold one in.

Independent of the package: it parses no EXIF and knows no tags, it tries every byte of a file outside the pixels as the
start of a picture.
"""

import base64
import binascii
import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

Pixels = NDArray[np.uint8]
LEAK = 0.7  # correlation with the original from which on a picture shows it
BEFORE = 160  # bytes of tags that may precede a picture without a beginning of its own
SIDE = 16  # pixels to which pictures are resized before they are compared
MAX_PIXELS = 1 << 22
_MAGIC = (b"\xff\xd8", b"\x89PNG", b"RIFF", b"GIF8", b"II*\0", b"MM\0*", b"BM")
_WORDS = re.compile(rb"[A-Za-z0-9+/=\s]{64,}")
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}\s*){64,}")
# of raw pictures; the widths of thumbnails
_WIDTHS = (16, 24, 32, 48, 64, 80, 96, 120, 128, 160)


def metadata_of(data: bytes) -> bytes:
    """Return everything of a PNG or WebP but its pixels, with compressed parts unpacked as well."""
    kept = []
    if data.startswith(b"\x89PNG"):
        at = 8
        while at + 12 <= len(data):
            length, name = struct.unpack(">I4s", data[at : at + 8])
            if name not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
                kept.append(data[at + 8 : at + 8 + length])
            at += 12 + length
        kept.append(data[at:])
    else:
        at = 12
        while at + 8 <= len(data):
            name, length = struct.unpack("<4sI", data[at : at + 8])
            if name not in (b"VP8 ", b"VP8L", b"ALPH", b"VP8X"):
                kept.append(data[at + 8 : at + 8 + length])
            at += 8 + length + length % 2
    for part in list(kept):
        for start in [match.start() for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", part)]:
            try:
                kept.append(zlib.decompressobj().decompress(part[start:], 1 << 22))
            except zlib.error:
                continue
    return b"\n".join(kept)


def leaked(data: bytes, original: Pixels) -> float:
    """Return the largest correlation with `original` of any picture found in `data`; 0 if there is none.

    Args:
        data: bytes, as of `metadata_of`.
        original: (H,W,3) uint8, turned as in its file.
    """
    wanted = _small(original)
    return max((_correlation(_small(picture), wanted) for picture in _pictures(data)), default=0.0)


def _pictures(data: bytes) -> Iterator[Pixels]:
    yield from _encoded(data)
    yield from _scans(data)
    yield from _raw(data)
    yield from _etc1(data)
    for match in _WORDS.finditer(data):
        words = re.sub(rb"\s", b"", match[0])
        for shift in range(4):
            piece = words[shift:].rstrip(b"=")
            try:
                yield from _encoded(base64.b64decode(piece[: len(piece) // 4 * 4]))
            except binascii.Error:
                continue
    for match in _HEX.finditer(data):
        yield from _encoded(bytes.fromhex(re.sub(rb"\s", b"", match[0]).decode()))


def _encoded(data: bytes) -> Iterator[Pixels]:
    """Yield the pictures that Pillow decodes from any place, also where the first bytes were altered or cut."""
    for magic in _MAGIC:
        for match in re.finditer(re.escape(magic), data):
            yield from _decoded(data[match.start() :])
    for match in re.finditer(rb"\xff+([\xc0-\xc2\xc4\xda\xdb])", data):  # a JPEG from the middle of its header
        yield from _decoded(b"\xff\xd8\xff" + match[1] + data[match.end() :])
    for match in re.finditer(rb"WEBPVP8|IHDR|IDAT", data):
        start = match.start()
        if match[0].startswith(b"WEBP"):
            yield from _decoded(b"RIFF" + struct.pack("<I", len(data) - start) + data[start:])
        else:
            yield from _decoded(b"\x89PNG\r\n\x1a\n" + data[max(0, start - 4) :])


def _scans(data: bytes) -> Iterator[Pixels]:
    """Yield what the coded pixels of a JPEG show that has lost everything before them, with the usual tables."""
    for start in range(min(len(data), BEFORE)):
        for head in _heads():
            yield from _decoded(head + data[start:])


@cache
def _heads() -> tuple[bytes, ...]:
    """Return the bytes up to the coded pixels of JPEG files of common sizes."""
    heads = []
    for size in ((48, 32), (96, 64), (32, 24)):
        for subsampling in (0, 2):
            out = io.BytesIO()
            Image.new("RGB", size).save(out, "JPEG", subsampling=subsampling)
            heads.append(out.getvalue()[: out.getvalue().index(b"\xff\xda") + 14])
    return tuple(heads)


def _decoded(data: bytes) -> list[Pixels]:
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")) as image:
                if image.width * image.height > MAX_PIXELS or min(image.size) < 8:
                    return []
                return [np.asarray(image.convert("RGB"))]
    except Exception:  # noqa: BLE001 - most tries are no pictures, and decoders raise anything for them
        return []
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _raw(data: bytes) -> Iterator[Pixels]:
    """Yield raw pixels of common widths from all over the data."""
    for channels in (1, 3):
        for width in _WIDTHS:
            row = width * channels
            for rows in (width * 9 // 16, width * 2 // 3, width * 3 // 4, width):
                size = rows * row
                for start in range(0, len(data) - size + 1, row // 8 + 1):
                    yield np.frombuffer(data, np.uint8, size, start).reshape(rows, width, channels)


def _etc1(data: bytes) -> Iterator[Pixels]:
    """Yield the base colors of blocks of 4x4 pixels in 8 bytes, as ETC1 textures have them, in common widths."""
    for start in range(min(BEFORE, len(data))):
        blocks = np.frombuffer(data, np.uint8, (len(data) - start) // 8 * 8, start).reshape(-1, 8)
        for width in (8, 12, 16, 20, 24, 30, 32, 40):
            for rows in (width * 2 // 3, width * 3 // 4, width):
                if rows * width <= len(blocks):
                    yield blocks[: rows * width, :3].reshape(rows, width, 3)


def _small(pixels: Pixels) -> NDArray[np.float64]:
    color = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    image = Image.fromarray(color).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float64)


def _correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    left, right = left - left.mean(), right - right.mean()
    scale = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return 0.0 if scale == 0 else abs(float((left * right).sum())) / scale
