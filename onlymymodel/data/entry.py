"""One file or folder below the source of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from onlymymodel.data.file_kinds import Status
from onlymymodel.data.file_signatures import is_named_like_a_picture
from onlymymodel.data.image_io import Header
from onlymymodel.data.regular_file import Readable

LONGEST_PART = 255  # bytes of a name, in the file systems of all systems


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder below the source.

    Attributes:
        relative: path below the source.
        file: path to read it from, or a file in a store.
        output: path of its result below the destination; None for everything but photos.
        status: `photo`, `not-a-photo`, or `refused` (looks like a photo, but is not read).
        reason: why it is not a photo or is refused; None for photos.
        header: of a photo, where it is known; None where it was not read, or cannot be.
    """

    relative: PurePosixPath
    file: Readable
    output: PurePosixPath | None
    status: Status
    reason: str | None
    header: Header | None = None

    @property
    def path(self) -> Path:
        """Path to read it from, where the source is on this machine."""
        if not isinstance(self.file, Path):
            raise TypeError(f"{self.relative} is in a store, and has no path")
        return self.file


def result_path(relative: PurePosixPath, suffix: str) -> PurePosixPath:
    """Return the path of the result of a photo, below the destination."""
    return relative.with_name(_bare_name(relative) + suffix)


def without_picture_suffix(path: PurePosixPath) -> PurePosixPath:
    """Return a path without its suffix if that is one of a picture; .001 is a part of the name."""
    return path.with_name(_bare_name(path))


def _bare_name(path: PurePosixPath) -> str:
    return path.stem if is_named_like_a_picture(path.suffix) else path.name


def is_usual_path(key: str) -> bool:
    """Return whether a key is a relative path in its one usual form, which other systems can have, too."""
    parts = key.split("/")
    usual = all(part not in ("", ".", "..") and len(part.encode()) <= LONGEST_PART for part in parts)
    return usual and "\0" not in key
