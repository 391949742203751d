"""The 1,000 pictures of the NIPS 2017 competition on adversarial attacks and defenses, with ImageNet labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from onlymymodel.data.labelled import Dataset, Item, list_folder, missing_pictures, refuse_split, require_all
from onlymymodel.data.tables import Problems, add_once, inner_path, integer, read_csv
from onlymymodel.errors import UserError

TABLES = ("images.csv", "dev_dataset.csv", "final_dataset.csv")
CLASSES = 1000
_FOLDER = PurePosixPath("images")


def load_nips2017(root: Path, split: str | None) -> Dataset:
    """Load `images/ID.png` with `images.csv` (or dev_dataset.csv, final_dataset.csv): ImageId, TrueLabel, ...

    TrueLabel counts from 1, since TF-Slim's Inception has a background class at 0 (the competition's README);
    the labels here count from 0 in the usual order of the 1,000 ImageNet classes. Class names are numbers.

    Raises:
        UserError: the table or one of its pictures is missing, or a row is wrong.
    """
    refuse_split("nips2017", split)
    table = next((root / name for name in TABLES if (root / name).is_file()), root / TABLES[0])
    labels: dict[PurePosixPath, int] = {}
    left_out, problems = Counter[str](), Problems(table)
    for line, (image, text) in read_csv(table, ("ImageId", "TrueLabel")):
        path, number = inner_path(f"{image}.png"), integer(text, 1, CLASSES)
        if not image or path is None or len(path.parts) != 1:
            problems.add("unsafe ImageId", image, line)
        elif number is None:
            problems.add(f"TrueLabel outside 1 to {CLASSES}", text, line)
        elif not add_once(labels, _FOLDER / path, number - 1, left_out):
            problems.add("more than one label for a picture", image, line)
    problems.raise_if_any()
    if not labels:
        raise UserError(f"{table} lists no picture.")
    require_all(root, missing_pictures(root, labels))
    listing = list_folder(root / _FOLDER)
    unknown = sum(_FOLDER / name not in labels for name in listing.pictures)
    left_out.update(listing.ignored)
    if unknown:
        left_out[f"not in {table.name}"] = unknown
    items = tuple(Item(path, label) for path, label in labels.items())
    return Dataset("nips2017", root, tuple(map(str, range(CLASSES))), items, left_out)
