"""JPEG files without their end marker, whose pixels may be complete nevertheless."""

from __future__ import annotations

import io
import random
import re
import struct
from dataclasses import dataclass, field

from PIL import Image

from onlymymodel.data.jpeg_segments import SCAN, jpeg_segments
from onlymymodel.data.photo_metadata import DECODER_ERRORS

_EOI = b"\xff\xd9"
_RESTART_INTERVAL = 0xDD
_FRAMES = (0xC0, 0xC1, 0xC2)  # coded in Huffman codes
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_BLOCK = 8
_CONTINUATIONS = 12
_CONTINUATION_SIZE = 64  # bytes


@dataclass
class _Structure:
    """Facts about the coded pixels of a JPEG, from its segments.

    Attributes:
        size: height and width.
        factors: vertical and horizontal sampling factor of each component.
        missing: lowest bit of each coefficient (component, index) that no scan has coded yet.
        interval: number of coded units between restart markers; 0 for none.
        last: the components of the last scan, and where its coded pixels begin.
    """

    size: tuple[int, int] = (0, 0)
    factors: dict[int, tuple[int, int]] = field(default_factory=dict)
    missing: dict[tuple[int, int], int] = field(default_factory=dict)
    interval: int = 0
    last: tuple[tuple[int, ...], int] = ((), 0)

    def read(self, marker: int, content: bytes, end: int) -> None:
        """Read a segment that ends at `end`.

        Raises:
            struct.error, IndexError: it is too short.
            KeyError: a scan of components or coefficients that the frame does not have.
        """
        if marker in _FRAMES:
            self.size = struct.unpack_from(">HH", content, 1)
            parts = [content[6 + 3 * index : 9 + 3 * index] for index in range(content[5])]
            self.factors = {part[0]: (part[1] & 15, part[1] >> 4) for part in parts}
            self.missing = {(component, index): 1 for component in self.factors for index in range(_BLOCK**2)}
        elif marker == _RESTART_INTERVAL:
            (self.interval,) = struct.unpack_from(">H", content)
        elif marker == SCAN:
            count = content[0]
            components = tuple(content[1 : 1 + 2 * count : 2])
            first, last, bits = struct.unpack_from("BBB", content, 1 + 2 * count)
            if not set(components) <= self.factors.keys() or last >= _BLOCK**2:
                raise KeyError("a scan of what the frame does not have")
            self.missing |= {(component, k): bits & 15 for component in components for k in range(first, last + 1)}
            self.last = components, end

    def restarts(self) -> int:
        """Return the number of restart markers that the last scan has if it is complete."""
        if self.interval == 0:
            return 0
        components, _ = self.last
        most = [max(factors[axis] for factors in self.factors.values()) for axis in (0, 1)]
        # a scan of one component is coded block by block, one of several in units of some blocks of each
        own = self.factors[components[0]] if len(components) == 1 else (1, 1)
        units = 1
        for axis in (0, 1):
            covered = -(-self.size[axis] * own[axis] // most[axis]) if len(components) == 1 else self.size[axis]
            units *= -(-covered // (_BLOCK if len(components) == 1 else _BLOCK * most[axis]))
        return -(-units // self.interval) - 1


def with_end_marker(data: bytes) -> bytes | None:
    """Return a JPEG without end marker with that marker, if no pixel is missing; None for any other JPEG.

    Whatever bits follow, a decoder makes the same picture of a file in which every pixel is there.

    Args:
        data: a JPEG whose size in pixels is within the limits; it may be decoded 13 times.

    Raises:
        PhotoError: it has too many scans, see `jpeg_segments`.
    """
    last = 0
    for marker, _, _ in jpeg_segments(data):  # not a list: a hostile file has millions
        last = marker
    if last != SCAN or not _is_whole(data):
        return None
    cut = data.rstrip(b"\xff")  # perhaps the first byte of the marker
    # several, since some decode to nothing that can be seen; 255 would begin a marker
    bits = random.Random(0)
    continuations = [bytes(bits.choices(range(255), k=_CONTINUATION_SIZE)) for _ in range(_CONTINUATIONS)]
    try:
        picture = _pixels(cut + _EOI)
        complete = all(_pixels(cut + continuation + _EOI) == picture for continuation in continuations)
    except DECODER_ERRORS:
        return None
    return cut + _EOI if complete else None


def _is_whole(data: bytes) -> bool:
    """Return whether there are scans for every bit of every coefficient, and in the last one every restart marker."""
    structure = _Structure()
    try:
        for marker, start, end in jpeg_segments(data):
            structure.read(marker, data[start:end], end)
        if not structure.missing or any(structure.missing.values()):
            return False
        return len(_RESTART.findall(data, structure.last[1])) == structure.restarts()
    except (IndexError, KeyError, ZeroDivisionError, struct.error):
        return False


def _pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return image.tobytes()
