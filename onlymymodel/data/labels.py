"""The labels that a person gives for a folder of photos: a CSV table of file and label."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from onlymymodel.errors import UserError

_SHOWN = 10
_INTEGER = re.compile(r"[+-]?[0-9]+")


def read_labels(
    csv_path: Path, *, known: Collection[str], classes: Sequence[str] | None, n_classes: int | None
) -> dict[str, int]:
    """Return the class index of each file listed in `csv_path`.

    csv_path: UTF-8, comma-separated, with a header that has the columns `file` and `label`; others ignored.
    known: relative POSIX paths of the photos in the folder; they are also the keys of the answer.
    classes: the model's class names in index order, where it has them; n_classes: how many classes it has.
    With neither, any index from 0 up is taken.

    A label is an index or a class name, written exactly as the model has it. Photos without a row are no
    error.

    Raises UserError that lists every problem of the whole table at once; ValueError where classes and
    n_classes contradict each other.
    """
    if classes is not None and n_classes is not None and len(classes) != n_classes:
        raise ValueError(f"{len(classes)} class names for {n_classes} classes")
    meanings = _Meanings(classes, n_classes)
    # macOS stores names decomposed, spreadsheets write them composed: both mean the same file
    names = {unicodedata.normalize("NFC", name): name for name in known}
    labels: dict[str, int] = {}
    problems: defaultdict[str, list[str]] = defaultdict(list)
    for line, file, label in _rows(csv_path):
        name = names.get(unicodedata.normalize("NFC", PurePosixPath(file).as_posix()))
        if name is None:
            problems["not in the folder"].append(f"{file!r} (line {line})")
        index = meanings.index(label)
        if isinstance(index, str):
            problems[index].append(f"{label!r} (line {line})")
        elif name is not None and labels.setdefault(name, index) != index:
            problems["more than one label for a file"].append(f"{file!r} (line {line})")
    if problems:
        listed = "; ".join(_listed(kind, items) for kind, items in problems.items())
        raise UserError(f"{csv_path} cannot be used: {listed}.")
    return labels


class _Meanings:
    """What a label cell can mean: an index below the number of classes, or the name of one class."""

    def __init__(self, classes: Sequence[str] | None, n_classes: int | None) -> None:
        self.count = len(classes) if classes is not None else n_classes
        self.indices: defaultdict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(classes or ()):
            self.indices[name.strip()].append(index)

    def index(self, label: str) -> int | str:
        """Return the class index that `label` means, or the kind of problem that it has."""
        meant = set(self.indices.get(label, ()))
        if _INTEGER.fullmatch(label) and len(label) < 20:  # longer is out of range, and slow to parse
            number = int(label)
            if number >= 0 and (self.count is None or number < self.count):
                meant.add(number)
            elif not meant:
                return self._out_of_range()
        if len(meant) > 1:  # ImageNet has two classes "crane"; a class may also be named "3"
            return "more than one class has this name or index"
        if meant:
            return meant.pop()
        if _INTEGER.fullmatch(label):
            return self._out_of_range()
        return "unknown classes" if self.indices else "not an index (this model has no class names)"

    def _out_of_range(self) -> str:
        return "negative or huge indices" if self.count is None else f"indices outside 0 to {self.count - 1}"


def _rows(csv_path: Path) -> list[tuple[int, str, str]]:
    """Return (line number, file, label) of each row. Raises UserError where it is no such table."""
    try:
        with csv_path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = [column.strip() for column in reader.fieldnames or ()]
            missing = [column for column in ("file", "label") if column not in columns]
            if missing:
                found = ", ".join(map(repr, columns)) or "nothing"
                wanted = " and no column ".join(missing)
                raise UserError(f"{csv_path} has no column {wanted}; its first line has {found}.")
            reader.fieldnames = columns
            return [(reader.line_num, (row["file"] or "").strip(), (row["label"] or "").strip()) for row in reader]
    except OSError as error:
        raise UserError(f"{csv_path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{csv_path} is not UTF-8 text; save it as CSV UTF-8.") from error
    except csv.Error as error:
        raise UserError(f"{csv_path} is not a CSV table: {error}.") from error


def _listed(kind: str, items: list[str]) -> str:
    """Return one kind of problem with its count and its first items."""
    more = ", ..." if len(items) > _SHOWN else ""
    return f"{kind} ({len(items)}): {', '.join(items[:_SHOWN])}{more}"
