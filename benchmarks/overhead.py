"""Measure the cost of a protection step beyond the networks themselves.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --folding
    python benchmarks/overhead.py --compile
    python benchmarks/overhead.py --recipes

Times whole steps of the `default` recipe against the bare forward and backward passes of the same models on the same
batch, alternating in one run: after each step one bare pass, with as many of the authorized model as the guard takes
looks. The guard's kappa is so high that every step needs the authorized model's backward passes; a run in which its
margin holds is cheaper than this.

`--recipes` times whole photos, by `default` and by `exact` in turn: from the file's bytes to the checked file.

`--folding` times whole steps of `default` instead, its kappa included, with and without folded batch norms in turn: the
sum over the steps of the least CPU seconds that the step took in any turn, since other programs share the machine.

`--compile` does the same with and without networks that torch.compile has compiled, and measures the CPU seconds that
compiling takes, those of the C++ compiler included: what the first run takes more than the second.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from assets import ASSETS, RESULTS, uri
from torch import Tensor

from onlymymodel import Budget, configure, load_model, make_recipe
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import decode
from onlymymodel.data.pixels import to_tensor
from onlymymodel.protect.attack.batch import AttackBatch, SurrogateTargets
from onlymymodel.protect.attack.optimizer import optimize
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.context import Context
from onlymymodel.protect.photo import photo_generator, protect_bytes
from onlymymodel.runtime import environment
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.early_checks import check_compiler

Attack = Callable[[], AttackBatch]

AUTHORIZED = "resnet50"
SURROGATES = ("resnet18", "vit_tiny", "squeezenet1_1", "mobilenet_v2")
# each: the authorized model, then the surrogates; mobilenet_v2 came without batch norms
FOLDING = ((AUTHORIZED, *SURROGATES), ("mobilenet_v2", "resnet18", "vit_tiny", "squeezenet1_1"))


def main() -> None:
    """Measure and write results/overhead.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--folding", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--recipes", action="store_true")
    parser.add_argument("--turns", type=int, default=10)
    arguments = parser.parse_args()
    if arguments.folding:
        measure_folding(arguments.steps, arguments.batch, arguments.turns)
        return
    if arguments.compile:
        measure_compiling(arguments.steps, arguments.batch, arguments.turns)
        return
    if arguments.recipes:
        measure_recipes(arguments.batch)
        return
    configure()
    authorized, *surrogates = (load_model(uri(name)) for name in (AUTHORIZED, *SURROGATES))
    photos, data = read_photos(arguments.batch)
    with torch.no_grad():
        labels = authorized(photos).argmax(1)
    steps, bare = alternate(photos, labels, data, authorized, surrogates, arguments.steps)
    content = {
        "schema": 1,
        "made_by": f"benchmarks/overhead.py --steps {arguments.steps} --batch {arguments.batch}",
        "photos": list(photos.shape),
        "models": {model.card.uri: model.card.sha256 for model in (authorized, *surrogates)},
        "step_seconds_median": round(statistics.median(steps), 4),
        "bare_seconds_median": round(statistics.median(bare), 4),
        "ratio_of_medians": round(statistics.median(steps) / statistics.median(bare), 4),
        "ratios_in_turn": [round(step / pass_, 4) for step, pass_ in zip(steps, bare, strict=True)],
        "environment": environment(),
    }
    write_atomic(RESULTS / "overhead.json", (json.dumps(content, indent=1) + "\n").encode())
    print(f"a step takes {content['ratio_of_medians']} times the bare passes")


def read_photos(count: int) -> tuple[Tensor, list[bytes]]:
    """Return the first NIPS-2017 images in [0,1], and their files."""
    files = sorted((ASSETS / "imagenet" / "nips2017").glob("*.png"))[:count]
    data = [file.read_bytes() for file in files]
    return to_float(torch.stack([to_tensor(decode(content).pixels) for content in data])), data


def make_attack(photos: Tensor, labels: Tensor, data: list[bytes], surrogates: int) -> AttackBatch:
    """Return a batch that every surrogate is to misread."""
    return AttackBatch(
        originals=photos,
        labels=labels,
        targets=[SurrogateTargets(labels, torch.ones(len(labels)))] * surrogates,
        budgets=[Budget()] * len(photos),
        generators=[photo_generator(0, content) for content in data],
    )


def measure_folding(count: int, batch: int, turns: int) -> None:
    """Write results/folding.json: CPU seconds of whole steps with and without folded batch norms."""

    def cell(models: list[Classifier], attack: Attack, recipe: Recipe) -> dict[str, Any]:
        plain, folded = (partial(timed, models, attack, recipe) for timed in (unfolded_steps, time_steps))
        return compare("folded", plain, folded, turns)

    write_cells("folding", f"--folding --steps {count} --batch {batch} --turns {turns}", FOLDING, count, batch, cell)


def measure_compiling(count: int, batch: int, turns: int) -> None:
    """Write results/compile.json: CPU seconds of whole steps with and without compiled networks, and of compiling."""
    check_compiler()
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # the compiler is then a child of this process, whose time counts

    def cell(models: list[Classifier], attack: Attack, recipe: Recipe) -> dict[str, Any]:
        torch.compiler.reset()
        plain = partial(time_steps, models, attack, recipe)
        with_compiling = partial(time_steps, models, attack, replace(recipe, compile=True))
        first, second = cpu_seconds_of(with_compiling), cpu_seconds_of(with_compiling)
        found = compare("compiled", plain, with_compiling, turns)
        saved = (found["seconds_plain"] - found["seconds_compiled"]) / count
        return {
            **found,
            "compile_seconds": round(first - second, 1),
            "pays_after_steps": round((first - second) / saved) if saved > 0 else None,
        }

    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        # one team: a second one would find the first one's networks compiled
        flags = f"--compile --steps {count} --batch {batch} --turns {turns}"
        write_cells("compile", flags, FOLDING[:1], count, batch, cell)


def write_cells(
    name: str,
    flags: str,
    teams: Sequence[Sequence[str]],
    count: int,
    batch: int,
    cell: Callable[[list[Classifier], Attack, Recipe], dict[str, Any]],
) -> None:
    """Write a file of results with a cell for each team of models and each precision.

    Args:
        name: of the file.
        flags: with which it is made.
        teams: names of models, the authorized one first.
        count: number of steps.
        batch: number of photos.
        cell: measures `default` on models and photos.
    """
    configure()
    photos, data = read_photos(batch)
    cells = []
    for names in teams:
        models = [load_model(uri(model)) for model in names]
        with torch.no_grad():
            labels = models[0](photos).argmax(1)
        attack = partial(make_attack, photos, labels, data, len(models) - 1)
        for precision in ("float32", "bfloat16"):
            recipe = make_recipe("default", steps=count + 1, precision=precision)
            uris = {"authorized": models[0].card.uri, "surrogates": [model.card.uri for model in models[1:]]}
            cells.append({"precision": precision, **uris, **cell(models, attack, recipe)})
            print(cells[-1], flush=True)
    made_by = f"benchmarks/overhead.py {flags}"
    content = {"schema": 1, "made_by": made_by, "cells": cells, "environment": environment()}
    write_atomic(RESULTS / f"{name}.json", (json.dumps(content, indent=1) + "\n").encode())


def measure_recipes(count: int) -> None:
    """Write results/recipe_cost.json: CPU seconds of whole photos by `default` and by `exact`."""
    configure()
    _, data = read_photos(count)
    cells = []
    for names in FOLDING:
        authorized, *surrogates = (load_model(uri(name)) for name in names)
        seconds: dict[str, list[float]] = {"default": [], "exact": []}
        for content in data:
            for name, taken in seconds.items():
                recipe = make_recipe(name, precision="bfloat16")
                context = Context(authorized, tuple(surrogates), Budget(8 / 255), recipe)
                started = time.process_time()
                protect_bytes(content, label=None, context=context)
                taken.append(round(time.process_time() - started, 2))
        cells.append(
            {
                "authorized": authorized.card.uri,
                "surrogates": [model.card.uri for model in surrogates],
                "seconds": seconds,
                "ratio_of_sums": round(sum(seconds["default"]) / sum(seconds["exact"]), 3),
            }
        )
        print(cells[-1], flush=True)
    content_of_file = {
        "schema": 1,
        "made_by": f"benchmarks/overhead.py --recipes --batch {count}",
        "cells": cells,
        "environment": environment(),
    }
    write_atomic(RESULTS / "recipe_cost.json", (json.dumps(content_of_file, indent=1) + "\n").encode())


def compare(
    name: str, plain: Callable[[], list[float]], other: Callable[[], list[float]], turns: int
) -> dict[str, Any]:
    """Time whole runs in turn, and add up the least time of each step."""
    before, after = zip(*((plain(), other()) for _ in range(turns)), strict=True)
    of_plain, of_other = (sum(map(min, zip(*each, strict=True))) for each in (before, after))
    return {
        "seconds_plain": round(of_plain, 3),
        f"seconds_{name}": round(of_other, 3),
        "saved": round(1 - of_other / of_plain, 4),
        "saved_in_turn": [round(1 - sum(b) / sum(a), 3) for a, b in zip(before, after, strict=True)],
    }


def unfolded_steps(models: list[Classifier], attack: Attack, recipe: Recipe) -> list[float]:
    """Return what `time_steps` does, of networks with their batch norms."""
    with patch("onlymymodel.protect.attack.optimizer.folded", lambda model: model):
        return time_steps(models, attack, recipe)


def cpu_seconds_of(act: Callable[[], object]) -> float:
    """Return the CPU seconds of a call, those of processes that it started and awaited included."""
    before = os.times()
    act()
    return sum(os.times()[:4]) - sum(before[:4])


def time_steps(models: list[Classifier], attack: Attack, recipe: Recipe) -> list[float]:
    """Return the CPU seconds of each step but the first, which warms up."""
    times = [time.process_time()]

    def on_step(_step: int, _steps: int) -> None:
        times.append(time.process_time())

    optimize(attack(), authorized=models[0], surrogates=models[1:], recipe=recipe, on_step=on_step)
    return [after - before for before, after in pairwise(times)][1:]


def alternate(
    photos: Tensor, labels: Tensor, data: list[bytes], authorized: Classifier, surrogates: list[Classifier], count: int
) -> tuple[list[float], list[float]]:
    """Return the seconds of each step and of each bare pass, without the first (warm-up) of both."""
    steps: list[float] = []
    bare: list[float] = []
    recipe = make_recipe("default", steps=count + 1, kappa=1e6)
    crops = [
        (model, model.card.preprocess.center(model.card.preprocess.canvas(photos)))
        for model in (*[authorized] * (1 + recipe.guard_looks), *surrogates)
    ]
    bare_pass(crops, labels)
    started = time.perf_counter()

    def on_step(_step: int, _steps: int) -> None:
        nonlocal started
        steps.append(time.perf_counter() - started)
        started = time.perf_counter()
        bare_pass(crops, labels)
        bare.append(time.perf_counter() - started)
        started = time.perf_counter()

    batch = make_attack(photos, labels, data, len(surrogates))
    optimize(batch, authorized=authorized, surrogates=surrogates, recipe=recipe, on_step=on_step)
    return steps[1:], bare[1:]


def bare_pass(crops: list[tuple[Classifier, Tensor]], labels: Tensor) -> None:
    """Run each model's forward and backward pass on its prepared input."""
    for model, crop in crops:
        leaf = crop.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(model.logits(leaf), labels, reduction="sum"), leaf)


if __name__ == "__main__":
    main()
