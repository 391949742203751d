"""Records of a labelled dataset, which every loader returns, and the folder listing that the loaders share."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from onlymymodel.data.file_signatures import SUFFIXES
from onlymymodel.errors import UserError

_SHOWN = 10


@dataclass(frozen=True)
class Item:
    """One labelled picture.

    Attributes:
        path: path below the dataset's root.
        label: index into the dataset's classes; the code of its attributes in a dataset that has them.
        box: the face in whole pixels, (left, top, right, bottom) with right and bottom exclusive; None if the dataset
            has no boxes.
    """

    path: PurePosixPath
    label: int
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Dataset:
    """A labelled dataset. Its pictures exist on the disk, but have not been opened.

    Attributes:
        name: kind of the dataset, e.g. `imagenet`.
        root: folder of the dataset.
        classes: names or codes (wnids, identity numbers) in index order.
        items: the pictures, in a fixed order.
        left_out: number of omitted entries by reason.
        table: the CSV table of a `csv:` dataset, None for the others; its files are named relative to the photos'
            folder, and it is not checked that they exist.
        attributes: names of the attributes, in the order of the bits of a label, see `attributes.encode`; empty for a
            dataset of classes.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    left_out: Mapping[str, int]
    table: Path | None = None
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """Sorted names in one folder: folders, pictures (by suffix), and the number of other files by reason."""

    folders: tuple[str, ...]
    pictures: tuple[str, ...]
    ignored: Mapping[str, int]


def list_folder(folder: Path) -> Listing:
    """List `folder` once; links are followed, no file is opened.

    Raises:
        UserError: the folder does not exist or cannot be read.
    """
    folders, pictures, ignored = [], [], Counter[str]()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    ignored["hidden"] += 1
                elif entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file() and PurePosixPath(entry.name).suffix.lower() in SUFFIXES:
                    pictures.append(entry.name)
                else:
                    ignored["not a picture"] += 1
    except FileNotFoundError as error:
        raise UserError(f"{folder} is missing.") from error
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}.") from error
    return Listing(tuple(sorted(folders)), tuple(sorted(pictures)), ignored)


def require_all(root: Path, missing: Sequence[PurePosixPath]) -> None:
    """Raise UserError with the first of the `missing` files and the number of the others, if any is missing."""
    if missing:
        more = f", and so are {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{root} is not complete: {missing[0]} is missing{more}.")


def missing_pictures(root: Path, paths: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """Return those of `paths` (below `root`) that do not exist, in their order; each folder is listed once."""
    wanted = list(paths)
    existing: set[PurePosixPath] = set()
    for folder in {path.parent for path in wanted}:
        with contextlib.suppress(OSError):  # a missing folder, or a name that no disk could hold
            existing.update(folder / path.name for path in (root / folder).iterdir())
    return [path for path in wanted if path not in existing]


def refuse_split(kind: str, split: str | None) -> None:
    """Raise UserError if a split is given for a dataset that has none."""
    if split is not None:
        raise UserError(f"{kind}: this dataset has no splits; leave out the split {split!r}.")


def split_prefix(root: Path, split: str | None, folders: Mapping[str, Sequence[str]]) -> PurePosixPath:
    """Return the folder of a split below `root`, "." if `root` is the split's own folder.

    Args:
        root: folder of the dataset, or of the split.
        split: name of the split; None for the first that exists, else `root` itself.
        folders: folder names of each split, the usual one first.

    Raises:
        UserError: there is no such split.
    """
    if split is not None and split not in folders:
        raise UserError(f"{root} has no split {split!r}; it is one of {', '.join(folders)}.")
    for name in (name for key in ([split] if split else folders) for name in folders[key]):
        if (root / name).is_dir():
            return PurePosixPath(name)
    if split is not None and root.name not in folders[split]:
        raise UserError(f"{root} is not complete: {folders[split][0]} is missing.")
    return PurePosixPath()


def quoted(names: Iterable[str]) -> str:
    """Return the first names, quoted and shortened, with `...` for the rest."""
    listed = [repr(name if len(name) <= 80 else name[:80] + "...") for name in names]
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
