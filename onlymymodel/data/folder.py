"""Scan a folder for photos, choose the path of each result, and check that the destination can be written."""

from __future__ import annotations

import os
import secrets
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from onlymymodel.data.atomic import OWN, PARTIAL
from onlymymodel.data.entry import Entry, result_path, without_picture_suffix
from onlymymodel.data.file_kinds import kind_of, reason_passed_over
from onlymymodel.data.file_signatures import SUFFIXES, is_named_like_a_picture
from onlymymodel.data.image_io import Header
from onlymymodel.data.rows.parquet import SUFFIX as TABLE
from onlymymodel.data.rows.scan import scan_rows
from onlymymodel.data.rows.source import RowsFolder
from onlymymodel.data.source import Source, local_path
from onlymymodel.data.stores.looked import look_back
from onlymymodel.data.stores.remote import RemoteFolder
from onlymymodel.data.stores.scan import scan_remote
from onlymymodel.data.stores.stamps import Stamps, stamp_from
from onlymymodel.errors import UserError, nearest, number_of

__all__ = [
    "Entry",
    "check_apart",
    "check_could_be_written",
    "check_destination",
    "check_writable",
    "scan",
    "without_picture_suffix",
]

_SHOWN = 10


def scan(source: Source, suffix: str = ".png", exclude: Sequence[str] = (), known: Stamps | None = None) -> list[Entry]:
    """List every file below `source`, or `source` itself if it is a file, ordered by the parts of its path.

    The output tree mirrors the source with the suffix of a picture replaced by `suffix`. The first bytes of a file
    decide whether it is a photo, not its name. Hidden files and folders, those of systems, excluded ones and files
    that are not pictures are "not-a-photo"; pictures of formats that are not read, symbolic links, special files and
    folders named like photos and what cannot be read are "refused". Only `source` itself may be a link.

    Args:
        source: a folder, or one file; also of a remote store. Rows keep their order.
        suffix: of the results, with the dot.
        exclude: globs of files and folders to pass over, see `reason_passed_over`.
        known: what is known of files of this machine from earlier runs; those of stores and rows bring their own.

    Raises:
        UserError: the source does not exist, has no photo, or two photos would have the same output.
    """
    if isinstance(source, RemoteFolder):
        entries = sorted(scan_remote(source, suffix, exclude), key=lambda entry: entry.relative.parts)
    elif isinstance(source, RowsFolder):
        entries = list(scan_rows(source, suffix, exclude))
    elif not source.exists():
        raise UserError(f"{source} does not exist{_near_names(source)}")
    elif source.is_dir():
        entries = sorted(_walk(source, suffix, exclude, known), key=lambda entry: entry.relative.parts)
    else:
        entries = [_file_entry(source, PurePosixPath(source.name), source.is_file(), suffix)]
    if not any(entry.status == "photo" for entry in entries):
        raise UserError(_nothing_to_do(source, entries))
    _refuse_collisions(entries)
    return entries


def check_destination(source: Source, out: Path) -> None:
    """Create the folder `out` if needed, with the source's permissions, and check that results can be written to it.

    Raises:
        UserError: see `check_apart` and `check_writable`.
    """
    here = local_path(source)
    if here is None:
        check_writable(out, 0o700)
        return
    check_apart(here, out)
    check_writable(out, 0o700 | (here if here.is_dir() else here.parent).stat().st_mode & 0o777)


def check_apart(source: Path, out: Path) -> None:
    """Check that results in `out` can neither be mixed with, nor written over, their originals. Nothing is written.

    Raises:
        UserError: `out` is, contains or is inside `source` (links resolved).
    """
    if _is_inside(out, source):
        raise UserError(f"The output folder {out} is, or is inside, the source {source}; choose another.")
    if _is_inside(source, out):
        raise UserError(f"The source {source} is inside the output folder {out}; choose another.")


def check_could_be_written(out: Path) -> None:
    """Check that the folder `out` could be made and written, without writing anything; see `check_writable`.

    Raises:
        UserError: `out` is a file, or the permissions of it, or of the folder above it, forbid writing.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"The output {out} is a file; it must be a folder.")
    existing = next((folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists()), Path())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"The output folder {out} cannot be written to: {existing} allows no new files.")


def check_writable(out: Path, mode: int = 0o777) -> None:
    """Create the folder `out` if needed and check that files can be written to it.

    Args:
        out: the folder.
        mode: its permissions if it is created, less those that the system takes from new folders.

    Raises:
        UserError: `out` is a file or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"The output {out} is a file; it must be a folder.")
    try:
        out.mkdir(mode, parents=True, exist_ok=True)
        # only writing a file detects quotas, read-only mounts and access lists; with this name it is removed by the
        # next run if the process is killed here
        probe = out / f"{OWN}{secrets.token_hex(8)}{PARTIAL}"
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise UserError(f"The output folder {out} cannot be written to: {error.strerror}.") from error


def _walk(source: Path, suffix: str, exclude: Sequence[str], known: Stamps | None) -> Iterator[Entry]:
    """Yield the entries below the folder `source` in any order. Each folder is listed once."""
    pending = [PurePosixPath()]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(source / folder) as listing:
                items = list(listing)
        except OSError as error:
            if folder == PurePosixPath():
                raise UserError(f"{source} cannot be read: {error.strerror}.") from error
            yield Entry(folder, source / folder, None, "refused", f"cannot be read: {error.strerror}")
            continue
        for item in items:
            relative = folder / item.name
            is_folder = item.is_dir(follow_symlinks=False)
            passed_over = reason_passed_over(relative, is_folder, exclude)
            if passed_over is not None:
                yield Entry(relative, Path(item.path), None, "not-a-photo", passed_over)
            elif is_folder:
                pending.append(relative)
                if relative.suffix.lower() in SUFFIXES:
                    yield Entry(relative, Path(item.path), None, "refused", "a folder, not a photo")
            elif item.is_symlink():
                yield Entry(relative, Path(item.path), None, "refused", "a symbolic link")
            elif (header := _known_header(item, relative, known)) is not None:
                yield Entry(relative, Path(item.path), result_path(relative, suffix), "photo", None, header)
            else:
                yield _file_entry(Path(item.path), relative, item.is_file(follow_symlinks=False), suffix)


def _known_header(item: os.DirEntry[str], relative: PurePosixPath, known: Stamps | None) -> Header | None:
    """Return the header of a file that was a photo when an earlier run read it, and has not changed; else None."""
    if known is None or not item.is_file(follow_symlinks=False):
        return None
    looked = look_back({}, known, str(relative), stamp_from(item.stat(follow_symlinks=False)))
    return None if looked is None else looked.header


def _file_entry(path: Path, relative: PurePosixPath, regular: bool, suffix: str) -> Entry:
    """Return the entry of an item that is neither a folder nor a link."""
    if not regular:  # reading a pipe would wait forever
        named = is_named_like_a_picture(relative.suffix)
        return Entry(relative, path, None, "refused" if named else "not-a-photo", "not a regular file")
    status, reason = kind_of(path)
    if status != "photo":
        return Entry(relative, path, None, status, reason)
    return Entry(relative, path, result_path(relative, suffix), "photo", None)


def _near_names(path: Path) -> str:
    """Return which files or folders beside a path may be meant, or what is expected."""
    try:
        near = nearest(path.name, [beside.name for beside in path.parent.iterdir()], cutoff=0.6)
    except OSError:
        near = []
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ": name a folder of photos, or one photo."


def _nothing_to_do(source: Source, entries: list[Entry]) -> str:
    """Return why a source has no photo to work on."""
    if not entries:
        return f"{source} is empty: name a folder of photos, or one photo."
    pictures_first = sorted(entries, key=lambda entry: entry.status != "refused")
    first = ", ".join(f"{entry.relative} ({entry.reason})" for entry in pictures_first[:_SHOWN])
    rows = any(entry.relative.suffix == TABLE for entry in entries)
    hint = " Rows of Parquet files are for omm protect, evaluate and tune, which follow no links." if rows else ""
    return f"{source} has no photo to work on; it has {number_of(len(entries), 'other file')}: {first}.{hint}"


def _refuse_collisions(entries: Iterable[Entry]) -> None:
    """Raise UserError if two outputs are the same name on some system, or one is a folder of another."""
    users: defaultdict[tuple[str, ...], list[PurePosixPath]] = defaultdict(list)
    photos = [(entry.relative, _key(entry.output)) for entry in entries if entry.output is not None]
    for relative, key in photos:
        users[key].append(relative)
    folders = {key[:depth] for _, key in photos for depth in range(1, len(key))}
    clashes = [files for key, files in users.items() if len(files) > 1 or key in folders]
    if clashes:
        taken = [" and ".join(map(str, files)) + ("" if len(files) > 1 else " and a folder") for files in clashes]
        listed = "; ".join(taken[:_SHOWN]) + ("; ..." if len(taken) > _SHOWN else "")
        raise UserError(
            f"{number_of(len(clashes), 'output name')} would be used twice; rename the photos or --exclude some: "
            f"{listed}."
        )


def _key(output: PurePosixPath) -> tuple[str, ...]:
    """Return the parts of a path so that paths of one file on macOS or Windows are equal."""
    if (text := str(output)).isascii():  # nearly all
        return tuple(text.lower().split("/"))
    return tuple(unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold()) for part in output.parts)


def _is_inside(inner: Path, outer: Path) -> bool:
    """Return whether `inner` is `outer` or below it, with links and case resolved."""
    if not outer.exists():
        return False
    resolved = inner.resolve()
    return any(path.exists() and path.samefile(outer) for path in (resolved, *resolved.parents))
