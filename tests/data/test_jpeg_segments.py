"""JPEG and TIFF files that would take minutes to look at: fill bytes, false and repeated scans, and many pages."""

import io
import random
import re
import struct
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from onlymymodel.data.image_io import PhotoError, decode, probe_bytes
from onlymymodel.data.jpeg_segments import MAX_SCANS, SCAN, jpeg_segments

SECONDS = 10  # each took minutes or hours


def jpeg(*, progressive: bool = False) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", progressive=progressive)
    return file.getvalue()


def with_scans(count: int) -> bytes:
    """Return a progressive JPEG whose first scan stands so often that the file has `count` scans."""
    data = jpeg(progressive=True)
    scans = [start - 4 for marker, start, _ in jpeg_segments(data) if marker == SCAN]
    first = data[scans[0] : data.index(b"\xff\xc4", scans[0])]
    return data[: scans[0]] + first * (count - len(scans)) + data[scans[0] :]


def with_fill_bytes() -> bytes:
    """Return a JPEG with two megabytes of fill bytes behind the pixels that end in no marker."""
    return jpeg()[:-2] + b"\xff" * 2_000_000 + b"\x00" + b"\xff\xd9"


def with_false_scans() -> bytes:
    """Return a JPEG without end marker, and with scans of components that it does not have."""
    content = bytes([255]) + bytes(byte for component in range(255) for byte in (component, 0)) + bytes([0, 255, 0])
    return jpeg()[:-2] + (b"\xff\xda" + struct.pack(">H", len(content) + 2) + content) * 50_000


def with_pages() -> bytes:
    """Return a TIFF of 100,000 pages."""
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, "TIFF")
    data = bytearray(file.getvalue())
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    page = b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in (256, 257, 273, 279))
    size = 2 + len(page) + 4
    start = len(data)
    struct.pack_into("<I", data, first + 2 + 12 * entries, start)
    for number in range(1, 100_001):
        data += struct.pack("<H", 4) + page + struct.pack("<I", start + size * number if number < 100_000 else 0)
    return bytes(data)


@pytest.mark.parametrize("make", [with_fill_bytes, with_false_scans, with_pages])
def test_a_hostile_file_takes_no_longer_than_its_size_allows(make: Callable[[], bytes]) -> None:
    data, started = make(), time.monotonic()
    for read in (probe_bytes, decode):
        with suppress(PhotoError):
            read(data)
    assert time.monotonic() - started < SECONDS


def test_scans_are_limited() -> None:
    assert decode(with_scans(MAX_SCANS)).pixels.shape == (64, 64, 3)
    with pytest.raises(PhotoError, match="more than 100 scans"):
        decode(with_scans(MAX_SCANS + 1))


def test_fill_bytes_before_a_marker_belong_to_no_segment() -> None:
    """A marker is the last of several 0xFF and the byte behind it (ITU-T T.81, B.1.1.2)."""
    draw = random.Random(0)
    for _ in range(2_000):
        data = b"\xff\xd8" + bytes(draw.choice((0xFF, 0xFF, 0x00, 0xD0, 0xE0, 0x01, 0x02)) for _ in range(40))
        found = [(marker, start, end) for marker, start, end in jpeg_segments(data)]
        assert found == list(segments_by_definition(data))


def segments_by_definition(data: bytes) -> list[tuple[int, int, int]]:
    """`jpeg_segments`, with the fill bytes in the pattern."""
    segments, at = [], 2
    while match := re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])").search(data, at):
        marker, at = match[1][0], match.end()
        if marker == 0x01:
            continue
        length = int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") if at + 2 <= len(data) else 0
        if length < 2:
            break
        segments.append((marker, at + 2, min(at + length, len(data))))
        at += length
    return segments
