"""Read pictures, their paths and their labels from one Parquet file, a row at a time.

The format is that of the feature `Image` of the library `datasets`: a column of structs `{bytes: binary, path: string}`
(https://huggingface.co/docs/datasets/image_dataset).
"""

from __future__ import annotations

import errno
import json
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from onlymymodel.data.regular_file import Readable, open_regular
from onlymymodel.data.stores.errors import reasons
from onlymymodel.errors import UserError

INSTALL = "rows of Parquet files need pyarrow: pip install 'onlymymodel[parquet]'"
SUFFIX = ".parquet"
USUAL_COLUMN = "image"
_LONGEST_TEXT = 4096  # characters of a path or a class name
_BUFFER = 1 << 20  # bytes that are read from the file at a time


class ParquetTable:
    """One Parquet file with a column of pictures.

    Memory is that of one page of the file (1,024 rows at most as pyarrow writes it), whatever the size of a row group.
    The row after the last one that was read is quick to read; an earlier one makes its row group be read again from its
    beginning.

    Args:
        key: its path below the source.
        file: to read it from.
        stamp: changes with its content; None where that is not known.
    """

    def __init__(self, key: str, file: Readable, stamp: str | None) -> None:
        self.key, self.file, self.stamp = key, file, stamp
        self._reader: Any = None  # pyarrow.parquet.ParquetFile while it is open
        self._close: Callable[[], object] = lambda: None
        self._column = ""
        self._ends: list[int] = []  # the row after the last one of each row group
        self._pictures: Iterator[Any] = iter(())
        self._group = -1  # whose they are
        self._next = 0  # the row that `_pictures` yields next
        self._last: tuple[int, bytes] | None = None

    def __len__(self) -> int:
        """Return the number of rows. Raises OSError."""
        self._open()
        return self._ends[-1] if self._ends else 0

    def paths(self) -> Iterator[str | None]:
        """Yield the path of each row, as it is written there; None where there is none. Raises OSError."""
        self._open()
        import pyarrow.types as types

        fields = self._reader.schema_arrow.field(self._column).type
        if any(child.name == "path" and not types.is_null(child.type) for child in fields):
            yield from self._texts(f"{self._column}.path")
        else:
            yield from (None for _ in range(len(self)))

    def labels(self, column: str) -> Iterator[str | int | None]:
        """Yield the label of each row: an integer, a text, or None. Raises OSError, and UserError for other columns."""
        import pyarrow.types as types

        self._open()
        schema = self._reader.schema_arrow
        if column not in schema.names:
            raise UserError(f"{self.key} has no column {column!r}; it has {', '.join(map(repr, schema.names))}")
        kind = schema.field(column).type
        text = kind.value_type if types.is_dictionary(kind) else kind
        if types.is_integer(kind):
            with reasons(self.key):
                for group in range(len(self._ends)):
                    yield from (value.as_py() for value in self._values(column, group))
        elif types.is_string(text) or types.is_large_string(text) or types.is_string_view(text):
            yield from self._texts(column)
        else:
            raise UserError(f"{self.key}: the column {column!r} has no labels: they are integers or texts, not {kind}")

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """Return the names of a column's integers, as a `ClassLabel` of `datasets` has them; None for other columns."""
        self._open()
        try:
            written = json.loads((self._reader.schema_arrow.metadata or {})[b"huggingface"])
            names = written["info"]["features"][column]["names"]
        except (KeyError, TypeError, ValueError, RecursionError):
            return None
        known = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return tuple(names) if known else None

    def read(self, row: int) -> bytes:
        """Return the bytes of the picture in a row. Raises OSError, also where there are none."""
        if self._last is not None and self._last[0] == row:
            return self._last[1]
        self._open()
        with reasons(self.key):
            group = bisect_right(self._ends, row)
            if group != self._group or row < self._next:
                self._group, self._pictures = group, self._values(f"{self._column}.bytes", group)
                self._next = self._ends[group - 1] if group else 0
            for value in self._pictures:
                self._next += 1
                if self._next > row:
                    if not value.is_valid:
                        raise OSError(errno.ENODATA, "its row has no bytes", self.key)
                    self._last = row, bytes(value.as_buffer())
                    return self._last[1]
        raise OSError(errno.EIO, "the file has fewer rows than it says", self.key)

    def close(self) -> None:
        """Close the file; it is opened again when it is read."""
        self._close()
        self._reader, self._pictures, self._group, self._last = None, iter(()), -1, None

    def _open(self) -> None:
        """Open the file unless it is open. Raises OSError; UserError where pyarrow or the column is missing."""
        if self._reader is not None:
            return
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise UserError(INSTALL) from error
        with reasons(self.key):
            opened = open_regular(self.file)
            self._close = weakref.finalize(self, opened.close)
            try:
                self._reader = pyarrow.parquet.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False)
                self._column = _column_of_pictures(self.key, self._reader.schema_arrow)
            except BaseException:
                self.close()
                raise
            metadata = self._reader.metadata
            size = self.file.stat().st_size if isinstance(self.file, Path) else self.file.size
            if metadata.num_rows > size:  # nobody could list them
                self.close()
                reason = f"it claims {metadata.num_rows:,} rows in {size:,} bytes"
                raise OSError(errno.EINVAL, reason, self.key)
            self._ends = list(
                accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
            )

    def _values(self, leaf: str, group: int) -> Iterator[Any]:
        """Yield the values of a column, or of a field of the column of pictures, in a row group.

        One at a time: a page of a few bytes may stand for one large value in many rows.
        """
        for batch in self._reader.iter_batches(1, [group], [leaf], use_threads=False):
            array = batch.column(0)
            yield (array.flatten()[0] if leaf != batch.schema.names[0] else array)[0]

    def _texts(self, leaf: str) -> Iterator[str | None]:
        """Yield the texts of a column, or of a field of the column of pictures."""
        with reasons(self.key):
            for group in range(len(self._ends)):
                for value in self._values(leaf, group):
                    text = value.as_py()
                    if text is not None and len(text) > _LONGEST_TEXT:
                        reason = f"{leaf} has a text of more than {_LONGEST_TEXT} characters"
                        raise OSError(errno.ENAMETOOLONG, reason, self.key)
                    yield text


def _column_of_pictures(key: str, schema: Any) -> str:
    """Return the name of the column of pictures: `image`, or the only one. Raises UserError."""
    import pyarrow.types as types

    def has_pictures(kind: Any) -> bool:
        if not types.is_struct(kind):
            return False
        fields = {child.name: child.type for child in kind}
        path = fields.get("path")
        # where no row has a path, pyarrow takes its type to be that of null
        is_path = path is None or types.is_string(path) or types.is_large_string(path) or types.is_null(path)
        return is_path and any(is_bytes(fields.get("bytes")) for is_bytes in (types.is_binary, types.is_large_binary))

    found = [field.name for field in schema if has_pictures(field.type)]
    if USUAL_COLUMN in found or len(found) == 1:
        return USUAL_COLUMN if USUAL_COLUMN in found else found[0]
    named = ", ".join(map(repr, found or schema.names)) or "none"
    if found:
        raise UserError(f"{key} has several columns of pictures ({named}), and none of them is {USUAL_COLUMN!r}")
    raise UserError(
        f"{key} has no column of pictures, which are structs with the fields bytes and path; its columns are {named}"
    )
