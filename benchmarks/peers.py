"""Published attack methods in our loop, with and without the authorized constraint, on one validation set.

    python benchmarks/peers.py           # resumable; one JSON for each method in results/peers/

Authorized resnet50; surrogates resnet18 and squeezenet1_1; mobilenet_v2 plays the unknown model. The images are the
first of rows 128-143 of nips2017, on which settings were chosen; no other table uses them, nor that model as held out.
This table says what the constraint costs a method; benchmarks/deployments.py compares them at equal visibility. All use
epsilon 8; `decowa`, `ops` and `mef` take fewer views a step than their authors: see `recipe.RECIPES` and `passes`.
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
from onlymymodel.data.pixels import to_tensor
from onlymymodel.evaluate.score import wilson
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.batch import AttackBatch, SurrogateTargets
from onlymymodel.protect.attack.optimizer import optimize
from onlymymodel.protect.attack.recipe import OURS, RECIPES, Recipe
from onlymymodel.protect.attack.uint8 import to_float, to_uint8
from onlymymodel.protect.photo import photo_generator
from onlymymodel.runtime import environment
from onlymymodel.surrogates.classifier import Classifier

AUTHORIZED, SURROGATES, UNKNOWN = "resnet50", ("resnet18", "squeezenet1_1"), "mobilenet_v2"
FIRST, EPSILON = 128, 8
METHODS = [name for name in RECIPES if name == "default" or name not in OURS]


def main() -> None:
    """Run the methods that have no result yet."""
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
    """Return the files, their (N,3,299,299) uint8 pixels, and (N,) labels."""
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
    """Measure who reads the photos after a method: rounded and repaired if constrained, otherwise only rounded."""
    started = time.process_time()
    protected = torch.cat(
        [
            protect(recipe, data[part], pixels[part], labels[part], authorized, surrogates)
            for part in (slice(start, start + 8) for start in range(0, len(data), 8))
        ]
    )
    seconds = time.process_time() - started
    inputs = to_float(protected)
    with torch.no_grad():
        logits = unknown(inputs).log_softmax(1)
        right = {model.card.uri: int((model(inputs).argmax(1) == labels).sum()) for model in (authorized, *surrogates)}
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
    """Return the (B,3,H,W) uint8 photos after the method."""
    budget, clean = Budget(EPSILON / 255), to_float(pixels)
    streams = [photo_generator(recipe.seed, content) for content in data]
    if recipe.guard:
        return protect_batch(
            pixels,
            labels,
            authorized=authorized,
            surrogates=surrogates,
            budget=budget,
            recipe=recipe,
            generators=streams,
        ).pixels
    batch = AttackBatch(
        originals=clean,
        labels=labels,
        targets=[SurrogateTargets(labels, torch.ones(len(labels)))] * len(surrogates),
        budgets=[budget] * len(clean),
        generators=streams,
    )
    proposal = optimize(batch, authorized=authorized, surrogates=surrogates, recipe=recipe)
    return to_uint8(clean + budget.project(proposal.delta, clean))


def passes(recipe: Recipe, surrogates: int) -> int:
    """Return forward and backward passes of one network for one photo, without those of the constraint."""
    if recipe.objective == "feature":
        return recipe.steps
    per_step = surrogates * recipe.copies
    return recipe.steps * per_step * {"variance_reduced": 6, "warped": 2}.get(recipe.objective, 1)


if __name__ == "__main__":
    main()
