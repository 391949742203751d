"""A labelled set of pictures: what every dataset loader answers, and the folder listing that they share."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from onlymymodel.data.image_io import SUFFIXES
from onlymymodel.errors import UserError

_SHOWN = 10


@dataclass(frozen=True)
class Item:
    """One labelled picture.

    path: below the dataset's root. label: index into the dataset's classes. box: the face in whole pixels,
    (left, top, right, bottom) with right and bottom outside; None where the set has none.
    """

    path: PurePosixPath
    label: int
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Dataset:
    """A labelled set whose pictures have been seen on disk, but not opened.

    name: its kind, e.g. `imagenet`. classes: names or codes (wnids, identity numbers) in index order.
    items: in a fixed order. left_out: reason -> how many entries were left out for it.
    table: the CSV table behind a `csv:` set; its files are named from the photos' folder and not looked for.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    left_out: Mapping[str, int]
    table: Path | None = None


@dataclass(frozen=True)
class Listing:
    """The names in one folder, sorted: folders, pictures (by suffix), and how many others for each reason."""

    folders: tuple[str, ...]
    pictures: tuple[str, ...]
    others: Mapping[str, int]


def list_folder(folder: Path) -> Listing:
    """List `folder` once; links are followed, nothing is opened.

    Raises UserError where there is no such folder or it may not be read.
    """
    folders, pictures, others = [], [], Counter[str]()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    others["hidden"] += 1
                elif entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file() and PurePosixPath(entry.name).suffix.lower() in SUFFIXES:
                    pictures.append(entry.name)
                else:
                    others["not a picture"] += 1
    except FileNotFoundError as error:
        raise UserError(f"{folder} is missing.") from error
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}.") from error
    return Listing(tuple(sorted(folders)), tuple(sorted(pictures)), others)


def require_all(root: Path, missing: Sequence[PurePosixPath]) -> None:
    """Raise UserError that names the first of the `missing` files and how many more there are."""
    if missing:
        more = f", and so are {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{root} is not complete: {missing[0]} is missing{more}.")


def missing_pictures(root: Path, paths: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """Return those of `paths` (below `root`) that are no files, in their order, with one listing a folder."""
    wanted = list(paths)
    there: set[PurePosixPath] = set()
    for folder in {path.parent for path in wanted}:
        with contextlib.suppress(OSError):  # a folder that is not there, or whose name no disk could hold
            there.update(folder / path.name for path in (root / folder).iterdir())
    return [path for path in wanted if path not in there]


def no_splits(kind: str, split: str | None) -> None:
    """Raise UserError where a split of a set that has none is asked for."""
    if split is not None:
        raise UserError(f"{kind}: this set is not divided into splits; leave out the split {split!r}.")


def split_prefix(root: Path, split: str | None, places: Mapping[str, Sequence[str]]) -> PurePosixPath:
    """Return the folder of a split below `root`, "." where `root` is the split's own folder.

    places: split -> its folder names, the first of them the usual one. Without a `split` it is the first one
    that is there, else `root` itself.

    Raises UserError where there is no such split.
    """
    if split is not None and split not in places:
        raise UserError(f"{root} has no split {split!r}; it is one of {', '.join(places)}.")
    for name in (name for key in ([split] if split else places) for name in places[key]):
        if (root / name).is_dir():
            return PurePosixPath(name)
    if split is not None and root.name not in places[split]:
        raise UserError(f"{root} is not complete: {places[split][0]} is missing.")
    return PurePosixPath()


def shown(names: Iterable[str]) -> str:
    """Return the first names, quoted and cut short, and `...` for the rest."""
    listed = [repr(name if len(name) <= 80 else name[:80] + "...") for name in names]
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
