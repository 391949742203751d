"""Protect the example of the page's first screen, and write its pictures and what every model said.

    python benchmarks/page_example.py

The photo is scikit-image's cat Chelsea (by Stefan van der Walt, CC0), cut to a square. The page's own code protects it,
with its defaults.
"""

import io
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from assets import uri
from PIL import Image
from skimage.data import chelsea
from timm.data.imagenet_info import ImageNetInfo

from onlymymodel.app.form import Policy, read_form
from onlymymodel.app.session import Session
from onlymymodel.app.uploaded_photo import UploadedPhoto
from onlymymodel.app.visibility import stop_of
from onlymymodel.app.worker import run_session
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.manifest import json_bytes
from onlymymodel.example import FOLDER, RECORD, VIEWS
from onlymymodel.protect.budget.strengths import DEFAULT, STRENGTHS
from onlymymodel.runtime import configure

# the roles of the preset `photos`: ids of models.json, and names for people
TEAM = {
    "authorized": {"resnet50": "ResNet-50"},
    "surrogates": {
        "resnet18": "ResNet-18",
        "vit_tiny": "ViT-Tiny",
        "squeezenet1_1": "SqueezeNet 1.1",
        "mobilenet_v2": "MobileNet-v2",
    },
    "heldout": {"shufflenet_v2_x1_0": "ShuffleNet-v2", "efficientnet_lite0": "EfficientNet-Lite0"},
}
LEFT, SIDE = 60, 300  # of the square, in pixels
WORDS = (
    "The cat Chelsea (photo by Stefan van der Walt, CC0), protected with the usual settings at medium visibility. "
    "ResNet-50 is the authorized model."
)


def main() -> None:
    """Protect the photo and write the example."""
    configure()
    buffer = io.BytesIO()
    Image.fromarray(chelsea()[:, LEFT : LEFT + SIDE]).save(buffer, "PNG")
    with TemporaryDirectory() as name:
        labels = Path(name) / "labels.txt"
        labels.write_text("\n".join(class_names()) + "\n", encoding="utf-8")
        session = Session(Path(name))
        photo = session.add("chelsea.png", buffer.getvalue())
        settings = read_form(form(labels))
        session.begin(settings)
        run_session(session, settings, Policy(torch.device("cpu")))
        if not photo.result.is_written:
            raise SystemExit(session.progress.sentence or photo.result.reason)
        write_example(photo)
    print(f"{photo.result.reason}; {photo.result.figures}; {photo.result.least}")


def form(labels: Path) -> dict[str, Any]:
    """Return what the page would send, with models that name their classes by a file."""
    uris = {role: [f"{uri(name)}&labels={labels}" for name in names] for role, names in TEAM.items()}
    visibility = stop_of(STRENGTHS[DEFAULT].ssim)
    return {**uris, "authorized": uris["authorized"][0], "visibility": visibility}


def class_names() -> list[str]:
    """Return the first name of each ImageNet class."""
    info = ImageNetInfo()
    return [info.index_to_description(index).split(",")[0] for index in range(info.num_classes())]


def write_example(photo: UploadedPhoto) -> None:
    """Write the pictures, without loss, and the record with the models' names for people."""
    names = [name for names in TEAM.values() for name in names.values()]
    channels = [
        replace(
            channel,
            answers=tuple(replace(row, model=name) for row, name in zip(channel.answers, names, strict=True)),
        )
        for channel in photo.result.channels
    ]
    assert photo.result.figures is not None
    figures = replace(photo.result.figures, seconds=None)  # they are of this machine
    photo.result = replace(photo.result, channels=tuple(channels), figures=figures)
    for view in VIEWS:
        data = photo.view(view)
        assert data is not None
        picture = io.BytesIO()
        Image.open(io.BytesIO(data)).save(picture, "WEBP", lossless=True, quality=100)
        write_atomic(FOLDER / f"{view}.webp", picture.getvalue())
    write_atomic(RECORD, json_bytes({**photo.to_json(), "number": 0, "words": WORDS}, indent=1))


if __name__ == "__main__":
    main()
