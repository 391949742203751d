"""Pictures in the rows of one or many Parquet files as the photos of a source."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import cast

from onlymymodel.data.entry import Entry, is_usual_path
from onlymymodel.data.file_kinds import reason_passed_over
from onlymymodel.data.regular_file import NamedByKey
from onlymymodel.data.rows.parquet import SUFFIX, ParquetTable
from onlymymodel.data.stores.errors import as_user_errors
from onlymymodel.data.stores.looked import Looked
from onlymymodel.data.stores.remote import RemoteFolder
from onlymymodel.data.stores.stamps import Stamps
from onlymymodel.data.tables import inner_path
from onlymymodel.errors import UserError, number_of

_SHOWN = 5


@dataclass(frozen=True)
class RowFile(NamedByKey):
    """The picture of a row; a `StoredFile`.

    Attributes:
        rows: the source.
        table: number of its Parquet file.
        row: number of the row in that file.
        key: its path below the source.
    """

    rows: RowsFolder
    table: int
    row: int
    key: str

    @property
    def stamp(self) -> str | None:
        """Changes with the Parquet file; None where that says nothing."""
        of_table = self.rows.tables[self.table].stamp
        return None if of_table is None else f"{of_table} row {self.row}"

    @property
    def path(self) -> Path:
        """Path of its Parquet file, where that is on this machine."""
        file = self.rows.tables[self.table].file
        if not isinstance(file, Path):
            raise TypeError(f"{self} is in a store, and has no path")
        return file

    @property
    def size(self) -> int:
        """Number of bytes. Raises OSError."""
        return len(self.read_all())

    def open(self) -> io.BufferedReader:
        """Open it for reading. Raises OSError."""
        return io.BufferedReader(cast(io.RawIOBase, io.BytesIO(self.read_all())))

    def read_all(self) -> bytes:
        """Return all bytes. Raises OSError."""
        return self.rows.read(self.table, self.row)

    def __str__(self) -> str:
        return f"row {self.row} of {self.rows.tables[self.table].key}"


@dataclass(frozen=True, eq=False)
class RowsFolder:
    """The rows of a Parquet file, or of all Parquet files of a folder.

    Attributes:
        place: the file or folder.
        tables: the Parquet files, in the order of their paths.
        others: the other files below the folder, with the reasons for which they are passed over.
        known: what is known of the pictures from earlier runs.
        looked_at: what the rows are, by their keys, as far as that was looked at.
    """

    place: Path | RemoteFolder
    tables: Sequence[ParquetTable]
    others: Sequence[Entry] = ()
    known: Stamps | None = None
    looked_at: dict[str, Looked] = field(default_factory=dict)
    _open: list[int] = field(default_factory=list)  # the table that is open, if any

    @property
    def uri(self) -> str:
        """Its path or address."""
        return str(self.place)

    def __str__(self) -> str:
        return self.uri

    def read(self, table: int, row: int) -> bytes:
        """Return the bytes of the picture in a row. Raises OSError, also where there are none."""
        self._use(table)
        return self.tables[table].read(row)

    def files(self, exclude: Sequence[str] = ()) -> list[RowFile]:
        """Return a file for each row, in the order of tables and rows; only their paths are read.

        A row has the name that its `path` says, if that is a relative path of a usual form; else that of its Parquet
        file and its number, such as `train-00000-of-00001/0000012`.

        Args:
            exclude: globs of Parquet files to pass over.

        Raises:
            UserError: a Parquet file cannot be read or has no column of pictures, two rows have one name, or pyarrow is
                not installed.
        """
        files: dict[str, RowFile] = {}
        twice: dict[str, RowFile] = {}
        for number, table in enumerate(self.tables):
            if reason_passed_over(PurePosixPath(table.key), False, exclude) is not None:
                continue
            self._use(number)
            with as_user_errors(self._shown(table)):
                for row, path in enumerate(table.paths()):
                    key = path if path is not None and _is_safe(path) else _own_name(table, row)
                    file = RowFile(self, number, row, key)
                    if key in files:
                        twice.setdefault(key, file)
                    files.setdefault(key, file)
        if twice:
            named = "; ".join(f"{key!r}: {files[key]} and {twice[key]}" for key in list(twice)[:_SHOWN])
            raise UserError(
                f"{self.uri}: {number_of(len(twice), 'path belongs', 'paths belong')} to several rows, and each result "
                "needs a name of its own: "
                f"{named}{'; ...' if len(twice) > _SHOWN else ''}. Protect one file at a time, or --exclude some"
            )
        return list(files.values())

    def labels(self, column: str, exclude: Sequence[str]) -> tuple[dict[str, str | int], tuple[str, ...] | None]:
        """Return the label of each row that has one, by its key, and the names of the classes if they are there.

        Args:
            column: name of the column; -1 is no label, as in `datasets`.
            exclude: see `files`.

        Raises:
            UserError: see `files`; or the column is missing, has no labels, or has other classes in another
                file.
        """
        found: dict[str, str | int] = {}
        classes: dict[tuple[str, ...] | None, str] = {}
        keys: dict[int, list[str]] = {}
        for file in self.files(exclude):
            keys.setdefault(file.table, []).append(file.key)
        for number, of_table in keys.items():
            self._use(number)
            table = self.tables[number]
            with as_user_errors(self._shown(table)):
                classes.setdefault(table.class_names(column), table.key)
                # a file with fewer labels than it says has fewer pictures, too
                labels = zip(of_table, table.labels(column), strict=False)
                found |= {key: label for key, label in labels if label is not None and label != -1}
        if len(classes) > 1:
            raise UserError(f"the classes of the column {column!r} differ: {' and '.join(classes.values())}")
        return found, next(iter(classes), None)

    def _shown(self, table: ParquetTable) -> str:
        """Return the path or address of a Parquet file."""
        return self.uri if self.uri.endswith(SUFFIX) else f"{self.uri}/{table.key}"

    def _use(self, table: int) -> None:
        """Close the table that is open, if it is another one."""
        for other in self._open:
            if other != table:
                self.tables[other].close()
        self._open[:] = [table]


def _own_name(table: ParquetTable, row: int) -> str:
    return f"{table.key.removesuffix(SUFFIX)}/{row:07}"


def _is_safe(path: str) -> bool:
    """Return whether a path stays below its folder on every system, and is written in the usual form."""
    return is_usual_path(path) and "\\" not in path and inner_path(path) is not None
