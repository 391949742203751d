"""Datasets with a folder for each class, as torchvision's ImageFolder: indices follow the sorted folder names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from onlymymodel.data.labelled import Dataset, Item, list_folder
from onlymymodel.errors import UserError


def load_class_folders(root: Path, split: str | None) -> Dataset:
    """Load `root/CLASS/PICTURE`, or `root/SPLIT/CLASS/PICTURE` if a split (any folder name) is given.

    Raises:
        UserError: there is no class folder, or one has no picture.
    """
    if split is not None and (not split or split != Path(split).name or split.startswith(".")):
        raise UserError(f"folders: the split {split!r} is not the name of a folder.")
    prefix = PurePosixPath(split or ".")
    listing = list_folder(root / prefix)
    if not listing.folders:
        raise UserError(f"{root / prefix} has no folders; folders: needs one for each class.")
    left_out = Counter(listing.ignored)
    if listing.pictures:
        left_out["not in a class folder"] = len(listing.pictures)
    items = read_class_folders(root, ((prefix / name, label) for label, name in enumerate(listing.folders)), left_out)
    return Dataset("folders", root, listing.folders, tuple(items), left_out)


def read_class_folders(root: Path, folders: Iterable[tuple[PurePosixPath, int]], left_out: Counter[str]) -> list[Item]:
    """Return the pictures in class folders, and count in `left_out` what else the folders have.

    Args:
        root: folder of the dataset.
        folders: (path below `root`, label) of each class folder.
        left_out: number of omitted entries by reason; updated.

    Raises:
        UserError: a folder has no picture, as after an incomplete download.
    """
    items: list[Item] = []
    empty: list[PurePosixPath] = []
    nested = False
    for folder, label in folders:
        listing = list_folder(root / folder)
        items += [Item(folder / name, label) for name in listing.pictures]
        left_out.update(listing.ignored)
        if listing.folders:
            left_out["a folder inside a class folder"] += len(listing.folders)
        if not listing.pictures:
            empty.append(folder)
            nested = nested or bool(listing.folders)
    if empty:
        more = f", nor have {len(empty) - 1} more" if len(empty) > 1 else ""
        hint = "; it has folders of its own: go one folder down, or give a split" if nested else ""
        raise UserError(f"{root / empty[0]} has no pictures{more}{hint}.")
    return items
