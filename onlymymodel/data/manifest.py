"""A file of JSON lines, appended so that a kill at any moment loses at most the last line."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec

from onlymymodel.data.atomic import sync_folder, write_atomic
from onlymymodel.data.regular_file import NO_LINK, Readable, open_regular
from onlymymodel.errors import UserError

Line = dict[str, Any]

# O_BINARY exists on Windows only, where it keeps newlines as they are
_OURS = NO_LINK | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _OURS
_BLOCK = 1 << 16  # bytes from the end that are read at once
MAX_LINE = 16 << 20  # bytes; a photo's record of 20 faces has a hundred thousand


class BrokenLine(UserError):
    """A line of a manifest that is no record.

    Attributes:
        number: of the line, from 1.
        fault: what is wrong with it, as the end of a sentence about the line.
    """

    def __init__(self, path: Path, number: int, fault: str) -> None:
        super().__init__(f"{path}, line {number} {fault}; delete that line.")
        self.number, self.fault = number, fault


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 lowercase hex digits."""
    return hashlib.sha256(data).hexdigest()


def lines_of(path: Readable) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the bytes of each line of a file, the newline included.

    Raises:
        OSError: it cannot be read, is a link, or has a line of more than `MAX_LINE` bytes.
    """
    with open_regular(path, follow_links=False) as file:
        offset = 0
        while line := file.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                name = str(path) if isinstance(path, Path) else path.name
                raise OSError(errno.EFBIG, f"a line of more than {MAX_LINE:,} bytes", name)
            yield offset, line
            offset += len(line)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a regular file's bytes as 64 lowercase hex digits. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_bytes(value: object, indent: int | None = None) -> bytes:
    """Return JSON in UTF-8 with a newline at its end. Keys keep their order.

    Names whose bytes are not UTF-8, which Python reads with lone surrogates in them, get JSON escapes of these
    (`\\udcff`) and are read back as they were.

    Args:
        value: the value.
        indent: of nested values; all on one line if None.

    Raises:
        ValueError, TypeError: it has values outside JSON (NaN, infinity, bytes).
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    # what UTF-8 cannot encode is within a string, where this handler writes an escape of JSON
    return text.encode("utf-8", "backslashreplace") + b"\n"


class LinesAt:
    """Lines of a file by their offsets; the file stays open, as opening it takes longer than reading a line.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BufferedReader | None = None

    def line(self, offset: int) -> bytes:
        """Return the bytes of the line at an offset, the newline included. Raises OSError."""
        if self._file is None:
            self._file = open_regular(self._path, follow_links=False)
        self._file.seek(offset)
        return self._file.readline()

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        self.close()


class Manifest:
    """JSON lines in a file that one process at a time writes; the first append creates it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._repaired = False
        self._at = LinesAt(path)

    def append(self, record: Line) -> None:
        """Append a record as one line (see `json_bytes`) and sync it to the disk.

        Raises:
            ValueError, TypeError: see `json_bytes`.
            OSError: the disk does not take the whole line; the file is then unchanged.
        """
        line = json_bytes(record)
        if not self._repaired:
            self.repair()
            self._repaired = True
        new = not self.path.exists()
        descriptor = os.open(self.path, _APPEND, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            # one call, so that no other line can come between and a kill leaves a prefix of this one
            if os.write(descriptor, line) != len(line):
                os.ftruncate(descriptor, size)  # the next append must not continue a torn line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            sync_folder(self.path.parent)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the offset and the bytes of each line, the newline included; none if there is no file.

        Memory does not grow with the file. Raises OSError, for a link too.
        """
        with suppress(FileNotFoundError):
            yield from lines_of(self.path)

    def line_at(self, offset: int) -> bytes:
        """Return the bytes of the line at an offset, see `LinesAt`. Raises OSError."""
        return self._at.line(offset)

    def close(self) -> None:
        """Close the file that `line_at` reads from."""
        self._at.close()

    def load(self) -> list[Line]:
        """Return all records in file order, none if there is no file; a torn last line is omitted.

        Raises:
            UserError: another line is not a JSON object; the message has its number.
            OSError: the file cannot be read.
        """
        records = (self.parse(number, line) for number, (_, line) in enumerate(self.lines(), start=1))
        return [record for record in records if record is not None]

    def parse(self, number: int, line: bytes) -> Line | None:
        """Return the record in a line; None if it is the last one, and torn.

        Raises:
            UserError: the line is complete, but not a JSON object; the message has its number.
        """
        record = parse_line(line)
        if record is None and line.endswith(b"\n"):
            raise BrokenLine(self.path, number, "is not a JSON object")
        return record

    def drop_superseded(self, key: str) -> None:
        """Keep of all records with one value of `key` the last, at the place of the first; write the file anew.

        Records without the key are kept. A file without such duplicates is not touched.

        Raises:
            UserError, OSError: see `load` and `append`; the file is then unchanged.
        """
        last: dict[object, int] = {}  # offset of the last line of each value, in the order of the first
        count = 0
        for number, (offset, line) in enumerate(self.lines(), start=1):
            record = self.parse(number, line)
            if record is not None:
                count += 1
                last[record[key] if key in record else _NoKey(offset)] = offset
        if len(last) < count:
            write_atomic(self.path, self._lines_at(last.values()))
            self._repaired = True

    def _lines_at(self, offsets: Iterable[int]) -> Iterator[bytes]:
        """Yield lines, each with a newline, then close the file, so that it can be replaced. Raises OSError."""
        for offset in offsets:
            yield self.line_at(offset).removesuffix(b"\n") + b"\n"
        self.close()

    def repair(self) -> int:
        """Remove a torn last line from the file and return the number of removed bytes. Raises OSError.

        A last line that lacks only its newline is complete; the newline is added.
        """
        size, tail = self._tail()
        if not tail:
            return 0
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | _OURS)
        try:
            if complete := parse_line(tail) is not None:
                os.write(descriptor, b"\n")
            else:
                os.ftruncate(descriptor, size - len(tail))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return 0 if complete else len(tail)

    def _tail(self) -> tuple[int, bytes]:
        """Return the size of the file, and what is behind its last newline. Raises OSError, for a link too."""
        try:
            file = open_regular(self.path, follow_links=False)
        except FileNotFoundError:
            return 0, b""
        with file:
            size = start = file.seek(0, os.SEEK_END)
            tail = b""
            while start and b"\n" not in tail:
                length = min(start, _BLOCK)
                start = file.seek(start - length)
                tail = file.read(length) + tail
            return size, tail[tail.rfind(b"\n") + 1 :]


class _NoKey(NamedTuple):
    """Stands for the key of a record that has none, which is that of no other record."""

    offset: int


def parse_line(line: bytes) -> Line | None:
    """Return the JSON object in `line`, or None if it is something else."""
    try:
        value = msgspec.json.decode(line)  # three times as fast as what follows
    except (msgspec.DecodeError, ValueError, RecursionError):  # or it has the escape of a byte that is not UTF-8
        try:
            value = json.loads(line.decode(), parse_constant=_reject)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _reject(constant: str) -> NoReturn:
    """Refuse NaN and Infinity, which are not JSON and which `append` never writes."""
    raise ValueError(constant)
