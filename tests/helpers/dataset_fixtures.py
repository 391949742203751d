"""Tiny datasets in the exact layouts of the real ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onlymymodel.data.affectnet import COLUMNS
from onlymymodel.data.datasets import Dataset, open_dataset
from onlymymodel.errors import UserError

# ILSVRC2012_ID -> wnid of kit fox, English setter, crane (the bird), tench, goldfish
KIT = {1: "n02119789", 2: "n02100735", 429: "n02012849", 449: "n01440764", 450: "n01443537"}
KIT_NAME = "ILSVRC2012_devkit_t12"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def pictures(root: Path, *names: str) -> None:
    """Write a picture of 8 x 8 pixels under each name below `root`."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (120, 90, 60)).save(path, format="PNG" if path.suffix == ".png" else "JPEG")


def write_kit(home: Path, truth: Sequence[int], newline: str = "\n") -> Path:
    """Write the part of the development kit that is read; return its folder of data."""
    data = home / KIT_NAME / "data"
    data.mkdir(parents=True)
    (data / TRUTH).write_bytes("".join(f"{number}{newline}" for number in truth).encode())
    return data


def imagenet_flat(root: Path, truth: Sequence[int], newline: str = "\n", folder: str = "val") -> Path:
    """Write validation pictures as the archive has them, with the development kit beside their folder."""
    write_kit(root, truth, newline)
    pictures(root / folder, *(f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, len(truth) + 1)))
    return root


def nips2017(
    root: Path, rows: Mapping[str, int], table: str = "images.csv", mark: str = "", newline: str = "\n"
) -> Path:
    """Write the competition's table and pictures; rows: TrueLabel by ImageId."""
    pictures(root, *(f"images/{image}.png" for image in rows))
    lines = [
        "ImageId,URL,x1,y1,x2,y2,TrueLabel,TargetClass,OriginalLandingURL,License,Author,AuthorProfileURL",
        *(
            f'{image},https://x.org/a.jpg,0.0,0.0,1.0,1.0,{label},7,https://x.org,CC,"Doe, J",u'
            for image, label in rows.items()
        ),
    ]
    (root / table).write_bytes((mark + newline.join(lines) + newline).encode())
    return root


def celeba_mask_hq(root: Path, rows: Sequence[tuple[int, int, int]], where: str = "identity_CelebA.txt") -> Path:
    """Write CelebAMask-HQ; rows: (number of the picture, number in CelebA from 0, identity)."""
    pictures(root, *(f"CelebA-HQ-img/{index}.jpg" for index, _, _ in rows))
    lines = [f"{index:<12}{original:<12}{original + 1:06d}.jpg" for index, original, _ in rows]
    head = f"{'idx':<12}{'orig_idx':<12}orig_file"
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join([head, *lines]) + "\n")
    (root / where).parent.mkdir(exist_ok=True)
    others = ["202599.jpg 10101", "000001.jpg 2880"]  # CelebA has many more pictures
    (root / where).write_text("\n".join([*(f"{o + 1:06d}.jpg {who}" for _, o, who in rows), *others]) + " \n")
    return root


def affectnet_row(name: str, expression: int | str, box: Sequence[int | str] = (10, 20, 30, 40)) -> str:
    """Return one line of AffectNet's tables."""
    cells = [name, *box, ";".join(["1.5"] * 136), expression, -0.25, 0.5]
    return ",".join(map(str, cells))


def affectnet_tables(root: Path, rows: Sequence[str], table: str = "validation.csv", header: bool = True) -> Path:
    """Write the release with face boxes, and the pictures of all rows."""
    pictures(root / "Manually_Annotated_Images", *(row.split(",")[0] for row in rows))
    (root / table).parent.mkdir(parents=True, exist_ok=True)
    (root / table).write_text("\n".join([",".join(COLUMNS)] * header + list(rows)) + "\n")
    return root


def affectnet_arrays(root: Path, expressions: Mapping[int, int | str], folder: str = "val_set") -> Path:
    """Write the release with 8 classes; its arrays hold text, in some copies numbers."""
    pictures(root / folder / "images", *(f"{number}.jpg" for number in expressions))
    notes = root / folder / "annotations"
    notes.mkdir()
    for number, expression in expressions.items():
        np.save(notes / f"{number}_exp.npy", expression)
        for name, value in (("aro", "0.1"), ("val", "-0.5")):
            np.save(notes / f"{number}_{name}.npy", value)
        np.save(notes / f"{number}_lnd.npy", np.zeros(136))
    return root


def labels(dataset: Dataset) -> dict[str, int]:
    """Return the label of each picture by its path."""
    return {str(item.path): item.label for item in dataset.items}


def dataset_error(kind: str, root: Path, split: str | None = None) -> str:
    """Return the error message of a dataset that cannot be read."""
    with pytest.raises(UserError) as caught:
        open_dataset(f"{kind}:{root}", split=split)
    return str(caught.value)
