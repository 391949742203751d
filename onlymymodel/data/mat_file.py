"""MATLAB files (level 5) as far as tables of numbers and words go, read without trusting them.

SciPy's reader (1.17) is compiled code that some broken files crash, and the whole process with it: nothing for files
from strangers. Source of the format: MathWorks, "MAT-File Format", chapter 1 (level 5).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

_MAX_BYTES = 64 * 2**20
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _CHAR = 2, 4
_NUMBERS = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}
_UTF16 = (4, 17)  # what MATLAB writes for text, though the first only says uint16


class MatError(ValueError):
    """The file is no such table: the reason, without a full stop."""


def read_struct_array(path: Path, variable: str, fields: Sequence[str]) -> list[tuple[float | str, ...]]:
    """Return the values of `fields` in each row of the struct array `variable`, in MATLAB's order.

    A value is a single number or a text. Raises MatError where the file is no such table, is cut short or above
    64 MiB (also unpacked), and OSError.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise MatError("it is too large")
    data = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(data[_HEADER - 2 : _HEADER])
    if order is None:
        raise MatError("it has no header of level 5")
    for kind, body in _elements(data[_HEADER:], order):
        if kind == _COMPRESSED:
            kind, body = next(_elements(_unpacked(body), order), (0, b""))
        parts = _elements(body, order)
        if kind == _MATRIX and _matrix_head(parts, order)[2] == variable:
            return _rows(body, order, fields)
    raise MatError(f"it has no variable {variable}")


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield (type, content) of the elements that follow one another in `data`."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise MatError("it is cut short")
        kind, size = struct.unpack_from(order + "II", data, at)
        start = at + 8
        if kind >> 16:  # the short form: up to four bytes beside their size
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            at += 8
        else:
            at = start + size if kind == _COMPRESSED else start + -(-size // 8) * 8
        if start + size > len(data) or (start == at - 4 and size > 4):
            raise MatError("it is cut short")
        yield kind, data[start : start + size]


def _unpacked(data: bytes) -> bytes:
    inflate = zlib.decompressobj()
    try:
        unpacked = inflate.decompress(data, _MAX_BYTES)
    except zlib.error as error:
        raise MatError("its compressed part is broken") from error
    if not inflate.eof:
        raise MatError("its compressed part is cut short or too large")
    return unpacked


def _matrix_head(parts: Iterator[tuple[int, bytes]], order: str) -> tuple[int, tuple[int, ...], str]:
    """Return class, sizes and name of an array; its content follows in `parts`."""
    flags, sizes, name = (next(parts, (0, b""))[1] for _ in range(3))
    if len(flags) != 8 or len(sizes) % 4 or not sizes:
        raise MatError("it has an array without a head")
    kind = struct.unpack_from(order + "I", flags)[0] & 0xFF
    return kind, struct.unpack(f"{order}{len(sizes) // 4}i", sizes), name.decode("latin-1")


def _rows(body: bytes, order: str, fields: Sequence[str]) -> list[tuple[float | str, ...]]:
    parts = _elements(body, order)
    kind, sizes, name = _matrix_head(parts, order)
    if kind != _STRUCT:
        raise MatError(f"{name} is no struct array")
    length, names = (next(parts, (0, b""))[1] for _ in range(2))
    width = struct.unpack(order + "i", length)[0] if len(length) == 4 else 0
    if width < 1 or len(names) % width:
        raise MatError(f"{name} has no field names")
    columns = [names[at : at + width].split(b"\0")[0].decode("latin-1") for at in range(0, len(names), width)]
    if not set(fields) <= set(columns):
        raise MatError(f"{name} has no field {', '.join(sorted(set(fields) - set(columns)))}")
    cells = [content for kind, content in parts if kind == _MATRIX]
    if len(cells) != math.prod(sizes) * len(columns):
        raise MatError(f"{name} has not as many values as it says")
    places = [columns.index(field) for field in fields]
    starts = range(0, len(cells), len(columns))
    return [tuple(_value(cells[start + place], order) for place in places) for start in starts]


def _value(body: bytes, order: str) -> float | str:
    """Return the one number or the text in an array."""
    parts = _elements(body, order)
    kind, _, _ = _matrix_head(parts, order)
    storage, content = next(parts, (0, b""))
    if kind == _CHAR:
        codec = ("utf-16-le" if order == "<" else "utf-16-be") if storage in _UTF16 else "utf-8"
        return content.decode(codec, errors="replace")
    if storage not in _NUMBERS or len(content) != struct.calcsize("=" + _NUMBERS[storage]):
        raise MatError("it has no single number where one is wanted")
    return float(struct.unpack(order + _NUMBERS[storage], content)[0])
