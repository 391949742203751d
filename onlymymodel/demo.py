"""The demo: protect rendered portraits as `omm protect` does, and evaluate them with held-out models."""

import io
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import PhotoError, decode
from onlymymodel.data.portraits import EMOTIONS, IDENTITY_NAMES, render
from onlymymodel.errors import UserError
from onlymymodel.evaluate.folders import Evaluation, evaluate_folders
from onlymymodel.evaluate.html import data_uri
from onlymymodel.evaluate.judges import judges_for
from onlymymodel.evaluate.report_aside import Aside
from onlymymodel.evaluate.results import Results
from onlymymodel.example import example, example_picture
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.strengths import STRENGTHS
from onlymymodel.protect.folder import Job, protect_folder
from onlymymodel.protect.folder_summary import Summary
from onlymymodel.protect.seal import seal_folder
from onlymymodel.settings import RunSettings

PORTRAIT_SEED = 7_000_000  # far from the seeds that the bundled models were trained, chosen and tested on
PORTRAIT_SIZE = 192


BUNDLED = RunSettings(
    "zoo:identity-residual",
    ("zoo:identity-plain", "zoo:identity-depthwise", "zoo:identity-vit"),
    ("zoo:identity-inception", "zoo:identity-mixer"),
    # the tiny bundled models are alike: what is kept in every deployment, the held-out ones read too
    recipe=make_recipe("exact"),
)
PRETRAINED = RunSettings(
    "timm:resnet50.a1_in1k",
    ("timm:resnet18.a1_in1k", "timm:deit_tiny_patch16_224.fb_in1k", "timm:mobilenetv3_large_100.ra_in1k"),
    ("timm:efficientnet_b0.ra_in1k", "timm:regnety_008.pycls_in1k", "timm:convnext_atto.d2_in1k"),
)


def run_demo(
    out: Path, *, photos: int, strength: str, pretrained: bool, device: torch.device, progress: bool = True
) -> tuple[Summary, Results]:
    """Render portraits, protect and judge them, and write `report.html`.

    Args:
        out: a folder that does not exist yet, or one of an earlier demo with the same settings, which then continues.
        photos: number of portraits.
        strength: a name of `STRENGTHS`.
        pretrained: use timm's ImageNet models instead of the bundled ones.
        device: where the models run.
        progress: show progress.

    Returns:
        What became of the portraits, and the answers of all models.

    Raises:
        UserError: `out` has files that the demo did not write, or no portrait could be protected.
    """
    settings = replace(PRETRAINED if pretrained else BUNDLED, budget=Budget.from_json(STRENGTHS[strength].bounds))
    context, heldout = settings.load(device=device, progress=progress)
    labels = _render_portraits(out / "photos", photos)
    job = Job(
        source=out / "photos",
        out=out / "protected",
        context=context,
        uris=settings.uris_from(out / "protected"),
        # the bundled models know these people; ImageNet's classes do not, so there the clean answer is the label
        labels={} if pretrained else labels,
    )
    summary = protect_folder(job, progress=progress)
    seal_folder(job.out)
    if not summary.written:
        raise UserError(f"no portrait could be protected with strength {strength}; try a greater --strength")
    command = shlex.join(["omm", "demo", *(["--pretrained"] if pretrained else [])])
    evaluation = Evaluation(out / "photos", (job.out,), tuple(judges_for(context, heldout)), aside=_example())
    return summary, evaluate_folders(evaluation, out, command=command, device=device, progress=progress)


def _example() -> Aside:
    """Return the example of a real photo and real models, for the page."""
    photo = example()
    as_written = photo["channels"][0]["answers"]
    return Aside(
        title="A real photo",
        words=f"The portraits are for small bundled models; this was made beforehand with real ones. {photo['words']}",
        width=photo["width"],
        height=photo["height"],
        before=data_uri(example_picture("before"), "webp"),
        after=data_uri(example_picture("after"), "webp"),
        answers=tuple((row["role"], row["model"], row["before"], row["after"]) for row in as_written),
    )


def _render_portraits(folder: Path, count: int) -> dict[str, int]:
    """Render the portraits that do not exist yet; return the identity of each file.

    Raises:
        UserError: the folder, or the one that it is in, has files that are not portraits of this demo.
    """
    portraits = {}
    for index in range(count):
        identity, emotion = index % len(IDENTITY_NAMES), (index * 5 + index // len(IDENTITY_NAMES)) % len(EMOTIONS)
        name = f"{index:03d}-{IDENTITY_NAMES[identity].lower()}-{EMOTIONS[emotion]}.png"
        portraits[name] = identity, render(identity, emotion, PORTRAIT_SEED + index, PORTRAIT_SIZE)
    _check_no_other_files(folder, {name: pixels for name, (_, pixels) in portraits.items()})
    for name, (_, pixels) in portraits.items():
        if not (folder / name).exists():
            png = io.BytesIO()
            Image.fromarray(pixels).save(png, "PNG")
            write_atomic(folder / name, png.getvalue())
    return {name: identity for name, (identity, _) in portraits.items()}


def _check_no_other_files(folder: Path, portraits: Mapping[str, NDArray[np.uint8]]) -> None:
    """Refuse files that the demo did not write, which would be protected or evaluated as its own.

    Raises:
        UserError: there is such a file.
    """
    out = folder.parent
    foreign = [] if folder.exists() or not out.exists() else [path.name for path in out.iterdir()]
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in portraits or not _shows(path, portraits[path.name]):
            foreign.append(f"{folder.name}/{path.name}")
    if foreign:
        raise UserError(f"{out} has {min(foreign)}, which this demo did not write; give another --out")


def _shows(path: Path, pixels: NDArray[np.uint8]) -> bool:
    """Return whether a file is a picture with exactly these pixels."""
    try:
        return path.is_file() and np.array_equal(decode(path.read_bytes()).pixels, pixels)
    except PhotoError:
        return False
