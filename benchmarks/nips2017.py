"""The images of the NIPS-2017 adversarial set, and the teams of classifiers that are measured on them.

Rows 128-143 are left out: settings were chosen on them, with mobilenet_v2 as the unknown model, which is therefore not
held out for any team here. A held-out model never shares its parent with a surrogate; where it shares a family its row
is marked and excluded from the mean.
"""

import csv
import shutil
from pathlib import Path

from assets import ASSETS
from runs import Team, photo_names, remove_others

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.labels import read_labels

SET = "nips2017"
FOLDER = ASSETS / "imagenet" / SET
CHOSEN_ON = range(128, 144)  # rows that no table may use
FIT = "crop"  # the models read the images as their records say

TEAMS = {
    "resnet50": Team(
        "resnet50",
        ("resnet18", "vit_tiny", "squeezenet1_1", "mobilenet_v2"),
        ("shufflenet_v2_x1_0", "mobilenet_v1_075", "efficientnet_lite0"),
    ),
    "vit_tiny": Team(
        "vit_tiny",
        ("resnet18", "squeezenet1_1", "mobilenet_v2"),
        ("resnet50", "shufflenet_v2_x1_0", "mobilenet_v1_075", "efficientnet_lite0"),
    ),
    "mobilenet_v2": Team(
        "mobilenet_v2",
        ("resnet18", "vit_tiny", "squeezenet1_1"),
        ("resnet50", "shufflenet_v2_x1_0", "mobilenet_v1_075", "efficientnet_lite0"),
    ),
    # no stand-in has attention
    "convolutions": Team(
        "resnet50",
        ("resnet18", "squeezenet1_1", "mobilenet_v2"),
        ("vit_tiny", "shufflenet_v2_x1_0", "mobilenet_v1_075", "efficientnet_lite0"),
    ),
}
MAIN_TEAMS = ("resnet50", "vit_tiny", "mobilenet_v2")


def photos(limit: int, folder: Path, start: int = 0) -> Path:
    """Return the folder with the first `limit` images, less the first `start` of them, and their labels.

    A larger limit later adds to it, and a smaller one takes photos away. The names begin with the row, so that added
    photos come last and no finished batch is mixed with new photos.
    """
    with (FOLDER / "labels.csv").open(encoding="utf-8", newline="") as file:
        numbered = [(number, row) for number, row in enumerate(csv.DictReader(file)) if number not in CHOSEN_ON]
    folder.mkdir(parents=True, exist_ok=True)
    lines, names = ["file,label"], set()
    for number, row in numbered[start:limit]:
        name = f"{number:03d}-{row['file']}"
        if not (folder / name).exists():
            shutil.copyfile(FOLDER / row["file"], folder / name)
        lines.append(f"{name},{row['label']}")
        names.add(name)
    remove_others(folder, names)
    write_atomic(folder / "labels.csv", ("\n".join(lines) + "\n").encode())
    return folder


def labels_of(source: Path) -> dict[str, int]:
    """Return the ImageNet label of each photo."""
    return read_labels(source / "labels.csv", photos=photo_names(source), classes=None, n_classes=1000)
