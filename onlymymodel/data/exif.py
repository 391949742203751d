"""Read untrusted EXIF blocks, and rebuild them with the entries that a written photo may keep.

An EXIF block is a little TIFF file. The result is a new block that holds the kept entries and nothing else: no gaps, no
bytes behind the end, no directory that nobody knows. Broken blocks are read as far as they make sense, as viewers do.
Every read is bounds-checked and every loop ends, because these bytes come from strangers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from PIL import Image, TiffImagePlugin
from PIL.ExifTags import IFD, Base

from onlymymodel.data.exif_tags import FIRST, INTEGERS, KEPT, SIZES, TEXTS, describes_the_file, is_harmless, name_of

PREFIX = b"Exif\x00\x00"
# directories in directories
_POINTERS: dict[int | None, tuple[int, ...]] = {FIRST: (IFD.Exif, IFD.GPSInfo), IFD.Exif: (IFD.Interop,)}
_ORDER: tuple[int | None, ...] = (FIRST, IFD.Exif, IFD.Interop, IFD.GPSInfo)
_LONG = 4
_SHOWN = 5

# tags of a TIFF file that are read; the others describe its pixels
_TIFF_TAGS = (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298)


class ExifError(ValueError):
    """The block is not well-formed EXIF; the message is the reason, without a full stop."""


@dataclass(frozen=True)
class Exif:
    """A cleaned EXIF block.

    Attributes:
        data: a new block without the "Exif" prefix, with orientation 1; None if nothing was kept.
        orientation: 1 to 8, as before cleaning; 1 if the block had none or an invalid one.
        dropped: names of the entries that were dropped, without those that describe the encoding of the file read.
        damaged: whether a part of the block could not be read.
        has_maker_note: whether a maker note was kept.
    """

    data: bytes | None
    orientation: int
    dropped: tuple[str, ...]
    damaged: bool
    has_maker_note: bool


class _Entry(NamedTuple):
    tag: int
    kind: int
    number: int
    value: bytes | memoryview  # a view of the block, until it is kept: 65,535 entries may claim all of it


@dataclass
class _Block:
    """A block while it is read.

    Attributes:
        data: its bytes, from the TIFF header on.
        order: `struct` prefix.
        dropped: names of dropped entries, each once, in order.
        unknown: number of dropped entries without a name.
        orientation, damaged: see `Exif`.
    """

    data: bytes
    order: str
    dropped: dict[str, None] = field(default_factory=dict)
    unknown: int = 0
    orientation: int = 1
    damaged: bool = False

    def drop(self, directory: int | None, tag: int) -> None:
        """Note that an entry was dropped."""
        name = name_of(directory, tag)
        if name is not None:
            self.dropped[name] = None
        else:
            self.unknown += 1


def clean(raw: bytes, *, location: bool = True, maker_note: bool = False) -> Exif:
    """Return a new block with the entries of `raw` that are harmless, see `exif_tags`, and orientation 1.

    Args:
        raw: the block, with or without its "Exif" prefix.
        location: keep the position (GPS).
        maker_note: keep the maker note as it is, whatever it holds.

    Raises:
        ExifError: the header is broken, or the first directory is not inside the block.
    """
    start = 0
    while raw.startswith(PREFIX, start):  # some writers write it twice
        start += len(PREFIX)
    block = _Block(raw[start:], _byte_order(raw[start:]))
    first = _offset(block, 4)
    if first < 8 or first + 2 > len(block.data):
        raise ExifError("its first directory lies outside the block")
    directories: dict[int | None, dict[int, _Entry]] = {}
    places: dict[int | None, int] = {FIRST: first}
    while waiting := [name for name in places if name not in directories]:
        directories[waiting[0]] = _read_directory(block, waiting[0], places, maker_note)
        if not location:
            places.pop(IFD.GPSInfo, None)
    if _has_second_directory(block, first):
        block.dropped["a thumbnail"] = None
    has_maker_note = Base.MakerNote in directories.get(IFD.Exif, {})
    return Exif(_write(block.order, directories), block.orientation, _names(block), block.damaged, has_maker_note)


def orientation_of(raw: bytes) -> int:
    """Return the orientation in `raw`, 1 to 8; 1 if the block is malformed."""
    try:
        return clean(raw).orientation
    except ExifError:
        return 1


def from_tiff(image: TiffImagePlugin.TiffImageFile) -> bytes | None:
    """Return an EXIF block with the descriptive tags of an open TIFF file, or None if it has none.

    In a TIFF file EXIF is not a block but tags among those that describe the pixels, so it is rebuilt, not copied. The
    orientation is omitted: Pillow turns TIFF pixels upright itself.

    Raises:
        Exception: any exception that Pillow raises for broken tags.
    """
    tags, rebuilt = image.getexif(), Image.Exif()
    for tag in _TIFF_TAGS:
        if tag in tags:
            rebuilt[tag] = tags[tag]
    for tag in (IFD.Exif, IFD.GPSInfo):
        values = tags.get_ifd(tag)
        if values:
            rebuilt[tag] = values
    return rebuilt.tobytes().removeprefix(PREFIX) if len(rebuilt) else None


def _byte_order(data: bytes) -> str:
    """Return the struct prefix of a TIFF header; raise ExifError if there is no header."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        raise ExifError("it has no TIFF header")
    return order


def _read_directory(
    block: _Block, name: int | None, places: dict[int | None, int], maker_note: bool
) -> dict[int, _Entry]:
    """Return the entries of a directory that are kept, by tag; those that are not are noted in the block.

    Args:
        block: the block.
        name: of the directory.
        places: where each directory begins; those that this one points to are added.
        maker_note: see `clean`.
    """
    kept: dict[int, _Entry] = {}
    for entry in _entries(block, places[name]):
        if entry.tag in _POINTERS.get(name, ()):
            places.setdefault(entry.tag, _pointer(entry, block.order))
        elif entry.tag == Base.Orientation and name is FIRST:
            if block.orientation == 1:
                block.orientation = _orientation(entry, block.order)
            kept[entry.tag] = _Entry(entry.tag, 3, 1, struct.pack(block.order + "H", 1))
        elif entry.tag == Base.MakerNote and name == IFD.Exif and maker_note and entry.number:
            kept[entry.tag] = entry._replace(value=bytes(entry.value))
        elif entry.tag not in kept and entry.tag in KEPT[name] and is_harmless(entry.kind, entry.number, entry.value):
            kept[entry.tag] = _trimmed(entry)
        elif not describes_the_file(entry.tag):
            block.drop(name, entry.tag)
    return kept


def _entries(block: _Block, at: int) -> Iterator[_Entry]:
    """Yield the entries of the directory at `at` whose values lie inside the block."""
    data, order = memoryview(block.data), block.order
    if at < 8 or at + 2 > len(data):
        block.damaged = True
        return
    claimed = struct.unpack_from(order + "H", data, at)[0]
    count = min(claimed, (len(data) - at - 2) // 12)
    block.damaged |= count < claimed
    for start in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, start)
        size = number * SIZES.get(kind, 1)
        where = start + 8 if size <= 4 else _offset(block, start + 8)
        if where + size > len(data):  # also prevents that a claimed count of 4 billion is read
            block.damaged = True
            size = 0
        yield _Entry(tag, kind, number if size else 0, data[where : where + size])


def _offset(block: _Block, at: int) -> int:
    return int(struct.unpack_from(block.order + "I", block.data, at)[0])


def _pointer(entry: _Entry, order: str) -> int:
    """Return where the directory is that an entry points to; 0, which is no place, if it does not."""
    if entry.number != 1 or SIZES.get(entry.kind) != 4:
        return 0
    return int(struct.unpack(order + "I", entry.value)[0])


def _trimmed(entry: _Entry) -> _Entry:
    """Return a text with one zero at its end, and any other entry as it is."""
    value = bytes(entry.value)
    if entry.kind not in TEXTS:
        return entry._replace(value=value)
    value = value.rstrip(b"\0") + b"\0"
    return entry._replace(number=len(value), value=value)


def _orientation(entry: _Entry, order: str) -> int:
    """Return the orientation that an entry of any integer type gives, 1 if it is none."""
    if entry.number != 1 or entry.kind not in INTEGERS:
        return 1
    value = int(struct.unpack(order + INTEGERS[entry.kind], entry.value)[0])
    return value if 2 <= value <= 8 else 1


def _has_second_directory(block: _Block, first: int) -> bool:
    """Return whether a directory with entries follows the first one, as that of a thumbnail does."""
    end = first + 2 + 12 * struct.unpack_from(block.order + "H", block.data, first)[0]
    following = _offset(block, end) if end + 4 <= len(block.data) else 0
    return following != 0 and following != first and any(True for _ in _entries(block, following))


def _names(block: _Block) -> tuple[str, ...]:
    """Return the names of the dropped entries, shortened."""
    names = list(block.dropped)
    others = block.unknown + max(0, len(names) - _SHOWN)
    return (*names[:_SHOWN], *([f"{others} other entries" if others > 1 else "another entry"] if others else ()))


def _write(order: str, directories: dict[int | None, dict[int, _Entry]]) -> bytes | None:
    """Return a block with the entries of each directory, or None if there are none."""
    kept = {name: list(entries.values()) for name, entries in directories.items() if entries}
    for parent, children in reversed(_POINTERS.items()):  # a directory whose only entry is a pointer is needed, too
        pointers = [_Entry(child, _LONG, 1, bytes(4)) for child in children if child in kept]
        if pointers:
            kept[parent] = kept.get(parent, []) + pointers
    if not kept:
        return None
    starts, at = dict[int | None, int](), 8
    for name in _ORDER:
        if name in kept:
            starts[name] = at
            at += 6 + 12 * len(kept[name]) + sum(_padded(len(entry.value)) for entry in kept[name])
    block = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "I", 8)
    for name, start in starts.items():
        block += _write_directory(order, sorted(kept[name]), start, starts)
    return block


def _write_directory(order: str, entries: list[_Entry], start: int, starts: dict[int | None, int]) -> bytes:
    """Return a directory that begins at `start`, followed by its values."""
    table, values = struct.pack(order + "H", len(entries)), b""
    after = start + 6 + 12 * len(entries)
    for entry in entries:
        value = struct.pack(order + "I", starts[entry.tag]) if entry.tag in starts else bytes(entry.value)
        if len(value) <= 4:
            place = value.ljust(4, b"\0")
        else:
            place = struct.pack(order + "I", after + len(values))
            values += value.ljust(_padded(len(value)), b"\0")
        table += struct.pack(order + "HHI", entry.tag, entry.kind, entry.number) + place
    return table + bytes(4) + values


def _padded(size: int) -> int:
    """Return the bytes that a value takes behind its directory: none if it fits in its entry, else an even number."""
    return 0 if size <= 4 else size + size % 2
