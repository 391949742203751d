"""Open a labelled dataset by `KIND:PATH`, and match its labels to the classes of a model."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from onlymymodel.data.affectnet import expression_noun, load_affectnet
from onlymymodel.data.attributes import AttributeLabels
from onlymymodel.data.celeba import load_celeba
from onlymymodel.data.celeba_hq import load_celeba_hq
from onlymymodel.data.class_folders import load_class_folders
from onlymymodel.data.imagenet import load_imagenet
from onlymymodel.data.labelled import Dataset, Item, quoted, refuse_split
from onlymymodel.data.labels import read_labels
from onlymymodel.data.nips2017 import load_nips2017
from onlymymodel.data.regular_file import is_file, is_folder
from onlymymodel.data.tables import Problems, add_once, inner_path, integer, read_csv
from onlymymodel.errors import UserError, number_of

__all__ = ["KINDS", "Dataset", "Item", "attributes_for", "labels_for", "open_dataset"]

_CODE = re.compile(r"[0-9]+|n[0-9]{8}")  # a number or a wnid: identifies a class, but is not its name
_INTEGER = re.compile(r"[+-]?[0-9]+")
_MAX_INDEX = 99_999
_FILES_OR_FOLDERS = ("celeba",)
Parts = tuple[str, ...]


def open_dataset(spec: str, *, split: str | None = None) -> Dataset:
    """Open a labelled dataset; no picture is read.

    Args:
        spec: `KIND:PATH`, e.g. "imagenet:data/ILSVRC"; see KINDS. PATH may also be the folder of one split.
        split: `val`, `test`, `train`, ... if the dataset has splits; by default the one to evaluate on (val, test),
            else train.

    Raises:
        UserError: unknown kind; the dataset is missing, incomplete or broken.
    """
    kind, colon, location = spec.partition(":")
    if not colon or not location:
        raise UserError(f"dataset {spec!r} is not of the form KIND:PATH; KIND is one of {', '.join(KINDS)}.")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind.lower(), KINDS, n=1, cutoff=0.5)
        meant = f"did you mean {near[0]}?" if near else f"known are {', '.join(KINDS)}."
        raise UserError(f"dataset {spec!r}: unknown kind {kind!r}; {meant}")
    path = Path(location).expanduser()
    if not is_file(path) and not is_folder(path):
        raise UserError(f"dataset {spec!r}: {location} does not exist.")
    if kind not in _FILES_OR_FOLDERS and path.is_dir() == (kind == "csv"):
        raise UserError(f"dataset {spec!r}: {location} is not a {'file' if kind == 'csv' else 'folder'}.")
    return KINDS[kind](path, split)


def labels_for(
    dataset: Dataset, *, photos: Sequence[str], classes: Sequence[str] | None, n_classes: int
) -> dict[str, int]:
    """Return the authorized model's class index for each photo that the dataset labels.

    A photo is matched to the picture of the dataset with the same path, or whose path ends with the photo's (the source
    is inside the dataset), or that the photo's path ends with (the dataset is inside the source). Classes are matched
    by name, regardless of case; by index if the model has no names, or if the dataset has only codes (numbers, wnids)
    that the model does not use. Then both must have the same number of classes. `read_labels` reads a `csv:` dataset.

    Args:
        dataset: the labelled dataset.
        photos: relative POSIX paths of the photos below the source folder. Photos without a picture get no label.
        classes: the model's class names; None if it has none.
        n_classes: number of the model's classes.

    Raises:
        UserError: no photo is in the dataset, a photo matches several pictures, or a class has no counterpart.
        ValueError: `classes` and `n_classes` contradict each other.
    """
    if classes is not None and len(classes) != n_classes:
        raise ValueError(f"{len(classes)} class names for {n_classes} classes")
    if dataset.table is not None:
        return read_labels(dataset.table, photos=photos, classes=classes, n_classes=n_classes)
    items = _match_photos(dataset, photos)
    used = sorted({item.label for item in items.values()})
    index = _by_name(dataset, used, classes) if classes else None
    if index is None:
        _check_by_index(dataset, n_classes)
        return {name: item.label for name, item in items.items()}
    return {name: index[item.label] for name, item in items.items()}


def attributes_for(dataset: Dataset, *, photos: Sequence[str]) -> AttributeLabels:
    """Return the attributes of each photo that the dataset labels, matched as in `labels_for`.

    Args:
        dataset: one that has attributes.
        photos: see `labels_for`.

    Raises:
        UserError: no photo is in the dataset, or a photo matches several pictures.
    """
    items = _match_photos(dataset, photos)
    return AttributeLabels(dataset.attributes, {name: item.label for name, item in items.items()})


def _match_photos(dataset: Dataset, photos: Sequence[str]) -> dict[str, Item]:
    """Return the picture of the dataset for each photo that has one."""
    by_path = {_parts(item.path.as_posix()): item for item in dataset.items}
    items: dict[str, Item] = {}
    rest: dict[str, Parts] = {}
    for name in photos:
        parts = _parts(name)
        ends = (parts[start:] for start in range(len(parts)))
        item = next((by_path[end] for end in ends if end in by_path), None)
        if item is None:
            rest[name] = parts
        else:
            items[name] = item
    by_end = _by_path_end(by_path, {len(parts) for parts in rest.values()})
    several = [name for name, parts in rest.items() if len(by_end.get(parts, ())) > 1]
    items |= {name: by_end[parts][0] for name, parts in rest.items() if parts in by_end}
    claims = Counter(item.path for item in items.values())
    several += [name for name, item in items.items() if claims[item.path] > 1 and name not in rest]
    if several:
        raise UserError(
            f"{dataset.root}: {number_of(len(several), 'photo matches', 'photos match')} several of its pictures: "
            f"{quoted(several)}; give the folder that the photos are in."
        )
    if photos and not items:
        raise UserError(f"{dataset.root} has none of the {len(photos)} photos (the first is {photos[0]!r}).")
    return items


def _by_path_end(by_path: Mapping[Parts, Item], lengths: Iterable[int]) -> dict[Parts, list[Item]]:
    """Return the pictures by the last parts of their paths, for ends of the given lengths."""
    by_end: defaultdict[Parts, list[Item]] = defaultdict(list)
    for length in lengths:
        for parts, item in by_path.items():
            if len(parts) > length:
                by_end[parts[-length:]].append(item)
    return dict(by_end)


def _parts(path: str) -> Parts:
    # macOS stores names decomposed, tables have them composed: both mean the same file
    return tuple(unicodedata.normalize("NFC", path).split("/"))


def _by_name(dataset: Dataset, used: Iterable[int], classes: Sequence[str]) -> dict[int, int] | None:
    """Return the model's class index of the same name by label, or None if the dataset has only codes."""
    word = expression_noun if dataset.name == "affectnet" else _plain
    indices: defaultdict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(classes):
        indices[word(name)].append(index)
    matches = {label: indices.get(word(dataset.classes[label]), []) for label in used}
    if not any(matches.values()) and all(map(_CODE.fullmatch, dataset.classes)):
        return None
    unknown = [dataset.classes[label] for label, equal in matches.items() if not equal]
    several = [dataset.classes[label] for label, equal in matches.items() if len(equal) > 1]
    if unknown:
        raise UserError(f"{dataset.root} has {len(unknown)} class(es) that the model does not have: {quoted(unknown)}.")
    if several:
        raise UserError(f"The model has more than one class of the name {quoted(several)}.")
    return {label: equal[0] for label, equal in matches.items()}


def _check_by_index(dataset: Dataset, n_classes: int) -> None:
    """Raise UserError if equal indices cannot mean equal classes."""
    classes = dataset.classes
    if len(classes) != n_classes:
        raise UserError(
            f"{dataset.root} has {len(classes)} classes and the model {n_classes}, so they cannot be matched by "
            "index; give the model its class names (labels=FILE)."
        )
    numbers = [integer(name, 0, _MAX_INDEX) for name in classes]
    if numbers != list(range(n_classes)) and set(numbers) == set(range(n_classes)):
        raise UserError(
            f"{dataset.root} has folders 0 to {n_classes - 1}, which are not in this order when sorted as text; "
            "pad their numbers with zeros, or give the model its class names (labels=FILE)."
        )


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _load_csv(table: Path, split: str | None) -> Dataset:
    """Read a table of file and label; classes are its names, sorted, or, where all are numbers, 0 to the highest."""
    refuse_split("csv", split)
    labels: dict[str, str] = {}
    left_out, problems = Counter[str](), Problems(table)
    for line, (file, label) in read_csv(table, ("file", "label")):
        path = inner_path(file.replace("\\", "/"))
        if path is None:
            problems.add("unsafe file name", file, line)
        elif not label:
            problems.add("no label", file, line)
        elif _INTEGER.fullmatch(label) and integer(label, 0, _MAX_INDEX) is None:
            problems.add("negative or huge indices", label, line)
        elif not add_once(labels, path.as_posix(), label, left_out):
            problems.add("more than one label for a file", file, line)
    problems.raise_if_any()
    if not labels:
        raise UserError(f"{table} lists no picture.")
    if all(map(_INTEGER.fullmatch, labels.values())):
        classes = tuple(map(str, range(max(map(int, labels.values())) + 1)))
        items = [Item(PurePosixPath(file), int(label)) for file, label in labels.items()]
    else:
        classes = tuple(sorted(set(labels.values())))
        index = {name: number for number, name in enumerate(classes)}
        items = [Item(PurePosixPath(file), index[label]) for file, label in labels.items()]
    return Dataset("csv", table.parent, classes, tuple(items), left_out, table)


KINDS: dict[str, Callable[[Path, str | None], Dataset]] = {
    "imagenet": load_imagenet,
    "nips2017": load_nips2017,
    "celeba_hq": load_celeba_hq,
    "celeba": load_celeba,
    "affectnet": load_affectnet,
    "folders": load_class_folders,
    "csv": _load_csv,
}
