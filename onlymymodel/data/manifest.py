"""The manifest: one JSON line per file, appended so that a kill at any moment costs at most the last line."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NoReturn

from onlymymodel.data.atomic import sync_folder
from onlymymodel.errors import UserError

Record = dict[str, Any]

# O_BINARY exists on Windows only, where it keeps newlines as they are
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 lowercase hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of the file's bytes as 64 lowercase hex digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Manifest:
    """JSON lines in `path`, written by one process at a time. The file is made by the first append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._repaired = False

    def append(self, record: Record) -> None:
        """Add `record` as one line and have it on the disk before returning.

        Keys keep their order. Raises ValueError or TypeError for what JSON cannot say (NaN, infinity,
        bytes), OSError where the disk does not take the whole line; the file is then as it was.
        """
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        if not self._repaired:
            self.repair()
            self._repaired = True
        new = not self.path.exists()
        descriptor = os.open(self.path, _APPEND, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            # One call, so that no other line can come in between and a kill leaves a prefix of this one.
            if os.write(descriptor, line) != len(line):
                os.ftruncate(descriptor, size)  # the next append must not continue a torn line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            sync_folder(self.path.parent)

    def load(self) -> list[Record]:
        """Return all records in file order, none where there is no file; a torn last line is left out.

        Raises UserError, naming the line, where any other line is not a JSON object; OSError.
        """
        if not self.path.exists():
            return []
        *lines, tail = self.path.read_bytes().split(b"\n")
        records = []
        for number, line in enumerate(lines, start=1):
            record = _parse(line)
            if record is None:
                raise UserError(f"{self.path}, line {number} is not a JSON object; delete that line.")
            records.append(record)
        last = _parse(tail)
        return records if last is None else [*records, last]

    def by_source(self) -> dict[str, Record]:
        """Return the last record of each `source`, in the order in which the sources first appear.

        Records without a `source` (a header, say) are not among them. Raises as load does.
        """
        return {record["source"]: record for record in self.load() if "source" in record}

    def repair(self) -> int:
        """Cut a torn last line off the file; return how many bytes were cut. Raises OSError.

        A last line that lacks nothing but its newline is whole, and is given one.
        """
        if not self.path.exists():
            return 0
        with self.path.open("r+b") as file:
            data = file.read()
            tail = data[data.rfind(b"\n") + 1 :]
            if not tail:
                return 0
            if _parse(tail) is not None:
                file.write(b"\n")
                cut = 0
            else:
                file.truncate(len(data) - len(tail))
                cut = len(tail)
            file.flush()
            os.fsync(file.fileno())
        return cut


def _parse(line: bytes) -> Record | None:
    """Return the JSON object in `line`, None where it is something else."""
    try:
        value = json.loads(line.decode(), parse_constant=_reject)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _reject(constant: str) -> NoReturn:
    """Refuse NaN and Infinity, which are not JSON and which `append` never writes."""
    raise ValueError(constant)
