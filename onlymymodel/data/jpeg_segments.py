"""Segments of a JPEG, and a limit on its scans."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from onlymymodel.data.opened_image import PhotoError

SCAN = 0xDA
# encoders write about ten; each costs the decoder a pass over all pixels for as few as 31 bytes of the file
MAX_SCANS = 100
# in the coded pixels 0xFF is followed by 0 or by a restart marker; anything else ends them
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_WITHOUT_LENGTH = (0x01, 0xD8, *range(0xD0, 0xD8))


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment of the JPEG at the start of `data`, up to its end marker.

    `start` and `end` are those of the segment's content behind its length; the coded pixels after it are passed over.

    Raises:
        PhotoError: it has more than MAX_SCANS scans, which would take the decoder minutes.
    """
    at, scans = 2, 0
    while match := _MARKER.search(data, at):
        marker, at = match[1][0], match.end()
        if marker == 0xD9:
            yield marker, at, at
            return
        if marker in _WITHOUT_LENGTH:
            continue
        length = struct.unpack_from(">H", data, at)[0] if at + 2 <= len(data) else 0
        if length < 2:
            return
        scans += marker == SCAN
        if scans > MAX_SCANS:
            raise PhotoError("failed", f"more than {MAX_SCANS} scans, which no encoder writes")
        yield marker, at + 2, min(at + length, len(data))
        at += length
