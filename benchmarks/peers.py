"""Other people's methods in our loop, with and without the authorized constraint, on one validation set.

    uv run python benchmarks/peers.py           # resumable; one JSON a method in results/peers/

Authorized resnet50; surrogates resnet18 and squeezenet1_1; mobilenet_v2 plays the unknown model. The images are the
first of rows 128-143 of nips2017, on which settings were chosen; no other table uses them, nor that model as held out.
This table ranks the methods, and the two strongest peers go into the table of benchmarks/transfer.py. All methods are
given epsilon 8 and their official numbers of steps and copies, whatever these cost: `passes` says what.
"""

import argparse
import csv
import json
import time
from collections.abc import Sequence
from typing import Any

import torch
from assets import ASSETS, RESULTS, uri
from torch import Tensor

from onlymymodel import Budget, configure, load_model, make_recipe
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import decode
from onlymymodel.evaluate.results import wilson
from onlymymodel.protect.lattice import from_lattice, to_lattice
from onlymymodel.protect.optimizer import optimize, settle_proposal
from onlymymodel.protect.photo import photo_generator, to_tensor
from onlymymodel.protect.recipe import OURS, RECIPES, Recipe
from onlymymodel.runtime import environment
from onlymymodel.surrogates.classifier import Classifier

AUTHORIZED, SURROGATES, UNKNOWN = "resnet50", ("resnet18", "squeezenet1_1"), "mobilenet_v2"
FIRST, EPSILON = 128, 8
METHODS = [name for name in RECIPES if name == "default" or name not in OURS]


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--limit", type=int, default=16, metavar="N", help="images; 16 at most")
    arguments = parser.parse_args()
    configure()
    data, pixels, labels = photos(min(arguments.limit, 16))
    authorized, unknown, *surrogates = (load_model(uri(name, "squash")) for name in (AUTHORIZED, UNKNOWN, *SURROGATES))
    for name in arguments.methods:
        for guard in (True, False):
            target = RESULTS / "peers" / f"{name}-{'constrained' if guard else 'free'}.json"
            if target.exists() and json.loads(target.read_text(encoding="utf-8"))["photos"] == len(data):
                continue
            recipe = make_recipe(name, guard=guard, precision="bfloat16")
            content = measure(recipe, data, pixels, labels, authorized, surrogates, unknown)
            write_atomic(target, (json.dumps(content, indent=1) + "\n").encode())
            print(f"{name:8} constrained={guard}: {content['unknown_right']} of {len(data)} read by {UNKNOWN}")


def photos(limit: int) -> tuple[list[bytes], Tensor, Tensor]:
    """The files, (N,3,299,299) uint8, and (N,) labels."""
    folder = ASSETS / "imagenet" / "nips2017"
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[FIRST : FIRST + limit]
    data = [(folder / row["file"]).read_bytes() for row in rows]
    pixels = torch.stack([to_tensor(decode(content).pixels) for content in data])
    return data, pixels, torch.tensor([int(row["label"]) for row in rows])


def measure(
    recipe: Recipe,
    data: Sequence[bytes],
    pixels: Tensor,
    labels: Tensor,
    authorized: Classifier,
    surrogates: Sequence[Classifier],
    unknown: Classifier,
) -> dict[str, Any]:
    """Who reads the photos after a method: constrained, rounded and repaired; free, just rounded."""
    started = time.process_time()
    made = torch.cat(
        [
            protect(recipe, data[part], pixels[part], labels[part], authorized, surrogates)
            for part in (slice(start, start + 8) for start in range(0, len(data), 8))
        ]
    )
    seconds = time.process_time() - started
    seen = from_lattice(made)
    with torch.no_grad():
        logits = unknown(seen).log_softmax(1)
        right = {model.card.uri: int((model(seen).argmax(1) == labels).sum()) for model in (authorized, *surrogates)}
    unknown_right = int((logits.argmax(1) == labels).sum())
    return {
        "schema": 1,
        "made_by": f"benchmarks/peers.py --methods {recipe.name} --limit {len(data)}",
        "method": recipe.name,
        "constrained": recipe.guard,
        "epsilon": EPSILON,
        "photos": len(data),
        "unknown_right": unknown_right,
        "unknown_interval": wilson(unknown_right, len(data)),
        "unknown_log_probability": round(float(logits.gather(1, labels[:, None]).mean()), 3),
        "right": right,
        "passes": passes(recipe, len(surrogates)),
        "cpu_seconds_per_photo": round(seconds / len(data), 2),
        "models": {model.card.uri: model.card.sha256 for model in (authorized, unknown, *surrogates)},
        "recipe": recipe.to_json(),
        "environment": environment(),
    }


def protect(
    recipe: Recipe,
    data: Sequence[bytes],
    pixels: Tensor,
    labels: Tensor,
    authorized: Classifier,
    surrogates: Sequence[Classifier],
) -> Tensor:
    """(B,3,H,W) uint8 after the method."""
    budget, clean = Budget(EPSILON / 255), from_lattice(pixels)
    proposal = optimize(
        clean,
        labels,
        authorized=authorized,
        surrogates=surrogates,
        targets=[labels] * len(surrogates),
        budget=budget,
        recipe=recipe,
        generators=[photo_generator(recipe.seed, content) for content in data],
    )
    if not recipe.guard:
        return to_lattice(clean + budget.project(proposal.delta, clean))
    return settle_proposal(pixels, proposal, labels, authorized=authorized, budget=budget, recipe=recipe).pixels


def passes(recipe: Recipe, surrogates: int) -> int:
    """Forward and backward passes of one network for one photo, without those of the constraint."""
    if recipe.objective == "feature":
        return recipe.steps
    once = surrogates * recipe.copies
    return recipe.steps * (once + 4 * surrogates * recipe.copies if recipe.objective == "variance_reduced" else once)


if __name__ == "__main__":
    main()
