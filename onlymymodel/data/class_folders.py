"""A folder for each class, the way torchvision's ImageFolder has it: index = order of the sorted folder names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from onlymymodel.data.labelled import Dataset, Item, list_folder
from onlymymodel.errors import UserError


def load_class_folders(root: Path, split: str | None) -> Dataset:
    """Read `root/CLASS/PICTURE`, or `root/SPLIT/CLASS/PICTURE` where a split (any folder name) is given.

    Raises UserError where there is no class folder, or where one has no picture.
    """
    if split is not None and (not split or split != Path(split).name or split.startswith(".")):
        raise UserError(f"folders: the split {split!r} is no folder's name.")
    prefix = PurePosixPath(split or ".")
    listing = list_folder(root / prefix)
    if not listing.folders:
        raise UserError(f"{root / prefix} has no folders; folders: wants one for each class.")
    left_out = Counter(listing.others)
    if listing.pictures:
        left_out["not in a class folder"] = len(listing.pictures)
    items = items_in(root, ((prefix / name, label) for label, name in enumerate(listing.folders)), left_out)
    return Dataset("folders", root, listing.folders, tuple(items), left_out)


def items_in(root: Path, folders: Iterable[tuple[PurePosixPath, int]], left_out: Counter[str]) -> list[Item]:
    """Return the pictures that lie in `folders`, (path below `root`, label) each; what else is there is counted.

    Raises UserError that names the first folder without a picture and how many more there are: so look
    downloads that were cut off.
    """
    items: list[Item] = []
    empty: list[PurePosixPath] = []
    nested = False
    for folder, label in folders:
        listing = list_folder(root / folder)
        items += [Item(folder / name, label) for name in listing.pictures]
        left_out.update(listing.others)
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
