"""Compare settings of `default` on validation images, which no other table shows.

    python benchmarks/recipes.py --limit 12       # resumable; one JSON for each variant, team and budget
    python benchmarks/recipes.py --limit 12 --variants default sign --budgets ssim-0.95-even --teams mobilenet_v2

Images: nips2017_validation, those that the authorized model reads. In each team one model plays the
unknown one: less of its log-probability of the label is better. What the authorized model keeps is counted over all
deployments, those through which `default` keeps photos and the others.
"""

import argparse
import csv
import json
import time
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import torch
from assets import ASSETS, RESULTS, uri
from deployment_tables import HELDOUT
from runs import write_json

from onlymymodel import Budget, configure, load_model, make_recipe
from onlymymodel.data.image_io import decode
from onlymymodel.data.pixels import to_array, to_tensor
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.deployed_margins import DeployedMargins
from onlymymodel.protect.attack.recipe import RECIPES, Recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.measure import measure as measure_distortion
from onlymymodel.protect.photo import photo_generator
from onlymymodel.runtime import environment
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.deployments import DEPLOYMENTS, get_deployments
from onlymymodel.surrogates.readings import read_input

FOLDER = ASSETS / "imagenet" / "nips2017_validation"
BATCH = 8
FIT = "crop"
READ_THROUGH = ("as-written", *HELDOUT[1:])  # deployments of the unknown model


@dataclass(frozen=True)
class SearchTeam:
    """Models by role; ids of models.json."""

    authorized: str
    surrogates: tuple[str, ...]
    unknown: str


TEAMS = {
    "mobilenet_v2": SearchTeam("mobilenet_v2", ("resnet18", "vit_tiny", "squeezenet1_1"), "resnet50"),
    "resnet50": SearchTeam("resnet50", ("resnet18", "vit_tiny", "squeezenet1_1"), "mobilenet_v2"),
}
# recipes by their name, and changes of `default`
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "exact": {},
    "weight-0.5": {"guard_weight": 0.5},
    "weight-2": {"guard_weight": 2.0},
    "looks-2": {"guard_looks": 2},
    "looks-2-steps-40": {"guard_looks": 2, "steps": 40},
    "looks-3": {"guard_looks": 3},
    "looks-4": {"guard_looks": 4},
    "kappa-0.3": {"kappa": 0.3},
    "kappa-2": {"kappa": 2.0},
    "smaller-steps": {"step_share": 0.2},
    "three-views": {"views": ("block_shuffle", "affine", "resize_pad")},
    "push-through-channels": {"jpeg_quality": 60, "resize_share": 0.5},
    "sign": {"step_rule": "sign"},
}
BUDGETS = {
    "8": Budget(8 / 255),
    "4": Budget(4 / 255),
    "ssim-0.95": Budget(16 / 255, ssim=0.95, shape="texture"),
    "ssim-0.95-even": Budget(16 / 255, ssim=0.95),
}


def main() -> None:
    """Run the variants that have no result yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--teams", nargs="+", choices=TEAMS, default=list(TEAMS))
    parser.add_argument("--budgets", nargs="+", choices=BUDGETS, default=["8"])
    parser.add_argument(
        "--limit", type=int, default=48, metavar="N", help="the first N images that are read; all by default"
    )
    arguments = parser.parse_args()
    configure()
    for budget, variant, name in product(arguments.budgets, arguments.variants, arguments.teams):
        target = RESULTS / "recipes" / f"{name}-{variant}-{budget}.json"
        if target.exists() and json.loads(target.read_text(encoding="utf-8"))["limit"] >= arguments.limit:
            continue
        content = measure(TEAMS[name], variant, budget, arguments.limit)
        write_json(target, content)
        print(f"{name} {variant} {budget}: {describe(content)}", flush=True)


def measure(team: SearchTeam, variant: str, budget: str, limit: int) -> dict[str, Any]:
    """Protect the images by one variant, and measure the authorized and the unknown model on each."""
    authorized, unknown, surrogates, deployed, clean = prepare(team, limit)
    recipe = make_recipe(variant if variant in RECIPES else "default", **VARIANTS[variant])
    by_size: dict[torch.Size, list[LabelledPhoto]] = {}
    for photo in clean:
        by_size.setdefault(photo.pixels.shape, []).append(photo)
    rows, seconds = [], 0.0
    for same_size in by_size.values():
        for start in range(0, len(same_size), BATCH):
            part = same_size[start : start + BATCH]
            started = time.process_time()
            protected = protect_part(part, authorized, surrogates, recipe, BUDGETS[budget])
            seconds += time.process_time() - started
            for photo, pixels in zip(part, protected, strict=True):
                before, after = clean[photo], deployed.measure(pixels, photo.label)
                distortion = measure_distortion(pixels, photo.pixels)
                rows.append(
                    {
                        "photo": photo.name,
                        "ssim": round(distortion.ssim, 4),
                        "flip": round(distortion.flip or 0.0, 4),
                        "margins": {name: [round(before[name], 3), round(after[name], 3)] for name in before},
                        "unknown": {name: answer(unknown, pixels, photo.label, name) for name in READ_THROUGH},
                    }
                )
    return {
        "schema": 1,
        "made_by": f"benchmarks/recipes.py --variants {variant} --teams {team.authorized} --budgets {budget} "
        f"--limit {limit}",
        "team": team.authorized,
        "variant": variant,
        "limit": limit,
        "budget": budget,
        "photos": rows,
        "cpu_seconds_per_photo": round(seconds / len(rows), 2),
        "models": {model.card.uri: model.card.sha256 for model in (authorized, unknown, *surrogates)},
        "recipe": recipe.to_json(),
        "environment": environment(),
    }


@dataclass(frozen=True, eq=False)  # compared and hashed by identity, as the pixels cannot be
class LabelledPhoto:
    """An image, its (3,H,W) uint8 pixels and its class."""

    name: str
    data: bytes
    pixels: torch.Tensor
    label: int

    def read_by(self, model: Classifier) -> bool:
        """Return whether a model reads it."""
        with torch.no_grad():
            return int(model(to_float(self.pixels)[None]).argmax()) == self.label


class Prepared(NamedTuple):
    """Models and images that all variants of a team share.

    Attributes:
        authorized, unknown, surrogates: the models.
        deployed: margins of the authorized model through all deployments.
        clean: the images that it reads, and their margins.
    """

    authorized: Classifier
    unknown: Classifier
    surrogates: list[Classifier]
    deployed: DeployedMargins
    clean: dict[LabelledPhoto, dict[str, float]]


@cache
def prepare(team: SearchTeam, limit: int) -> Prepared:
    """Load the models of a team, and measure the first `limit` images that the authorized model reads."""
    authorized, unknown, *surrogates = (
        load_model(uri(name, FIT)) for name in (team.authorized, team.unknown, *team.surrogates)
    )
    deployed = DeployedMargins(authorized, [deployment.name for deployment in get_deployments([])])
    photos = [photo for photo in read_photos() if photo.read_by(authorized)][:limit]
    clean = {photo: deployed.measure(photo.pixels, photo.label) for photo in photos}
    return Prepared(authorized, unknown, surrogates, deployed, clean)


def read_photos() -> list[LabelledPhoto]:
    """Return all validation images."""
    with (FOLDER / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    files = [(row["file"], (FOLDER / row["file"]).read_bytes(), int(row["label"])) for row in rows]
    return [LabelledPhoto(name, data, to_tensor(decode(data).pixels), label) for name, data, label in files]


def protect_part(
    photos: list[LabelledPhoto], authorized: Classifier, surrogates: list[Classifier], recipe: Recipe, budget: Budget
) -> torch.Tensor:
    """Return (B,3,H,W) uint8 protected photos of one size."""
    return protect_batch(
        torch.stack([photo.pixels for photo in photos]),
        torch.tensor([photo.label for photo in photos]),
        authorized=authorized,
        surrogates=surrogates,
        budget=budget,
        recipe=recipe,
        generators=[photo_generator(recipe.seed, photo.data) for photo in photos],
    ).pixels


@torch.inference_mode()
def answer(unknown: Classifier, pixels: torch.Tensor, label: int, name: str) -> dict[str, Any]:
    """Return the log-probability of the label, and whether a model reads a photo, through a deployment."""
    deployment = DEPLOYMENTS[name]
    crop = read_input(deployment.apply(to_array(pixels)), unknown.card.preprocess, deployment.reading)
    scores = unknown.logits(crop)[0].log_softmax(0)
    return {"log_probability": round(float(scores[label]), 3), "read": int(scores.argmax()) == label}


def describe(content: dict[str, Any]) -> str:
    """Return the figures of one variant in words."""
    rows = content["photos"]
    kept = [after > 0 for row in rows for before, after in row["margins"].values() if before > 0]
    everywhere = sum(all(after > 0 for before, after in row["margins"].values() if before > 0) for row in rows)
    unknown = [row["unknown"]["as-written"] for row in rows]
    return (
        f"kept {100 * sum(kept) / len(kept):.1f} % ({everywhere} of {len(rows)} photos everywhere), unknown model "
        f"reads {sum(answer['read'] for answer in unknown)}, log-probability "
        f"{sum(answer['log_probability'] for answer in unknown) / len(rows):.2f}, "
        f"{content['cpu_seconds_per_photo']} CPU seconds a photo"
    )


if __name__ == "__main__":
    main()
