"""Classify the files of a folder by content: photos, other files, and files and folders to ignore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal

from onlymymodel.data.file_signatures import (
    HEAD,
    SUFFIXES,
    TIFF,
    format_of,
    is_named_like_a_picture,
    is_named_like_raw,
)
from onlymymodel.data.opened_image import reason_not_read
from onlymymodel.data.regular_file import Readable, open_regular
from onlymymodel.errors import UserError

Status = Literal["photo", "not-a-photo", "refused"]

_NO_PICTURE: tuple[Status, str] = ("not-a-photo", "not a picture")
# made by systems and programs: previews, other files' attributes, what was deleted; hidden ones need no mention
_SYSTEM_FOLDERS = frozenset({
    "@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found",
})  # fmt: skip


def reason_passed_over(relative: PurePosixPath, is_folder: bool, exclude: Sequence[str]) -> str | None:
    """Return why a file, or a folder with all that is in it, is passed over; None if it is not.

    Args:
        relative: path below the source.
        is_folder: whether it is a folder.
        exclude: globs, as `PurePath.match` takes them: without a slash they match the name, with one the last parts of
            the path.
    """
    kind = "folder" if is_folder else "file"
    if relative.name.startswith("."):  # AppleDouble files, ._NAME, among them
        return f"a hidden {kind}"
    if is_folder and relative.name.lower() in _SYSTEM_FOLDERS:
        return "a system folder"
    glob = next((glob for glob in exclude if relative.match(glob)), None)
    return None if glob is None else f"excluded by {glob}"


def check_globs(globs: Sequence[str]) -> None:
    """Refuse an empty glob.

    Raises:
        UserError: a glob is empty.
    """
    for glob in globs:
        if not PurePosixPath(glob).parts:
            raise UserError(f"exclude: {glob!r} is no glob; write a name or a path with wildcards, such as *.gif")


def kind_of(path: Readable) -> tuple[Status, str | None]:
    """Return the status of a regular file, and why it is not a photo or is refused; None for photos.

    The first bytes decide. A file that is only named like a picture is a photo, or refused, so that it is not missed.
    """
    try:
        with open_regular(path) as file:
            head = file.read(HEAD)
    except OSError as error:
        if path.suffix.lower() in SUFFIXES:
            return "photo", None  # the same error will be recorded when it is read
        status: Status = "refused" if is_named_like_a_picture(path.suffix) else "not-a-photo"
        return status, f"cannot be read: {error.strerror}"
    found, reason = format_of(head), reason_not_read(head)
    named = is_named_like_a_picture(path.suffix)
    if found is None:
        if path.suffix.lower() in SUFFIXES:
            return "photo", None  # damaged, or no picture: its reason will be recorded when it is read
        return ("refused", f"named like a picture ({path.suffix}), but of no known format") if named else _NO_PICTURE
    if found.name == TIFF and is_named_like_raw(path.suffix):  # the TIFF is a preview
        return "refused", "not a supported format (camera RAW)"
    if reason is None:
        return "photo", None
    return ("refused", reason) if found.is_picture or named else _NO_PICTURE
