"""The door to labelled sets: `KIND:PATH` in, pictures and labels out; and the labels of a model's own classes."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from onlymymodel.data.affectnet import load_affectnet, meaning
from onlymymodel.data.celeba_hq import load_celeba_hq
from onlymymodel.data.class_folders import load_class_folders
from onlymymodel.data.imagenet import load_imagenet
from onlymymodel.data.labelled import Dataset, Item, no_splits, shown
from onlymymodel.data.labels import read_labels
from onlymymodel.data.nips2017 import load_nips2017
from onlymymodel.data.tables import Problems, inner_path, integer, read_csv
from onlymymodel.errors import UserError

__all__ = ["KINDS", "Dataset", "Item", "labels_for", "open_dataset"]

_CODE = re.compile(r"[0-9]+|n[0-9]{8}")  # a number or a wnid: says which class, but in nobody's words
_INTEGER = re.compile(r"[+-]?[0-9]+")
_MAX_INDEX = 99_999
Parts = tuple[str, ...]


def open_dataset(spec: str, *, split: str | None = None) -> Dataset:
    """Read the set that `KIND:PATH` names (see KINDS), e.g. "imagenet:data/ILSVRC"; no picture is opened.

    split: `val`, `test`, `train`, ... where the set has splits; without it the one to evaluate on (val, test),
    else train. PATH may also be a split's own folder.

    Raises UserError for an unknown kind, and where the set is missing, incomplete or broken.
    """
    kind, colon, place = spec.partition(":")
    if not colon or not place:
        raise UserError(f"dataset {spec!r} is not of the form KIND:PATH; KIND is one of {', '.join(KINDS)}.")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind.lower(), KINDS, n=1, cutoff=0.5)
        meant = f"did you mean {near[0]}?" if near else f"known are {', '.join(KINDS)}."
        raise UserError(f"dataset {spec!r}: unknown kind {kind!r}; {meant}")
    path = Path(place).expanduser()
    if not path.exists():
        raise UserError(f"dataset {spec!r}: {place} does not exist.")
    if path.is_dir() == (kind == "csv"):
        raise UserError(f"dataset {spec!r}: {place} is not a {'file' if kind == 'csv' else 'folder'}.")
    return KINDS[kind](path, split)


def labels_for(
    dataset: Dataset, *, known: Sequence[str], classes: Sequence[str] | None, n_classes: int
) -> dict[str, int]:
    """Return the authorized model's class index for each of the `known` photos that the set labels.

    known: relative POSIX paths of the photos below the source folder. A photo is that picture of the set whose
    path is the same, or ends with the photo's path (the source lies in the set), or that the photo's path ends
    with (the set lies in the source). Photos without a picture get no label.
    classes: the model's class names, where it has them. Classes are matched by name, regardless of case;
    by index where the model has no names, or where the set's are only codes (numbers, wnids) that the model
    does not use. Then both must have the same number of classes. A `csv:` set goes through `read_labels`.

    Raises UserError where no photo is in the set, where one could be several pictures, or where a class has no
    counterpart; ValueError where classes and n_classes contradict each other.
    """
    if classes is not None and len(classes) != n_classes:
        raise ValueError(f"{len(classes)} class names for {n_classes} classes")
    if dataset.table is not None:
        return read_labels(dataset.table, known=known, classes=classes, n_classes=n_classes)
    found = _find_photos(dataset, known)
    used = sorted({item.label for item in found.values()})
    index = _by_name(dataset, used, classes) if classes else None
    if index is None:
        _check_by_index(dataset, n_classes)
        return {name: item.label for name, item in found.items()}
    return {name: index[item.label] for name, item in found.items()}


def _find_photos(dataset: Dataset, known: Sequence[str]) -> dict[str, Item]:
    """Return the set's picture for each photo that is one."""
    whole = {_parts(item.path.as_posix()): item for item in dataset.items}
    found: dict[str, Item] = {}
    rest: dict[str, Parts] = {}
    for name in known:
        parts = _parts(name)
        ends = (parts[start:] for start in range(len(parts)))
        item = next((whole[end] for end in ends if end in whole), None)
        if item is None:
            rest[name] = parts
        else:
            found[name] = item
    tails = _tails(whole, {len(parts) for parts in rest.values()})
    several = [name for name, parts in rest.items() if len(tails.get(parts, ())) > 1]
    found |= {name: tails[parts][0] for name, parts in rest.items() if parts in tails}
    claims = Counter(item.path for item in found.values())
    several += [name for name, item in found.items() if claims[item.path] > 1 and name not in rest]
    if several:
        raise UserError(
            f"{dataset.root}: {len(several)} photo(s) cannot be told apart there: {shown(several)}; "
            "name the very folder that the photos are in."
        )
    if known and not found:
        raise UserError(f"{dataset.root} has none of the {len(known)} photos (the first is {known[0]!r}).")
    return found


def _tails(whole: Mapping[Parts, Item], lengths: Iterable[int]) -> dict[Parts, list[Item]]:
    """Return the pictures by the last parts of their paths, for tails of the given lengths."""
    tails: defaultdict[Parts, list[Item]] = defaultdict(list)
    for length in lengths:
        for parts, item in whole.items():
            if len(parts) > length:
                tails[parts[-length:]].append(item)
    return dict(tails)


def _parts(path: str) -> Parts:
    # macOS stores names decomposed, tables have them composed: both mean the same file
    return tuple(unicodedata.normalize("NFC", path).split("/"))


def _by_name(dataset: Dataset, used: Iterable[int], classes: Sequence[str]) -> dict[int, int] | None:
    """Return label -> the model's index of the class with the same name, None where there are only codes."""
    word = meaning if dataset.name == "affectnet" else _plain
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(classes):
        places[word(name)].append(place)
    meant = {label: places.get(word(dataset.classes[label]), []) for label in used}
    if not any(meant.values()) and all(map(_CODE.fullmatch, dataset.classes)):
        return None
    unknown = [dataset.classes[label] for label, found in meant.items() if not found]
    several = [dataset.classes[label] for label, found in meant.items() if len(found) > 1]
    if unknown:
        raise UserError(f"{dataset.root} has {len(unknown)} class(es) that the model has not: {shown(unknown)}.")
    if several:
        raise UserError(f"The model has more than one class of the name {shown(several)}.")
    return {label: found[0] for label, found in meant.items()}


def _check_by_index(dataset: Dataset, n_classes: int) -> None:
    """Raise UserError where it can be told without names that equal indices do not mean equal classes."""
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
    no_splits("csv", split)
    labels: dict[str, str] = {}
    left_out, problems = Counter[str](), Problems(table)
    for line, (file, label) in read_csv(table, ("file", "label")):
        path = inner_path(file)
        if path is None:
            problems.add("unsafe file name", file, line)
        elif not label:
            problems.add("no label", file, line)
        elif _INTEGER.fullmatch(label) and integer(label, 0, _MAX_INDEX) is None:
            problems.add("negative or huge indices", label, line)
        elif path.as_posix() not in labels:
            labels[path.as_posix()] = label
        elif labels[path.as_posix()] == label:
            left_out["listed twice"] += 1
        else:
            problems.add("more than one label for a file", file, line)
    problems.settle()
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
    "affectnet": load_affectnet,
    "folders": load_class_folders,
    "csv": _load_csv,
}
