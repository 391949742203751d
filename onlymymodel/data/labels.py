"""Read the labels of a folder of photos from a CSV table with the columns file and label."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from onlymymodel.data.regular_file import is_file
from onlymymodel.data.tables import read_csv
from onlymymodel.errors import UserError

_SHOWN = 10
_INTEGER = re.compile(r"[+-]?[0-9]+")


def read_labels(
    csv_path: Path,
    *,
    photos: Collection[str],
    classes: Sequence[str] | None,
    n_classes: int | None,
    folder: Path | None = None,
) -> dict[str, int]:
    """Return the class index of each file listed in `csv_path`.

    A label is an index or a class name, written exactly as the model has it. Photos may lack a row.

    Args:
        csv_path: UTF-8, with a header that has the columns `file` and `label`; see `read_csv`.
        photos: relative POSIX paths of the photos in the folder; the keys of the result.
        classes: the model's class names in index order; None if it has none.
        n_classes: number of the model's classes. Without it and `classes` any index from 0 is accepted.
        folder: of the photos; rows of other files that it has, which are not asked for, are passed over.

    Raises:
        UserError: the table is wrong; the message lists every problem of the whole table.
        ValueError: `classes` and `n_classes` contradict each other.
    """
    if classes is not None and n_classes is not None and len(classes) != n_classes:
        raise ValueError(f"{len(classes)} class names for {n_classes} classes")
    class_index = ClassIndex(classes, n_classes)
    names = {unicodedata.normalize("NFC", name): name for name in photos}
    labels: dict[str, int] = {}
    problems: defaultdict[str, list[str]] = defaultdict(list)
    for line, (file, label) in read_csv(csv_path, ("file", "label")):
        name = next((names[form] for form in _forms(file) if form in names), None)
        if name is None and not _is_in(folder, file):
            problems["not in the folder"].append(f"{file!r} (line {line})")
        index = class_index.of(label)
        if isinstance(index, str):
            problems[index].append(f"{label!r} (line {line})")
        elif name is not None and labels.setdefault(name, index) != index:
            problems["more than one label for a file"].append(f"{file!r} (line {line})")
    if problems:
        listed = "; ".join(_listed(kind, items) for kind, items in problems.items())
        raise UserError(f"{csv_path} cannot be used: {listed}.")
    return labels


def check_files(csv_path: Path, photos: Collection[str], folder: Path | None = None) -> None:
    """Check what can be checked without the model's classes: that the table is one, and its files are in the folder.

    Args:
        csv_path: as for `read_labels`.
        photos: relative POSIX paths of the photos in the folder.
        folder: see `read_labels`.

    Raises:
        UserError: the table cannot be read, or names files that are not in the folder.
    """
    names = {unicodedata.normalize("NFC", name) for name in photos}
    unknown = [
        f"{file!r} (line {line})"
        for line, (file, _) in read_csv(csv_path, ("file", "label"))
        if not any(form in names for form in _forms(file)) and not _is_in(folder, file)
    ]
    if unknown:
        raise UserError(f"{csv_path} cannot be used: {_listed('not in the folder', unknown)}.")


class ClassIndex:
    """Class indices by label: a label is an index below the number of classes, or the name of one class."""

    def __init__(self, classes: Sequence[str] | None, n_classes: int | None) -> None:
        self.count = len(classes) if classes is not None else n_classes
        self.indices: defaultdict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(classes or ()):
            self.indices[name.strip()].append(index)

    def of(self, label: str) -> int | str:
        """Return the class index of a label, or what is wrong with the label."""
        matches = set(self.indices.get(label, ()))
        if _INTEGER.fullmatch(label) and len(label) < 20:  # longer is out of range, and slow to parse
            number = int(label)
            if number >= 0 and (self.count is None or number < self.count):
                matches.add(number)
            elif not matches:
                return self._out_of_range()
        if len(matches) > 1:  # ImageNet has two classes named "crane"; a class may also be named "3"
            return "more than one class has this name or index"
        if matches:
            return matches.pop()
        if _INTEGER.fullmatch(label):
            return self._out_of_range()
        return "unknown classes" if self.indices else "not an index (this model has no class names)"

    def _out_of_range(self) -> str:
        return "negative or huge indices" if self.count is None else f"indices outside 0 to {self.count - 1}"


def _is_in(folder: Path | None, file: str) -> bool:
    """Return whether a folder has a file of that relative path, in any of the ways in which a table may write it."""
    paths = map(PurePosixPath, _forms(file))
    return folder is not None and any(
        is_file(folder / path) for path in paths if not path.is_absolute() and ".." not in path.parts
    )


def _forms(file: str) -> Iterator[str]:
    """Yield the ways in which a table may write a path: as it is, and as Windows does, with backslashes."""
    for written in (file, file.replace("\\", "/")):
        # macOS stores names decomposed, spreadsheets write them composed: both mean the same file
        yield unicodedata.normalize("NFC", PurePosixPath(written).as_posix())


def _listed(kind: str, items: list[str]) -> str:
    """Return a kind of problem with its count and its first items."""
    more = ", ..." if len(items) > _SHOWN else ""
    return f"{kind} ({len(items)}): {', '.join(items[:_SHOWN])}{more}"
