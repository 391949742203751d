"""ImageNet-1k (ILSVRC 2012): class folders, or the validation pictures as they come with the development kit."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path, PurePosixPath

from onlymymodel.data.class_folders import items_in
from onlymymodel.data.labelled import Dataset, Item, Listing, list_folder, missing_pictures, require_all, split_prefix
from onlymymodel.data.mat_file import MatError, read_struct_array
from onlymymodel.data.tables import Problems, integer, read_words
from onlymymodel.errors import UserError

SPLITS = {"val": ("val", "ILSVRC2012_img_val"), "train": ("train", "ILSVRC2012_img_train")}
CLASSES = 1000
_KIT = "ILSVRC2012_devkit_t12"
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_WNID = re.compile(r"n[0-9]{8}")
_FLAT = re.compile(r"ILSVRC2012_val_[0-9]{8}\.JPEG")


def load_imagenet(root: Path, split: str | None) -> Dataset:
    """Read either layout below `root` or in the folder of one split; classes are wnids, sorted, 1,000 of them.

    Class folders: `val/n01440764/*.JPEG`, `train/...`, also what torchvision's ImageNet unpacks. Where fewer
    than the 1,000 classes are there, each keeps its place among the 1,000.

    Flat: `val/ILSVRC2012_val_00000001.JPEG`, ... with `ILSVRC2012_devkit_t12/data/`: its ground truth has an
    ILSVRC2012_ID from 1 for each picture, which its meta.mat translates into wnids. These ids follow another
    order than the sorted wnids.

    Raises UserError where a file is missing or wrong.
    """
    prefix = split_prefix(root, split, SPLITS)
    listing = list_folder(root / prefix)
    folders = [name for name in listing.folders if _WNID.fullmatch(name)]
    flat = [name for name in listing.pictures if _FLAT.fullmatch(name)]
    if folders and flat:
        raise UserError(f"{root / prefix} is sorted into class folders only in part: {flat[0]} is in none.")
    if folders:
        return _class_folders(root, prefix, listing, folders)
    if not flat:
        wanted = f"{prefix / 'n01440764'} and {prefix / 'ILSVRC2012_val_00000001.JPEG'}"
        raise UserError(f"{root} is not complete: {wanted} are missing, one is needed.")
    return _flat(root, prefix, listing, flat)


def _class_folders(root: Path, prefix: PurePosixPath, listing: Listing, folders: list[str]) -> Dataset:
    left_out = Counter(listing.others)
    for reason, count in (
        ("not in a class folder", len(listing.pictures)),
        ("a folder that is no wnid", len(listing.folders) - len(folders)),
    ):
        if count:
            left_out[reason] = count
    classes = _all_classes(folders)
    index = {wnid: number for number, wnid in enumerate(classes)}
    items = items_in(root, ((prefix / wnid, index[wnid]) for wnid in folders), left_out)
    return Dataset("imagenet", root, classes, tuple(items), left_out)


def _all_classes(wnids: list[str]) -> tuple[str, ...]:
    """Return the 1,000 classes if `wnids` are among them, else `wnids` themselves, sorted (an ImageNet of others)."""
    if len(wnids) != CLASSES:
        from timm.data.imagenet_info import ImageNetInfo  # slow, and only needed where classes are absent

        known: list[str] = ImageNetInfo("imagenet-1k").label_names()
        if set(wnids) <= set(known):
            return tuple(known)
    return tuple(sorted(wnids))


def _flat(root: Path, prefix: PurePosixPath, listing: Listing, flat: list[str]) -> Dataset:
    kit = _development_kit(root, prefix)
    by_id = read_wnids(kit / "meta.mat")
    truth = _read_truth(kit / _TRUTH, len(by_id))
    paths = [prefix / f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, len(truth) + 1)]
    require_all(root, missing_pictures(root, paths))
    if len(flat) > len(paths):
        raise UserError(f"{kit / _TRUTH} is not complete: it has {len(paths)} lines for {len(flat)} pictures.")
    left_out = Counter(listing.others)
    if len(listing.pictures) > len(flat):
        left_out["not a validation picture"] = len(listing.pictures) - len(flat)
    classes = tuple(sorted(by_id))
    index = {wnid: number for number, wnid in enumerate(classes)}
    items = tuple(Item(path, index[by_id[number - 1]]) for path, number in zip(paths, truth, strict=True))
    return Dataset("imagenet", root, classes, items, left_out)


def _development_kit(root: Path, prefix: PurePosixPath) -> Path:
    """Return the kit's folder of data: below `root`, or beside it where `root` is the folder of the pictures."""
    homes = [root] if prefix.parts else [root, root.absolute().parent]
    for home in homes:
        if (home / _KIT).is_dir():
            return home / _KIT / "data"
    for home in homes:
        if (home / f"{_KIT}.tar.gz").is_file():
            raise UserError(f"{home / _KIT}.tar.gz is still packed; unpack it in {home}.")
    raise UserError(f"{root} is not complete: {_KIT}/data/{_TRUTH} is missing.")


def _read_truth(path: Path, classes: int) -> list[int]:
    """Return the ILSVRC2012_ID of each validation picture."""
    problems = Problems(path)
    ids: list[int] = []
    for line, words in read_words(path, 1):
        number = integer(words[0], 1, classes) if len(words) == 1 else None
        if number is None:
            problems.add(f"no id from 1 to {classes}", " ".join(words), line)
        elif line != len(ids) + 1:
            problems.add("an empty line before", words[0], line)
        else:
            ids.append(number)
    problems.settle()
    return ids


def read_wnids(path: Path) -> tuple[str, ...]:
    """Return the wnids of a development kit's meta.mat in the order of ILSVRC2012_ID, from 1.

    The table `synsets` also has the inner nodes of the tree, behind the classes; these have num_children 0.

    Raises UserError where the file is missing or is no such table.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing.")
    try:
        rows = read_struct_array(path, "synsets", ("ILSVRC2012_ID", "WNID", "num_children"))
    except MatError as error:
        raise UserError(f"{path} is not the meta.mat of the development kit: {error}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    classes = [(number, str(wnid)) for number, wnid, children in rows if children == 0]
    by_id = dict(classes)
    if not classes or set(by_id) != set(range(1, len(classes) + 1)):
        raise UserError(f"{path} does not number its classes from 1.")
    wnids = tuple(by_id[float(number)] for number in range(1, len(classes) + 1))
    if len(set(wnids)) != len(wnids) or not all(map(_WNID.fullmatch, wnids)):
        raise UserError(f"{path} does not name its classes by different wnids.")
    return wnids
