"""Scan a folder of a remote store for photos, with few requests for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from urllib.parse import quote

from onlymymodel.data.entry import LONGEST_PART, Entry, is_usual_path, result_path
from onlymymodel.data.file_kinds import Status, kind_of, reason_passed_over
from onlymymodel.data.file_signatures import SUFFIXES, is_named_like_a_picture
from onlymymodel.data.image_io import Header, PhotoError, probe
from onlymymodel.data.stores.errors import as_user_errors
from onlymymodel.data.stores.looked import Looked
from onlymymodel.data.stores.remote import RemoteFile, RemoteFolder


def scan_remote(source: RemoteFolder, suffix: str, exclude: Sequence[str]) -> Iterator[Entry]:
    """Yield the entries of a store as `folder.scan` does, in any order.

    One listing gives all names. The first bytes of each object, read many at a time, decide what it is and mostly have
    its header; those of photos that an earlier run, or scan, has looked at are not read again.

    Raises:
        UserError: the store cannot be listed.
    """
    with as_user_errors(str(source)):
        files = source.files()
        if not files:
            source.check_listed()
    entries, readable = list[Entry](), list[RemoteFile]()
    folders: dict[PurePosixPath, bool] = {}  # whether what is in them is passed over
    for file in files:
        if not is_usual_path(file.key):
            named = is_named_like_a_picture(file.suffix)
            status: Status = "refused" if named else "not-a-photo"
            entries.append(Entry(_escaped(file.key), file, None, status, "its key is no path of a file"))
            continue
        relative = PurePosixPath(file.key)
        if not source.single:
            entries += _new_folders(relative, file, folders, exclude)
            if any(folders.get(folder) for folder in relative.parents):
                continue
        passed_over = None if source.single else reason_passed_over(relative, False, exclude)
        if passed_over is not None:
            entries.append(Entry(relative, file, None, "not-a-photo", passed_over))
        elif (looked := source.look_back(file)) is not None:
            entries.append(_entry(file, looked, suffix))
        else:
            readable.append(file)
    yield from entries
    for file, head in zip(readable, source.with_heads(readable), strict=True):
        source.looked_at[file.key] = looked = Looked(file.stamp, *kind_of(head), _header(head))
        yield _entry(file, looked, suffix)


def _new_folders(
    relative: PurePosixPath, file: RemoteFile, folders: dict[PurePosixPath, bool], exclude: Sequence[str]
) -> Iterator[Entry]:
    """Yield the entries of the folders of a path that come up for the first time, as those of a folder's walk."""
    for folder in reversed(relative.parents[:-1]):
        if folder in folders:
            if folders[folder]:
                return
            continue
        passed_over = reason_passed_over(folder, True, exclude)
        folders[folder] = passed_over is not None
        if passed_over is not None:
            yield Entry(folder, file, None, "not-a-photo", passed_over)
            return
        if folder.suffix.lower() in SUFFIXES:
            yield Entry(folder, file, None, "refused", "a folder, not a photo")


def _entry(file: RemoteFile, looked: Looked, suffix: str) -> Entry:
    """Return the entry of an object that was looked at."""
    relative = PurePosixPath(file.key)
    if looked.status != "photo":
        return Entry(relative, file, None, looked.status, looked.reason)
    return Entry(relative, file, result_path(relative, suffix), "photo", None, looked.header)


def _header(file: RemoteFile) -> Header | None:
    """Return the header of a photo; None where it cannot be read, or not within usual limits: the run says why."""
    try:
        return probe(file) if file.head else None
    except PhotoError:
        return None


def _escaped(key: str) -> PurePosixPath:
    """Return a name for a key that is no path, which leads nowhere."""
    return PurePosixPath(quote(key, safe="").replace("..", "%2E%2E")[:LONGEST_PART] or "%")
