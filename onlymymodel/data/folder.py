"""Folders: which files are photos, where each result goes, and whether the destination can take them."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from onlymymodel.data.atomic import PARTIAL
from onlymymodel.data.image_io import SUFFIXES
from onlymymodel.errors import UserError

_SHOWN = 10


@dataclass(frozen=True)
class Entry:
    """One name found in the source, and what is to become of it.

    relative: its path below the source. path: where to read it. output: where its result goes below the
    destination, for photos only. reason: why it is no photo or refused, None for photos.
    """

    relative: PurePosixPath
    path: Path
    output: PurePosixPath | None
    status: Literal["photo", "not-a-photo", "refused"]
    reason: str | None


def scan(source: Path, suffix: str = ".png") -> list[Entry]:
    """List every file below `source`, or `source` itself if it is a file, ordered by the parts of its path.

    The output tree mirrors the source with the name's suffix replaced by `suffix`. Hidden files and folders
    and other suffixes are "not-a-photo"; symbolic links, special files, folders named like photos and what
    cannot be read are "refused". Only `source` itself may be a link. Nothing is opened.

    Raises UserError where there is no source, no photo in it, or where two photos would get the same output.
    """
    if not source.exists():
        raise UserError(f"{source} does not exist.")
    if source.is_dir():
        entries = sorted(_walk(source, suffix), key=lambda entry: entry.relative.parts)
    else:
        entries = [_file_entry(source, PurePosixPath(source.name), source.is_file(), suffix)]
    if not any(entry.status == "photo" for entry in entries):
        raise UserError(_nothing_to_do(source, entries))
    _refuse_collisions(entries)
    return entries


def check_destination(source: Path, out: Path) -> None:
    """Make the folder `out` if needed and see that results can be written to it.

    Raises UserError where `out` is, contains or lies inside `source` (links resolved): results must never be
    mixed with, or written over, the photos they come from. Also where `out` is a file or not writable.
    """
    if _lies_in(out, source):
        raise UserError(f"The output folder {out} is, or lies inside, the source {source}; choose another.")
    if _lies_in(source, out):
        raise UserError(f"The source {source} lies inside the output folder {out}; choose another.")
    check_writable(out)


def check_writable(out: Path) -> None:
    """Make the folder `out` if needed and see that files can be written to it.

    Raises UserError where `out` is a file or not writable.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"The output {out} is a file; it must be a folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Trying is the only test that sees quotas, read-only mounts and access lists. The suffix lets the
        # sweep of leftovers find it if we are killed right here.
        with tempfile.NamedTemporaryFile(dir=out, suffix=PARTIAL):
            pass
    except OSError as error:
        raise UserError(f"The output folder {out} cannot be written to: {error.strerror}.") from error


def _walk(source: Path, suffix: str) -> Iterator[Entry]:
    """Yield the entries below the folder `source` in any order. Each folder is listed once."""
    pending = [PurePosixPath()]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(source / folder) as listing:
                found = list(listing)
        except OSError as error:
            if folder == PurePosixPath():
                raise UserError(f"{source} cannot be read: {error.strerror}.") from error
            yield Entry(folder, source / folder, None, "refused", f"cannot be read: {error.strerror}")
            continue
        for item in found:
            relative = folder / item.name
            if item.is_dir(follow_symlinks=False):
                if not item.name.startswith("."):
                    pending.append(relative)
                entry = _folder_entry(Path(item.path), relative)
                if entry is not None:
                    yield entry
            elif item.is_symlink() and not item.name.startswith("."):
                yield Entry(relative, Path(item.path), None, "refused", "a symbolic link")
            else:
                yield _file_entry(Path(item.path), relative, item.is_file(follow_symlinks=False), suffix)


def _folder_entry(path: Path, relative: PurePosixPath) -> Entry | None:
    """Return an entry for a folder that somebody may take for a photo or miss in the result, else None."""
    if relative.name.startswith("."):
        return Entry(relative, path, None, "not-a-photo", "a hidden folder")
    if relative.suffix.lower() in SUFFIXES:
        return Entry(relative, path, None, "refused", "a folder, not a photo")
    return None


def _file_entry(path: Path, relative: PurePosixPath, regular: bool, suffix: str) -> Entry:
    """Return the entry of anything that is neither a folder nor a link."""
    if relative.name.startswith("."):
        return Entry(relative, path, None, "not-a-photo", "a hidden file")
    if relative.suffix.lower() not in SUFFIXES:
        reason = f"{relative.suffix or 'no suffix'} is no photo suffix"
        return Entry(relative, path, None, "not-a-photo", reason)
    if not regular:  # reading a pipe would wait forever
        return Entry(relative, path, None, "refused", "not a regular file")
    try:
        str(relative).encode()
    except UnicodeEncodeError:  # Linux allows any bytes in a name; manifest and labels are UTF-8
        return Entry(relative, path, None, "refused", "its name is not valid UTF-8")
    return Entry(relative, path, relative.with_suffix(suffix), "photo", None)


def _nothing_to_do(source: Path, entries: list[Entry]) -> str:
    """Say why a source without photos has none."""
    if not entries:
        return f"{source} is empty."
    first = ", ".join(f"{entry.relative} ({entry.reason})" for entry in entries[:_SHOWN])
    return f"{source} has no photo to work on; it has {len(entries)} other: {first}."


def _refuse_collisions(entries: Iterable[Entry]) -> None:
    """Raise UserError where two outputs are one name on some system, or one is a folder of another."""
    users: defaultdict[tuple[str, ...], list[PurePosixPath]] = defaultdict(list)
    photos = [(entry.relative, _key(entry.output)) for entry in entries if entry.output is not None]
    for relative, key in photos:
        users[key].append(relative)
    folders = {key[:depth] for _, key in photos for depth in range(1, len(key))}
    clashes = [files for key, files in users.items() if len(files) > 1 or key in folders]
    if clashes:
        taken = [" and ".join(map(str, files)) + ("" if len(files) > 1 else " and a folder") for files in clashes]
        listed = "; ".join(taken[:_SHOWN]) + ("; ..." if len(taken) > _SHOWN else "")
        raise UserError(f"{len(clashes)} output name(s) would be taken twice, rename the photos: {listed}.")


def _key(output: PurePosixPath) -> tuple[str, ...]:
    """Return the parts of a path such that two equal ones are one file on macOS and Windows."""
    return tuple(unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold()) for part in output.parts)


def _lies_in(inner: Path, outer: Path) -> bool:
    """Tell whether `inner` is `outer` or below it. Links and case are resolved."""
    if not outer.exists():
        return False
    resolved = inner.resolve()
    return any(path.exists() and path.samefile(outer) for path in (resolved, *resolved.parents))
