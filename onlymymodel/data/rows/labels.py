"""Labels of rows from another column of their Parquet files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from onlymymodel.data.datasets import labels_for
from onlymymodel.data.labelled import Dataset, Item
from onlymymodel.data.labels import ClassIndex
from onlymymodel.data.rows.source import RowsFolder
from onlymymodel.errors import UserError

PREFIX = "column:"
_SHOWN = 5


@dataclass(frozen=True)
class ColumnLabels:
    """The labels in a column.

    Attributes:
        column: its name.
        values: label of each row that has one, by the row's path: an index, or a name of a class.
        classes: names that the indices stand for; None where the files have none.
    """

    column: str
    values: Mapping[str, str | int]
    classes: tuple[str, ...] | None

    def indices(self, classes: Sequence[str] | None, n_classes: int) -> dict[str, int]:
        """Return the model's class index of each labelled row.

        Classes with names are matched by name, see `labels_for`; other labels are the model's indices or names.

        Args:
            classes: the model's class names; None if it has none.
            n_classes: number of the model's classes.

        Raises:
            UserError: a label is no class of the model.
        """
        named = self.classes
        if named is None or not all(isinstance(value, int) for value in self.values.values()):
            return self._by_value(ClassIndex(classes, n_classes))
        outside = [f"{path!r} ({value})" for path, value in self.values.items() if not 0 <= int(value) < len(named)]
        if outside:
            shown = ", ".join(outside[:_SHOWN])
            raise UserError(f"the column {self.column!r} has {len(named)} classes, and other labels: {shown}")
        items = tuple(Item(PurePosixPath(path), int(value)) for path, value in self.values.items())
        dataset = Dataset(f"column {self.column!r}", Path(f"column {self.column!r}"), named, items, {})
        return labels_for(dataset, photos=list(self.values), classes=classes, n_classes=n_classes)

    def _by_value(self, index: ClassIndex) -> dict[str, int]:
        found: dict[str, int] = {}
        problems: defaultdict[str, list[str]] = defaultdict(list)
        for path, value in self.values.items():
            label = index.of(str(value))
            if isinstance(label, str):
                problems[label].append(f"{value!r} ({path})")
            else:
                found[path] = label
        if problems:
            listed = "; ".join(f"{kind}: {', '.join(labels[:_SHOWN])}" for kind, labels in problems.items())
            raise UserError(f"the labels of the column {self.column!r} cannot be used: {listed}")
        return found


def read_column(text: str, source: object, exclude: Sequence[str]) -> ColumnLabels:
    """Read the labels of rows.

    Args:
        text: `column:NAME`.
        source: the photos.
        exclude: globs of files that are passed over.

    Raises:
        UserError: the photos are no rows; or see `RowsFolder.labels`.
    """
    column = text.removeprefix(PREFIX)
    if not isinstance(source, RowsFolder):
        raise UserError(f"--labels {text} is for rows of Parquet files: {source} has none")
    values, classes = source.labels(column, exclude)
    return ColumnLabels(column, values, classes)
