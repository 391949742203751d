"""CelebA-HQ by identity: CelebAMask-HQ with CelebA's identity list, or a folder for each identity."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from onlymymodel.data.celeba_identities import IDENTITY_TABLES, MAX_NUMBER, identity_table, read_identities
from onlymymodel.data.class_folders import read_class_folders
from onlymymodel.data.labelled import (
    Dataset,
    Item,
    list_folder,
    missing_pictures,
    refuse_split,
    require_all,
    split_prefix,
)
from onlymymodel.data.tables import Problems, add_once, inner_path, integer, read_words
from onlymymodel.errors import UserError

SPLITS = {"test": ("test",), "train": ("train",)}
_PICTURES = PurePosixPath("CelebA-HQ-img")
_MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"


def load_celeba_hq(root: Path, split: str | None) -> Dataset:
    """Load CelebA-HQ in either layout; classes are CelebA's identity numbers, sorted as text.

    CelebAMask-HQ: `CelebA-HQ-img/0.jpg`, ... with CelebA-HQ-to-CelebA-mapping.txt (idx, orig_idx, orig_file)
    and identity_CelebA.txt (orig_file, identity) of CelebA. It has no splits.

    Folders: `train/IDENTITY/PICTURE` and `test/IDENTITY/PICTURE`, as in the subset of 307 identities that
    github.com/ndb796/CelebA-HQ-Face-Identity-and-Attributes-Recognition-PyTorch makes and, through
    torchvision's ImageFolder, numbers by names sorted as text ("1000" before "33").

    Raises:
        UserError: a file is missing or wrong.
    """
    if (root / _MAPPING).is_file() or (root / _PICTURES).is_dir():
        refuse_split("celeba_hq", split)
        return _mask_hq(root)
    return _folders(root, split)


def _folders(root: Path, split: str | None) -> Dataset:
    prefix = split_prefix(root, split, SPLITS)
    listing = list_folder(root / prefix)
    if not listing.folders:
        raise UserError(f"{root} is not complete: {prefix / 'IDENTITY'} and {_MAPPING} are missing, one is needed.")
    left_out = Counter(listing.ignored)
    if listing.pictures:
        left_out["not in an identity's folder"] = len(listing.pictures)
    # an identity that one split lacks must not shift the indices of the following ones
    siblings = [root / name for names in SPLITS.values() for name in names if prefix.parts and (root / name).is_dir()]
    identities = set(listing.folders).union(*(list_folder(folder).folders for folder in siblings))
    classes = tuple(sorted(identities))
    index = {identity: number for number, identity in enumerate(classes)}
    items = read_class_folders(root, ((prefix / name, index[name]) for name in listing.folders), left_out)
    return Dataset("celeba_hq", root, classes, tuple(items), left_out)


def _mask_hq(root: Path) -> Dataset:
    left_out = Counter[str]()
    originals = _originals(root / _MAPPING, left_out)
    table = identity_table(root) or root / IDENTITY_TABLES[0]
    identities = read_identities(table)
    unknown = [name for name in originals.values() if name not in identities]
    if unknown:
        more = f", nor have {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UserError(f"{table} is not complete: {unknown[0]} has no identity there{more}.")
    require_all(root, missing_pictures(root, originals))
    listing = list_folder(root / _PICTURES)
    left_out.update(listing.ignored)
    unlisted = sum(_PICTURES / name not in originals for name in listing.pictures)
    if unlisted:
        left_out[f"not in {_MAPPING}"] = unlisted
    classes = tuple(sorted({identities[name] for name in originals.values()}))
    index = {identity: number for number, identity in enumerate(classes)}
    items = tuple(Item(path, index[identities[name]]) for path, name in originals.items())
    return Dataset("celeba_hq", root, classes, items, left_out)


def _originals(table: Path, left_out: Counter[str]) -> dict[PurePosixPath, str]:
    """Return the name of each picture in CelebA."""
    originals: dict[PurePosixPath, str] = {}
    problems = Problems(table)
    for line, (number, _, original, *_) in read_words(table, 3):
        if number == "idx":
            continue
        index = integer(number, 0, MAX_NUMBER)
        path = _PICTURES / f"{index}.jpg"
        if index is None:
            problems.add("not a picture's number", number, line)
        elif inner_path(original) is None:
            problems.add("unsafe file name", original, line)
        elif not add_once(originals, path, original, left_out):
            problems.add("more than one original for a picture", number, line)
    problems.raise_if_any()
    if not originals:
        raise UserError(f"{table} lists no picture.")
    return originals
