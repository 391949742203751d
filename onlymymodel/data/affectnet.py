"""AffectNet as tables with face boxes, as the release with 8 classes, or as a folder for each expression."""

from __future__ import annotations

import io
import tokenize
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from onlymymodel.data.class_folders import read_class_folders
from onlymymodel.data.labelled import (
    Dataset,
    Item,
    list_folder,
    missing_pictures,
    quoted,
    require_all,
    split_prefix,
)
from onlymymodel.data.tables import Problems, add_once, inner_path, integer, read_csv
from onlymymodel.errors import UserError

EXPRESSIONS = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
NO_EXPRESSION = {8: "None", 9: "Uncertain", 10: "No-Face"}
TABLES = {"val": "validation.csv", "train": "training.csv"}
ARRAYS = {"val": ("val_set",), "train": ("train_set",)}
FOLDERS = {"val": ("val", "validation", "valid"), "test": ("test",), "train": ("train",)}
COLUMNS = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
    "valence", "arousal",
)  # fmt: skip
_SYNONYMS = {
    "happy": "happiness", "sad": "sadness", "surprised": "surprise", "fearful": "fear", "afraid": "fear",
    "disgusted": "disgust", "angry": "anger", "normal": "neutral", "contemptuous": "contempt",
}  # fmt: skip
_TABLE_FOLDERS = (".", "Manually_Annotated_file_lists")
_PICTURE_FOLDERS = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images")
_MAX_TABLE = 2**30  # bytes: training.csv has 68 landmarks in each of its 400,000 lines
_MAX_ARRAY = 4096  # bytes: an .npy of one number has 136
_MAX_SIDE = 100_000


def load_affectnet(root: Path, split: str | None) -> Dataset:
    """Load AffectNet in any of three layouts; classes are EXPRESSIONS, in AffectNet's order.

    Tables: validation.csv or training.csv (COLUMNS; the official validation.csv has no header line), at `root`
    or in Manually_Annotated_file_lists, with Manually_Annotated_Images. Items have boxes.

    Arrays: `val_set` or `train_set` with images/N.jpg and annotations/N_exp.npy.

    Folders: one for each expression, by number or name; they may be below val, test or train.

    None, Uncertain and No-Face are left out and counted. Without a split, the first that exists of val, test and train
    is read.

    Raises:
        UserError: a file is missing or wrong.
    """
    pictures = next((folder for folder in _PICTURE_FOLDERS if (root / folder).is_dir()), None)
    if pictures is not None or any(
        (root / folder / name).is_file() for folder in _TABLE_FOLDERS for name in TABLES.values()
    ):
        return _tables(root, split, PurePosixPath(pictures or _PICTURE_FOLDERS[0]))
    arrays = [name for names in ARRAYS.values() for name in names if (root / name).is_dir()]
    if arrays or (root / "images").is_dir() or (root / "annotations").is_dir():
        return _arrays(root, split_prefix(root, split, ARRAYS))
    return _folders(root, split_prefix(root, split, FOLDERS))


def expression_noun(name: str) -> str:
    """Return the lower-case noun of an expression, which may be named by an adjective."""
    word = name.strip().casefold()
    return _SYNONYMS.get(word, word)


def _tables(root: Path, split: str | None, pictures: PurePosixPath) -> Dataset:
    table = _find_table(root, split)
    items: dict[PurePosixPath, Item] = {}
    labels: dict[PurePosixPath, int] = {}
    left_out, problems = Counter[str](), Problems(table)
    columns = ("subDirectory_filePath", "expression", "face_x", "face_y", "face_width", "face_height")
    for line, (name, expression, *box) in read_csv(table, columns, headless=COLUMNS, max_bytes=_MAX_TABLE):
        path, label = inner_path(name), integer(expression, 0, max(NO_EXPRESSION))
        if path is None:
            problems.add("unsafe file name", name, line)
        elif label is None:
            problems.add("no expression from 0 to 10", expression, line)
        elif label in NO_EXPRESSION:
            left_out[NO_EXPRESSION[label]] += 1
        elif add_once(labels, pictures / path, label, left_out):
            items.setdefault(pictures / path, Item(pictures / path, label, _box(box)))
        else:
            problems.add("more than one expression for a picture", name, line)
    problems.raise_if_any()
    if not items:
        raise UserError(f"{table} lists no picture with an expression.")
    require_all(root, missing_pictures(root, items))
    return Dataset("affectnet", root, EXPRESSIONS, tuple(items.values()), left_out)


def _find_table(root: Path, split: str | None) -> Path:
    if split is not None and split not in TABLES:
        raise UserError(f"{root} has no split {split!r}; it is one of {', '.join(TABLES)}.")
    names = [TABLES[split]] if split else list(TABLES.values())
    for path in (root / folder / name for name in names for folder in _TABLE_FOLDERS):
        if path.is_file():
            return path
    raise UserError(f"{root} is not complete: {names[0]} is missing.")


def _box(cells: Sequence[str]) -> tuple[int, int, int, int] | None:
    """Return the box of a face from its left, top, width and height; None if there is no box (NULL, -1)."""
    left, top = (integer(cell, -_MAX_SIDE, _MAX_SIDE) for cell in cells[:2])
    width, height = (integer(cell, 1, _MAX_SIDE) for cell in cells[2:])
    if left is None or top is None or width is None or height is None:
        return None
    return left, top, left + width, top + height


def _arrays(root: Path, prefix: PurePosixPath) -> Dataset:
    listing, notes = list_folder(root / prefix / "images"), root / prefix / "annotations"
    annotated = {path.name.removesuffix("_exp.npy") for path in notes.glob("*_exp.npy")}
    left_out, items = Counter(listing.ignored), []
    missing = [
        prefix / "annotations" / f"{PurePosixPath(name).stem}_exp.npy"
        for name in listing.pictures
        if PurePosixPath(name).stem not in annotated
    ]
    without_picture = annotated - {PurePosixPath(name).stem for name in listing.pictures}
    require_all(root, missing + [prefix / "images" / f"{number}.jpg" for number in sorted(without_picture)])
    for name in listing.pictures:
        label = _read_expression(notes / f"{PurePosixPath(name).stem}_exp.npy")
        if label in NO_EXPRESSION:
            left_out[NO_EXPRESSION[label]] += 1
        else:
            items.append(Item(prefix / "images" / name, label))
    if not items:
        raise UserError(f"{root / prefix / 'images'} has no picture with an expression.")
    return Dataset("affectnet", root, EXPRESSIONS, tuple(items), left_out)


def _read_expression(path: Path) -> int:
    """Return the expression in an .npy file, which has it as text or as a number."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_ARRAY + 1)
        if len(data) > _MAX_ARRAY:
            raise ValueError("too large")
        array = np.load(io.BytesIO(data), allow_pickle=False)
        number = float(array.item())  # works for text too; a zip of arrays has no item
        if number not in range(max(NO_EXPRESSION) + 1):
            raise ValueError("out of range")
    except (
        ValueError, TypeError, AttributeError, EOFError, OSError, MemoryError, RecursionError, OverflowError,
        SyntaxError, tokenize.TokenError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise UserError(f"{path} does not hold one expression from 0 to 10.") from error
    return int(number)


def _folders(root: Path, prefix: PurePosixPath) -> Dataset:
    listing = list_folder(root / prefix)
    left_out, labelled = Counter(listing.ignored), []
    if listing.pictures:
        left_out["not in an expression's folder"] = len(listing.pictures)
    codes = {name.casefold(): number for number, name in enumerate((*EXPRESSIONS, *NO_EXPRESSION.values()))}
    codes |= {str(number): number for number in codes.values()}
    unknown = [name for name in listing.folders if expression_noun(name) not in codes]
    if unknown:
        raise UserError(f"{root / prefix} has folders that are not expressions: {quoted(unknown)}.")
    for name in listing.folders:
        number = codes[expression_noun(name)]
        if number in NO_EXPRESSION:
            left_out[NO_EXPRESSION[number]] += len(list_folder(root / prefix / name).pictures)
        else:
            labelled.append((prefix / name, number))
    if not labelled:
        wanted = f"validation.csv, val_set and {prefix / '0'}"
        raise UserError(f"{root} is not complete: {wanted} are missing, one is needed.")
    return Dataset("affectnet", root, EXPRESSIONS, tuple(read_class_folders(root, labelled, left_out)), left_out)
