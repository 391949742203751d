"""Readers for the text tables of datasets; the tables are not trusted."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TextIO, TypeVar

from onlymymodel.data.labelled import quoted
from onlymymodel.errors import UserError

MAX_BYTES = 64 * 2**20
_SHOWN = 10
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class Problems:
    """Problems of a table, collected so that one error reports all of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.by_kind: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, text: str, line: int) -> None:
        """Record a problem of some `kind` with `text` in `line`."""
        self.by_kind[kind].append(f"{text[:80]!r} (line {line})")

    def raise_if_any(self) -> None:
        """Raise UserError with every recorded problem, if there is any."""
        if self.by_kind:
            listed = "; ".join(f"{kind} ({len(items)}): {_first(items)}" for kind, items in self.by_kind.items())
            raise UserError(f"{self.path} cannot be used: {listed}.")


def add_once(found: dict[KeyT, ValueT], key: KeyT, value: ValueT, left_out: Counter[str]) -> bool:
    """Add the value of a key, which later rows may repeat; return False, and change nothing, if it had another one.

    Args:
        found: values by key so far.
        key: of the row, such as the path of a picture.
        value: of the row, such as its label.
        left_out: number of omitted rows by reason, to which repeated ones are added.
    """
    if key not in found:
        found[key] = value
        return True
    if found[key] != value:
        return False
    left_out["listed twice"] += 1
    return True


def read_csv(
    path: Path, columns: Sequence[str], *, headless: Sequence[str] = (), max_bytes: int = MAX_BYTES
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, the stripped cells of `columns`) for each row of a UTF-8 CSV with a header.

    Columns are separated by commas or, as some spreadsheet programs write them, by semicolons or tabs. Rows whose cells
    are empty are passed over.

    Args:
        path: the table.
        columns: names of the columns to read.
        headless: all columns of a table that may lack a header; it lacks one if its first line names none of them.
        max_bytes: size of the largest table that is read.

    Raises:
        UserError: the table cannot be read, is too large or empty, is not CSV, or lacks a column or has it twice.
    """
    with _csv_stream(path, max_bytes) as stream:
        rows = csv.reader(stream, delimiter=_delimiter(stream.readline(), columns))
        stream.seek(0)
        first = next(rows, [])
        header = [cell.strip() for cell in first]
        data: Iterator[list[str]] = rows
        if headless and not set(header) & set(headless):
            header, data = list(headless), chain([first], rows)
        indices = _column_indices(path, header, columns)
        for row in data:
            if not any(row):
                continue
            if len(row) <= max(indices):
                raise UserError(f"{path} is truncated: line {rows.line_num} has too few columns.")
            cells = [row[index].strip() for index in indices]
            if any(cells):
                yield rows.line_num, cells


@contextmanager
def _csv_stream(path: Path, max_bytes: int) -> Iterator[TextIO]:
    """Open a CSV; what goes wrong while it is read becomes a UserError."""
    _check_size(path, max_bytes)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield stream
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; save it as CSV UTF-8.") from error
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV table: {error}.") from error


def read_table(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, all stripped cells) for each row of a UTF-8 CSV, the header first; empty rows are skipped.

    Raises:
        UserError: the table cannot be read, is too large or empty, or is not CSV.
    """
    with _csv_stream(path, MAX_BYTES) as stream:
        rows = csv.reader(stream)
        for row in rows:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield rows.line_num, cells


def read_words(path: Path, least: int) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, words) of each line of a table with blanks between its columns; empty lines are skipped.

    Args:
        path: the table.
        least: least number of words in each line.

    Raises:
        UserError: as `read_csv`.
    """
    _check_size(path, MAX_BYTES)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text.") from error
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if words:
            if len(words) < least:
                raise UserError(f"{path} is truncated: line {number} has {len(words)} of {least} columns.")
            yield number, words


def inner_path(text: str) -> PurePosixPath | None:
    """Return `text` as a relative path, or None if it is empty, absolute or leads out of its folder."""
    path, windows = PurePosixPath(text), PureWindowsPath(text)  # which knows /, \\ and drives
    unsafe = windows.anchor or ".." in windows.parts or any(ord(character) < 32 for character in text)
    return None if unsafe or not path.parts else path


def integer(text: str, low: int, high: int) -> int | None:
    """Return the whole number in `text`, or None if it is not one in [low, high]."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if low <= number <= high else None


def _first(items: Sequence[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else "")


def _check_size(path: Path, max_bytes: int) -> None:
    if not path.is_file():
        raise UserError(f"{path} is missing.")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path} is empty.")
    if size > max_bytes:
        raise UserError(f"{path} is larger than {max_bytes // 2**20} MiB; it is not the table of this dataset.")


def _delimiter(header: str, columns: Sequence[str]) -> str:
    """Return the character that separates the columns of a table with such a first line."""
    for delimiter in (",", ";", "\t"):
        cells = [cell.strip() for cell in next(csv.reader([header], delimiter=delimiter), [])]
        if set(columns) <= set(cells):
            return delimiter
    return ","


def _column_indices(path: Path, header: Sequence[str], columns: Sequence[str]) -> list[int]:
    missing = [column for column in columns if column not in header]
    if missing:
        raise UserError(f"{path} has no column {' and no column '.join(missing)}; its first line has {quoted(header)}.")
    twice = [column for column in columns if header.count(column) > 1]
    if twice:
        raise UserError(f"{path} has more than one column {' and '.join(twice)}; its first line has {quoted(header)}.")
    return [header.index(column) for column in columns]
