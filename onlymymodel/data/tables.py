"""Text tables that come with datasets, read without trusting them."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath

from onlymymodel.data.labelled import shown
from onlymymodel.errors import UserError

MAX_BYTES = 64 * 2**20
_SHOWN = 10
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


class Problems:
    """What is wrong with a table: collected, so that one error tells everything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, text: str, line: int) -> None:
        """Note that `text` in `line` has a problem of some `kind`."""
        self.found[kind].append(f"{text[:80]!r} (line {line})")

    def settle(self) -> None:
        """Raise UserError with all that was noted, if anything was."""
        if self.found:
            listed = "; ".join(f"{kind} ({len(items)}): {_first(items)}" for kind, items in self.found.items())
            raise UserError(f"{self.path} cannot be used: {listed}.")


def read_csv(
    path: Path, columns: Sequence[str], *, headless: Sequence[str] = (), max_bytes: int = MAX_BYTES
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, the stripped cells of `columns`) for each row of a UTF-8 CSV with a header.

    headless: the columns of a table without header, told by a first line that has none of them.

    Raises UserError where it cannot be read, is too large or empty, is no CSV, or lacks a column.
    """
    _check_size(path, max_bytes)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream)
            first = next(rows, [])
            header = [cell.strip() for cell in first]
            data: Iterator[list[str]] = rows
            if headless and not set(header) & set(headless):
                header, data = list(headless), chain([first], rows)
            places = _places(path, header, columns)
            for row in data:
                if any(row):
                    if len(row) <= max(places):
                        raise UserError(f"{path} is cut short: line {rows.line_num} has too few columns.")
                    yield rows.line_num, [row[place].strip() for place in places]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text.") from error
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV table: {error}.") from error


def read_words(path: Path, least: int) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, words) of each line of a table with blanks between its columns; empty lines are none.

    least: how many words each line must have. Raises UserError as `read_csv` does.
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
                raise UserError(f"{path} is cut short: line {number} has {len(words)} of {least} columns.")
            yield number, words


def inner_path(text: str) -> PurePosixPath | None:
    """Return `text` as a path below some folder, None where it is empty, absolute or leads out of it."""
    path, windows = PurePosixPath(text), PureWindowsPath(text)  # which knows /, \\ and drives
    unsafe = windows.anchor or ".." in windows.parts or any(ord(character) < 32 for character in text)
    return None if unsafe or not path.parts else path


def integer(text: str, low: int, high: int) -> int | None:
    """Return the whole number that `text` is, None where it is none in [low, high]."""
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
        raise UserError(f"{path} is larger than {max_bytes // 2**20} MiB; it is not the table of this set.")


def _places(path: Path, header: Sequence[str], columns: Sequence[str]) -> list[int]:
    missing = [column for column in columns if column not in header]
    if missing:
        raise UserError(f"{path} has no column {' and no column '.join(missing)}; its first line has {shown(header)}.")
    return [header.index(column) for column in columns]
