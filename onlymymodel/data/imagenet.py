"""ImageNet-1k (ILSVRC 2012) as class folders, or as the flat validation pictures with the development kit."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path, PurePosixPath

from onlymymodel.data.class_folders import read_class_folders
from onlymymodel.data.labelled import Dataset, Item, Listing, list_folder, missing_pictures, require_all, split_prefix
from onlymymodel.data.tables import Problems, integer, read_words
from onlymymodel.errors import UserError

SPLITS = {"val": ("val", "ILSVRC2012_img_val"), "train": ("train", "ILSVRC2012_img_train")}
CLASSES = 1000
_KIT = "ILSVRC2012_devkit_t12"
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_WNID = re.compile(r"n[0-9]{8}")
_FLAT = re.compile(r"ILSVRC2012_val_[0-9]{8}\.JPEG")


def load_imagenet(root: Path, split: str | None) -> Dataset:
    """Load ImageNet in either layout, from `root` or the folder of one split; classes are the 1,000 wnids, sorted.

    Class folders: `val/n01440764/*.JPEG`, `train/...`, also what torchvision's ImageNet unpacks. Where some of the
    1,000 classes are absent, the others keep their index among the 1,000.

    Flat: `val/ILSVRC2012_val_00000001.JPEG`, ... with `ILSVRC2012_devkit_t12/data/`: its ground truth has an
    ILSVRC2012_ID from 1 to 1,000 for each picture. The order of these ids is not that of the sorted wnids; see
    `ilsvrc2012_wnids`.

    Raises:
        UserError: a file is missing or wrong.
    """
    prefix = split_prefix(root, split, SPLITS)
    listing = list_folder(root / prefix)
    folders = [name for name in listing.folders if _WNID.fullmatch(name)]
    flat = [name for name in listing.pictures if _FLAT.fullmatch(name)]
    if folders and flat:
        raise UserError(f"{root / prefix} is only partly sorted into class folders: {flat[0]} is in none.")
    if folders:
        return _class_folders(root, prefix, listing, folders)
    if not flat:
        wanted = f"{prefix / 'n01440764'} and {prefix / 'ILSVRC2012_val_00000001.JPEG'}"
        raise UserError(f"{root} is not complete: {wanted} are missing, one is needed.")
    return _flat(root, prefix, listing, flat)


def _class_folders(root: Path, prefix: PurePosixPath, listing: Listing, folders: list[str]) -> Dataset:
    left_out = Counter(listing.ignored)
    for reason, count in (
        ("not in a class folder", len(listing.pictures)),
        ("a folder that is not a wnid", len(listing.folders) - len(folders)),
    ):
        if count:
            left_out[reason] = count
    classes = _all_classes(folders)
    index = {wnid: number for number, wnid in enumerate(classes)}
    items = read_class_folders(root, ((prefix / wnid, index[wnid]) for wnid in folders), left_out)
    return Dataset("imagenet", root, classes, tuple(items), left_out)


def _all_classes(wnids: list[str]) -> tuple[str, ...]:
    """Return the 1,000 classes if `wnids` are among them, else `wnids` themselves (another ImageNet), sorted."""
    if len(wnids) != CLASSES:
        all_wnids = ilsvrc2012_wnids()
        if set(wnids) <= set(all_wnids):
            return tuple(sorted(all_wnids))
    return tuple(sorted(wnids))


def _flat(root: Path, prefix: PurePosixPath, listing: Listing, flat: list[str]) -> Dataset:
    kit = _development_kit(root, prefix)
    truth = _read_truth(kit / _TRUTH)
    paths = [prefix / f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, len(truth) + 1)]
    require_all(root, missing_pictures(root, paths))
    if len(flat) > len(paths):
        raise UserError(f"{kit / _TRUTH} is not complete: it has {len(paths)} lines for {len(flat)} pictures.")
    left_out = Counter(listing.ignored)
    if len(listing.pictures) > len(flat):
        left_out["not a validation picture"] = len(listing.pictures) - len(flat)
    by_id = ilsvrc2012_wnids()
    classes = tuple(sorted(by_id))
    index = {wnid: number for number, wnid in enumerate(classes)}
    items = tuple(Item(path, index[by_id[number - 1]]) for path, number in zip(paths, truth, strict=True))
    return Dataset("imagenet", root, classes, items, left_out)


def _development_kit(root: Path, prefix: PurePosixPath) -> Path:
    """Return the kit's folder of data: below `root`, or beside it if `root` is the folder of the pictures."""
    folders = [root] if prefix.parts else [root, root.absolute().parent]
    for folder in folders:
        if (folder / _KIT).is_dir():
            return folder / _KIT / "data"
    for folder in folders:
        if (folder / f"{_KIT}.tar.gz").is_file():
            raise UserError(f"{folder / _KIT}.tar.gz is still packed; unpack it in {folder}.")
    raise UserError(f"{root} is not complete: {_KIT}/data/{_TRUTH} is missing.")


def _read_truth(path: Path) -> list[int]:
    """Return the ILSVRC2012_ID of each validation picture."""
    problems = Problems(path)
    ids: list[int] = []
    for line, words in read_words(path, 1):
        number = integer(words[0], 1, CLASSES) if len(words) == 1 else None
        if number is None:
            problems.add(f"not an id from 1 to {CLASSES}", " ".join(words), line)
        elif line != len(ids) + 1:
            problems.add("an empty line before", words[0], line)
        else:
            ids.append(number)
    problems.raise_if_any()
    return ids


@cache
def ilsvrc2012_wnids() -> tuple[str, ...]:
    """Return the wnids of the 1,000 classes in the order of ILSVRC2012_ID: number 1 comes first."""
    lines = Path(__file__).with_name("ilsvrc2012_wnids.txt").read_text(encoding="ascii").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))
