"""Find Parquet files of pictures at a place, and scan their rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from onlymymodel.data.entry import Entry, result_path
from onlymymodel.data.file_kinds import kind_of, reason_passed_over
from onlymymodel.data.file_signatures import is_named_like_a_picture
from onlymymodel.data.image_io import Header, PhotoError, probe
from onlymymodel.data.rows.parquet import SUFFIX, ParquetTable
from onlymymodel.data.rows.source import RowFile, RowsFolder
from onlymymodel.data.stores.errors import as_user_errors
from onlymymodel.data.stores.looked import Looked, look_back
from onlymymodel.data.stores.remote import RemoteFile, RemoteFolder

_NO_TABLE, _LINK = "beside Parquet files", "a symbolic link"
# files by path, each with the reason for which it is passed over
Found = Mapping[str, tuple[Path | RemoteFile, str | None]]


def find_rows(place: Path | RemoteFolder) -> RowsFolder | None:
    """Return the rows at a place; None if it is a folder of photos, or another file.

    It has rows if it is a Parquet file, or has such files below it and none that is named like a picture.

    Raises:
        UserError: a store cannot be listed.
    """
    if isinstance(place, Path):
        found = _find_local(place)
    else:
        with as_user_errors(str(place)):
            found = {file.key: (file, _reason_passed_over(PurePosixPath(file.key))) for file in place.look_ahead()}
    tables, others = list[ParquetTable](), list[Entry]()
    for name in sorted(found, key=lambda name: name.split("/")):
        (file, reason), relative = found[name], PurePosixPath(name)
        if is_named_like_a_picture(relative.suffix) and reason is None:
            return None
        if reason is None and relative.suffix == SUFFIX:
            tables.append(ParquetTable(name, file, _stamp(file)))
        else:
            others.append(Entry(relative, file, None, "not-a-photo", reason or _NO_TABLE))
    return RowsFolder(place, tables, others) if tables else None


def scan_rows(source: RowsFolder, suffix: str, exclude: Sequence[str]) -> Iterator[Entry]:
    """Yield an entry for each row, in their order, and for each other file; see `folder.scan`.

    Each picture is read once to see what it is and how large, unless an earlier run, or scan, has looked at it.

    Raises:
        UserError: see `RowsFolder.files`.
    """
    yield from source.others
    for file in source.files(exclude):
        relative = PurePosixPath(file.key)
        passed_over = _reason_passed_over(relative, exclude)
        if passed_over is not None:
            yield Entry(relative, file, None, "not-a-photo", passed_over)
            continue
        looked = look_back(source.looked_at, source.known, file.key, file.stamp)
        if looked is None:
            source.looked_at[file.key] = looked = _look(file)
        output = result_path(relative, suffix) if looked.status == "photo" else None
        yield Entry(relative, file, output, looked.status, looked.reason, looked.header)


def _look(file: RowFile) -> Looked:
    status, reason = kind_of(file)
    if status == "not-a-photo":  # its column says that it is one: the reason will be recorded when it is read
        status, reason = "photo", None
    return Looked(file.stamp, status, reason, _header(file) if status == "photo" else None)


def _header(file: RowFile) -> Header | None:
    """Return the header of a photo; None where it cannot be read, or not within usual limits: the run says why."""
    try:
        return probe(file)
    except PhotoError:
        return None


def _reason_passed_over(path: PurePosixPath, exclude: Sequence[str] = ()) -> str | None:
    """Return why a file, or a folder above it, is passed over; None if it is not."""
    for folder in reversed(path.parents[:-1]):
        if (reason := reason_passed_over(folder, True, exclude)) is not None:
            return reason
    return reason_passed_over(path, False, exclude)


def _find_local(place: Path) -> Found:
    """Return the files below a folder, or a file itself; not all of them where one is named like a picture."""
    if not place.is_dir():
        return {place.name: (place, None)} if place.is_file() else {}
    found: dict[str, tuple[Path | RemoteFile, str | None]] = {}
    pending = [PurePosixPath()]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(place / folder) as listing:
                for item in listing:
                    relative = folder / item.name
                    is_folder = item.is_dir(follow_symlinks=False)
                    reason = reason_passed_over(relative, is_folder, ())
                    if reason is None and is_folder:
                        pending.append(relative)
                        continue
                    if reason is None and not item.is_file(follow_symlinks=False):
                        reason = _LINK if item.is_symlink() else "not a regular file"
                    found[str(relative)] = Path(item.path), reason
                    if reason is None and is_named_like_a_picture(relative.suffix):
                        return found
        except OSError as error:
            found[str(folder)] = place / folder, f"cannot be read: {error.strerror}"
    return found


def _stamp(file: Path | RemoteFile) -> str | None:
    if not isinstance(file, Path):
        return file.stamp
    found = file.stat()
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"
