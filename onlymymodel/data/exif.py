"""EXIF blocks read without trusting them: the orientation, and the small pictures hidden inside.

An EXIF block is a little TIFF file. Only what has to change is changed, in place, so that every other byte
(dates, GPS, maker notes and the offsets between them) survives as it was. Every read is bounds-checked and
every walk has a fixed end, because these bytes come from strangers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, TiffImagePlugin

PREFIX = b"Exif\x00\x00"

_ORIENTATION = 0x0112
# (offsets, lengths) of a thumbnail in the second directory: a JPEG stream, or uncompressed strips.
_THUMBNAIL_TAGS = ((0x0201, 0x0202), (0x0111, 0x0117))
_TYPE_FORMATS = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG: orientations and offsets have no other
_JPEG_START = b"\xff\xd8\xff"
# A real thumbnail has about ten segments before its pixels; the limit keeps the search linear.
_JPEG_SEGMENTS = 64

# What is worth carrying from a TIFF file: who, when, with which camera. The others describe its pixels.
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_TIFF_TAGS = (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298)


class ExifError(ValueError):
    """The block is not well-formed EXIF: the reason, without a full stop."""


@dataclass(frozen=True)
class Exif:
    """A cleaned EXIF block.

    data: the bytes without the "Exif" prefix, orientation 1, small pictures blanked; length as before.
    orientation: 1 to 8, what the block said before (1 where it said nothing or nonsense).
    blanked: how many embedded pictures were overwritten with zeros.
    """

    data: bytes
    orientation: int
    blanked: int


@dataclass(frozen=True)
class _Entry:
    tag: int
    kind: int
    count: int
    at: int  # where the 4-byte value field is


@dataclass(frozen=True)
class _Directory:
    entries: tuple[_Entry, ...]
    start: int
    end: int  # behind the pointer to the next directory
    following: int  # offset of the next directory, 0 for none


def clean(raw: bytes) -> Exif:
    """Return `raw` with its orientation set to 1 and its embedded pictures blanked.

    Embedded pictures are the thumbnail of the second directory and every complete JPEG stream elsewhere
    (camera makers hide previews in their notes): they would show the photo as it was before protection.

    Raises ExifError where header or first directory are broken, or where a picture overlaps them.
    """
    start = 0
    while raw.startswith(PREFIX, start):  # some writers put it there twice
        start += len(PREFIX)
    raw = raw[start:]
    order = _byte_order(raw)
    first = _directory(raw, order, struct.unpack_from(order + "I", raw, 4)[0])
    second = _second_directory(raw, order, first)
    data = bytearray(raw)
    orientation = _patch_orientation(data, order, first)
    tables = [(0, 8), (first.start, first.end)] + ([(second.start, second.end)] if second else [])
    pictures = list(_embedded_jpegs(raw))
    if second is not None:
        pictures += _thumbnails(raw, order, second)
    # all zeros: blanked before, nothing to tell
    ranges = [(start, end) for start, end in _merged(pictures) if any(raw[start:end])]
    for start, end in ranges:
        if any(start < table_end and table_start < end for table_start, table_end in tables):
            raise ExifError("an embedded picture overlaps the tables")
        data[start:end] = bytes(end - start)
    return Exif(bytes(data), orientation, len(ranges))


def orientation_of(raw: bytes) -> int:
    """Return the orientation 1 to 8 that `raw` asks for; 1 where the block is malformed."""
    try:
        return clean(raw).orientation
    except ExifError:
        return 1


def from_tiff(image: TiffImagePlugin.TiffImageFile) -> bytes | None:
    """Return an EXIF block with the descriptive tags of an open TIFF file, or None where it has none.

    In a TIFF file EXIF is no block but tags among those that describe the pixels, so it cannot be copied,
    only rebuilt. The orientation is left out: Pillow turns TIFF pixels upright on its own. Raises what
    Pillow raises on broken tags.
    """
    source, rebuilt = image.getexif(), Image.Exif()
    for tag in _TIFF_TAGS:
        if tag in source:
            rebuilt[tag] = source[tag]
    for tag in (_EXIF_IFD, _GPS_IFD):
        values = source.get_ifd(tag)
        if values:
            rebuilt[tag] = values
    return rebuilt.tobytes().removeprefix(PREFIX) if len(rebuilt) else None


def _byte_order(data: bytes) -> str:
    """Return the struct prefix of a TIFF header; raise ExifError where there is none."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        raise ExifError("it has no TIFF header")
    return order


def _directory(data: bytes, order: str, offset: int) -> _Directory:
    """Read the directory at `offset`; raise ExifError where it does not lie inside `data`."""
    if offset < 8 or offset + 2 > len(data):
        raise ExifError("a directory lies outside the block")
    count = struct.unpack_from(order + "H", data, offset)[0]
    end = offset + 2 + 12 * count
    if end > len(data):
        raise ExifError("a directory runs past the end of the block")
    heads = struct.iter_unpack(order + "HHI4x", data[offset + 2 : end])
    entries = tuple(_Entry(tag, kind, size, offset + 10 + 12 * i) for i, (tag, kind, size) in enumerate(heads))
    if end + 4 > len(data):  # some writers leave out the last pointer
        return _Directory(entries, offset, end, 0)
    return _Directory(entries, offset, end + 4, struct.unpack_from(order + "I", data, end)[0])


def _second_directory(data: bytes, order: str, first: _Directory) -> _Directory | None:
    """Return the thumbnail's directory, None where there is none or where no reader could find it."""
    if first.following == 0:
        return None
    try:
        return _directory(data, order, first.following)
    except ExifError:
        return None


def _patch_orientation(data: bytearray, order: str, directory: _Directory) -> int:
    """Set every orientation entry of `directory` to 1 in place; return the first valid value found, or 1."""
    found = 1
    for entry in directory.entries:
        if entry.tag != _ORIENTATION or entry.count != 1 or entry.kind not in _TYPE_FORMATS:
            continue
        value = struct.unpack_from(order + _TYPE_FORMATS[entry.kind], data, entry.at)[0]
        if 2 <= value <= 8:
            found = value if found == 1 else found
            struct.pack_into(order + _TYPE_FORMATS[entry.kind], data, entry.at, 1)
    return found


def _values(data: bytes, order: str, directory: _Directory, tag: int) -> tuple[int, ...]:
    """Return the numbers stored under `tag`, none where the tag is missing or points outside the block."""
    for entry in directory.entries:
        if entry.tag != tag or entry.kind not in _TYPE_FORMATS:
            continue
        size = entry.count * struct.calcsize("=" + _TYPE_FORMATS[entry.kind])
        at = entry.at if size <= 4 else struct.unpack_from(order + "I", data, entry.at)[0]
        if at + size <= len(data):  # also keeps a claimed count of 4 billion from being unpacked
            return struct.unpack_from(f"{order}{entry.count}{_TYPE_FORMATS[entry.kind]}", data, at)
    return ()


def _thumbnails(data: bytes, order: str, directory: _Directory) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the thumbnail bytes that `directory` points at, cut at the end of the block."""
    for offsets_tag, lengths_tag in _THUMBNAIL_TAGS:
        offsets = _values(data, order, directory, offsets_tag)
        lengths = _values(data, order, directory, lengths_tag)
        for start, length in zip(offsets, lengths, strict=False):
            end = min(start + length, len(data))
            if start < end:
                yield start, end


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return `ranges` sorted, with those that overlap joined.

    A thumbnail is found by its pointer and by its bytes; and a million hostile pointers at the same bytes
    must cost one pass over them, not a million.
    """
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _embedded_jpegs(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each JPEG stream in `data`, wherever it is."""
    start = data.find(_JPEG_START)
    while start >= 0:
        end = _jpeg_end(data, start)
        if end is not None:
            yield start, end
        start = data.find(_JPEG_START, start + 3 if end is None else end)


def _jpeg_end(data: bytes, start: int) -> int | None:
    """Return where the JPEG stream at `start` ends, None where no pixels follow its first bytes.

    Walking the segments down to the scan tells a picture from three bytes that look like the start of one.
    """
    at = start + 2
    for _ in range(_JPEG_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return None
        if data[at + 1] == 0xDA:
            end = data.find(b"\xff\xd9", at)
            return len(data) if end < 0 else end + 2
        length = struct.unpack_from(">H", data, at + 2)[0]
        if length < 2:
            return None
        at += 2 + length
    return None
