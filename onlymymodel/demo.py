"""The demo: rendered portraits through the real pipeline, judged by models that took no part."""

import io
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import PhotoError, decode
from onlymymodel.data.portraits import EMOTIONS, IDENTITY_NAMES, render
from onlymymodel.errors import UserError
from onlymymodel.evaluate.judgment import PAGE, Evaluation, judge_folders, panel
from onlymymodel.evaluate.tables import to_text
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.folder import Job, protect_folder
from onlymymodel.protect.photo import Context
from onlymymodel.protect.recipe import make_recipe
from onlymymodel.protect.run_record import ModelUris
from onlymymodel.surrogates.black_box import ClassifierBlackBox
from onlymymodel.surrogates.doctor import check_team
from onlymymodel.surrogates.load import load_model

PORTRAIT_SEED = 7_000_000  # far from the seeds that the bundled models were trained, chosen and tested on
PORTRAIT_SIZE = 192


@dataclass(frozen=True)
class Team:
    """Who plays which part."""

    authorized: str
    surrogates: tuple[str, ...]
    heldout: tuple[str, ...]


BUNDLED = Team(
    "zoo:identity-residual",
    ("zoo:identity-plain", "zoo:identity-depthwise", "zoo:identity-vit"),
    ("zoo:identity-inception", "zoo:identity-mixer"),
)
PRETRAINED = Team(
    "timm:resnet50.a1_in1k",
    ("timm:resnet18.a1_in1k", "timm:deit_tiny_patch16_224.fb_in1k", "timm:mobilenetv3_large_100.ra_in1k"),
    ("timm:efficientnet_b0.ra_in1k", "timm:regnety_008.pycls_in1k", "timm:convnext_atto.d2_in1k"),
)


def run_demo(
    out: Path, *, photos: int, epsilon: float, pretrained: bool, device: torch.device, progress: bool = True
) -> int:
    """Render, protect, judge, and write `report.html`; returns an exit code.

    Args:
        out: a folder that does not exist yet, or that an earlier demo with the same settings was stopped in.
        photos: number of portraits.
        epsilon: budget in 1/255.
        pretrained: timm's ImageNet models instead of the bundled ones.

    Raises:
        UserError: `out` has files that are not of this demo; no portrait could be protected.
    """
    team = PRETRAINED if pretrained else BUNDLED
    authorized, *others = (load_model(uri, device=device) for uri in (team.authorized, *team.surrogates, *team.heldout))
    surrogates, heldout = others[: len(team.surrogates)], others[len(team.surrogates) :]
    check_team(authorized, surrogates)
    labels = _render_portraits(out / "photos", photos)
    job = Job(
        source=out / "photos",
        out=out / "protected",
        context=Context(authorized, tuple(surrogates), Budget(epsilon / 255), make_recipe("default")),
        uris=ModelUris(team.authorized, team.surrogates),
        # the bundled models know these people; ImageNet's classes do not, so there the clean answer is the label
        labels={} if pretrained else labels,
    )
    summary = protect_folder(job, progress=progress)
    if not summary.counts["protected"]:
        raise UserError(f"no portrait could be protected with epsilon {epsilon:g}; try a greater --strength")
    command = shlex.join(["omm", "demo", *(["--pretrained"] if pretrained else [])])
    judges = panel(job.context, [ClassifierBlackBox(model) for model in heldout])
    evaluation = Evaluation(job.source, (job.out,), tuple(judges))
    print(to_text(judge_folders(evaluation, out, command=command, device=device, progress=progress)))
    print(f"\nopen {out / PAGE} to see them side by side")
    return 0 if summary.all_protected else 1


def _render_portraits(folder: Path, count: int) -> dict[str, int]:
    """Render portraits that are not there yet; returns the identity of each file.

    Raises:
        UserError: the folder, or the one that it is in, has files that are no portraits of this demo.
    """
    portraits = {}
    for index in range(count):
        identity, emotion = index % len(IDENTITY_NAMES), (index * 5 + index // len(IDENTITY_NAMES)) % len(EMOTIONS)
        name = f"{index:03d}-{IDENTITY_NAMES[identity].lower()}-{EMOTIONS[emotion]}.png"
        portraits[name] = identity, render(identity, emotion, PORTRAIT_SEED + index, PORTRAIT_SIZE)
    _refuse_strangers(folder, {name: pixels for name, (_, pixels) in portraits.items()})
    for name, (_, pixels) in portraits.items():
        if not (folder / name).exists():
            png = io.BytesIO()
            Image.fromarray(pixels).save(png, "PNG")
            write_atomic(folder / name, png.getvalue())
    return {name: identity for name, (identity, _) in portraits.items()}


def _refuse_strangers(folder: Path, portraits: Mapping[str, NDArray[np.uint8]]) -> None:
    """What somebody else put there would be protected, or judged, as the demo's."""
    out = folder.parent
    strangers = [] if folder.exists() or not out.exists() else [path.name for path in out.iterdir()]
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in portraits or not _shows(path, portraits[path.name]):
            strangers.append(f"{folder.name}/{path.name}")
    if strangers:
        raise UserError(f"{out} has {min(strangers)}, which is not of this demo; give another --out")


def _shows(path: Path, pixels: NDArray[np.uint8]) -> bool:
    try:
        return path.is_file() and np.array_equal(decode(path.read_bytes()).pixels, pixels)
    except PhotoError:
        return False
