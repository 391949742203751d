"""CelebA's attributes: `list_attr_celeba.txt` of its authors, or the CSV of the same table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from onlymymodel.data.attributes import MAX_ATTRIBUTES, encode
from onlymymodel.data.labelled import Dataset, Item, quoted, refuse_split
from onlymymodel.data.tables import Problems, add_once, inner_path, read_table, read_words
from onlymymodel.errors import UserError

_TABLES = ("list_attr_celeba.txt", "Anno/list_attr_celeba.txt", "list_attr_celeba.csv")
_VALUES = {"1": True, "-1": False, "0": False}


def load_celeba(path: Path, split: str | None) -> Dataset:
    """Load the attributes of CelebA (Liu et al., ICCV 2015), or of another set that is written in the same way.

    The text has the number of pictures in its first line (which is not needed), the names of the attributes in the
    next, and then a line for each picture: its file and -1 or 1 for each attribute. The CSV has the names in its first
    line, after that of the column of files; its values are -1 or 1, or 0 or 1.

    Args:
        path: the table, or a folder that has it as `list_attr_celeba.txt`, there or in `Anno`, or as
            `list_attr_celeba.csv`.
        split: None, since the table has no splits.

    Raises:
        UserError: the table is missing or wrong; the message names line and column.
    """
    refuse_split("celeba", split)
    table = path if path.is_file() else next((path / name for name in _TABLES if (path / name).is_file()), None)
    if table is None:
        raise UserError(f"{path} has no table of attributes: none of {', '.join(_TABLES)}.")
    lines = read_table(table) if table.suffix.lower() == ".csv" else _text(table)
    number, header = next(lines, (1, []))
    names = header[1:]
    if not names:
        raise UserError(f"{table}, line {number} has no names of attributes.")
    if len(set(names)) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise UserError(f"{table}, line {number} names {quoted(twice)} more than once.")
    if len(names) > MAX_ATTRIBUTES:
        raise UserError(f"{table} has {len(names)} attributes; the limit is {MAX_ATTRIBUTES}.")
    codes, left_out = _codes(table, lines, names)
    items = tuple(Item(PurePosixPath(file), code) for file, code in codes.items())
    return Dataset("celeba", path, (), items, left_out, attributes=tuple(names))


def _text(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, words) from the line of names on, which gets an empty word for the column of files."""
    lines = read_words(table, 1)
    number, words = next(lines, (1, []))
    if len(words) == 1 and words[0].isdecimal():
        number, words = next(lines, (2, []))
    yield number, ["", *words]
    yield from lines


def _codes(
    table: Path, lines: Iterator[tuple[int, list[str]]], names: list[str]
) -> tuple[dict[str, int], Counter[str]]:
    """Return the code of the attributes of each file, and the number of omitted lines by reason."""
    codes: dict[str, int] = {}
    left_out, problems = Counter[str](), Problems(table)
    for number, (file, *values) in lines:
        path = inner_path(file.replace("\\", "/"))
        if path is None:
            problems.add("unsafe file name", file, number)
            continue
        if len(values) != len(names):
            raise UserError(f"{table}, line {number} has {len(values)} values for {len(names)} attributes.")
        wrong = next((index for index, value in enumerate(values) if value not in _VALUES), None)
        if wrong is not None:
            problems.add(f"neither -1, 0 nor 1 in column {names[wrong]}", values[wrong], number)
            continue
        code = encode([_VALUES[value] for value in values])
        if not add_once(codes, path.as_posix(), code, left_out):
            problems.add("other attributes than before for a file", file, number)
    problems.raise_if_any()
    if not codes:
        raise UserError(f"{table} lists no picture.")
    return codes, left_out
