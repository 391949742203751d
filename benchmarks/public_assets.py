"""A folder of public models and images, in the layout that the benchmarks read."""

import csv
import json
import shutil
from pathlib import Path

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.nips2017 import load_nips2017

# by the ids of the benchmarks; weights that anybody can download, though not those of results/
PUBLIC_MODELS = {
    "resnet50": "torchvision:resnet50@IMAGENET1K_V2",
    "resnet18": "torchvision:resnet18@IMAGENET1K_V1",
    "squeezenet1_1": "torchvision:squeezenet1_1@IMAGENET1K_V1",
    "vit_tiny": "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "mobilenet_v2": "torchvision:mobilenet_v2@IMAGENET1K_V1",
    "mobilenet_v1_075": "timm:mobilenetv1_100.ra4_e3600_r224_in1k",
    "shufflenet_v2_x1_0": "torchvision:shufflenet_v2_x1_0@IMAGENET1K_V1",
    "efficientnet_lite0": "timm:tf_efficientnet_lite0.in1k",
}
SETS = {"nips2017": range(160), "nips2017_validation": range(160, 208)}  # rows of the table
FIRST_IMAGE = "0c7ac4a8c9dfa802"  # of the table's usual order
INSTRUCTIONS = {
    "images": (
        "1,000 images of 299x299 pixels with ImageNet labels (CC BY 2.0), of the NIPS 2017 competition on "
        "adversarial attacks and defenses. Download from Kaggle the data set "
        "google-brain/nips-2017-adversarial-learning-development-set, and put its images.csv and its folder images "
        "into one folder, DOWNLOADED. Then run: python benchmarks/bench.py prepare ASSETS --nips2017 DOWNLOADED"
    ),
    "models": (
        "prepare writes ASSETS/models.json, which names public models of torchvision and timm; they are downloaded "
        "when they are first used. results/ was made with other weights of most of these architectures, whose "
        "hashes it has, and which may not be passed on: expect other figures. To use another model, change its uri "
        "in models.json."
    ),
    "faces": (
        "Photos of LFW (deep-funneled; on GitHub umass-vis-lfw/umass-vis-lfw.github.io, images_deepfunneled), as "
        "ASSETS/faces/lfw_identity/NAME/*.jpg, ten of each of 50 people, and "
        "ASSETS/faces/lfw_emotion/EXPRESSION/*.jpg, each with a labels.csv (file,label); and face models as "
        "further records of ASSETS/models.json, by the ids of TEAMS in benchmarks/faces.py: id, task (identity or "
        "emotion), uri, family, parent. URIs are, for example, those of `omm preset show faces`. The weights of "
        "results/faces were converted from the formats of research repositories: they cannot be had as public "
        "files."
    ),
}


def prepare(folder: Path, downloaded: Path) -> str:
    """Write models.json and the images of the benchmarks to a folder; return in words what was done.

    Args:
        folder: is made where it is missing; what is there already is kept.
        downloaded: the NIPS-2017 images with their table, see `onlymymodel.data.nips2017`.

    Raises:
        UserError: the table or one of its pictures is missing.
    """
    dataset = load_nips2017(downloaded, None)
    for name, rows in SETS.items():
        target = folder / "imagenet" / name
        target.mkdir(parents=True, exist_ok=True)
        with (target / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file", "label"])
            for item in dataset.items[rows.start : rows.stop]:
                shutil.copyfile(downloaded / item.path, target / item.path.name)
                table.writerow([item.path.name, item.label])
    models = folder / "models.json"
    if not models.exists():
        records = [{"id": name, "task": "imagenet", "uri": uri} for name, uri in PUBLIC_MODELS.items()]
        write_atomic(models, (json.dumps(records, indent=1) + "\n").encode())
    copied = min(len(dataset.items), SETS["nips2017_validation"].stop)
    words = f"{copied} images are in {folder / 'imagenet'}, and {models} names the models"
    if dataset.items[0].path.stem != FIRST_IMAGE:
        words += f"; the table does not begin with {FIRST_IMAGE}: these are not the images of results/, in their order"
    return words
