"""What a protection step costs beyond the networks themselves.

    uv run python benchmarks/overhead.py

Times whole steps of the `default` recipe against the bare forward and backward passes of the same models on the same
batch, in turn in one run: after each step one bare pass. The guard's kappa is set so high that the authorized model's
backward pass is needed at every step; a run in which its margin holds is cheaper than what is measured here.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from assets import ASSETS, RESULTS, uri
from torch import Tensor

from onlymymodel import Budget, configure, load_model, make_recipe
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import decode
from onlymymodel.protect.lattice import from_lattice
from onlymymodel.protect.optimizer import optimize
from onlymymodel.protect.photo import photo_generator, to_tensor
from onlymymodel.runtime import environment
from onlymymodel.surrogates.classifier import Classifier

AUTHORIZED = "resnet50"
SURROGATES = ("resnet18", "vit_tiny", "squeezenet1_1", "mobilenet_v2")


def main() -> None:
    """Measure and write results/overhead.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    configure()
    authorized, *surrogates = (load_model(uri(name)) for name in (AUTHORIZED, *SURROGATES))
    files = sorted((ASSETS / "imagenet" / "nips2017").glob("*.png"))[: arguments.batch]
    data = [file.read_bytes() for file in files]
    photos = from_lattice(torch.stack([to_tensor(decode(content).pixels) for content in data]))
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


def alternate(
    photos: Tensor, labels: Tensor, data: list[bytes], authorized: Classifier, surrogates: list[Classifier], count: int
) -> tuple[list[float], list[float]]:
    """Seconds of each step and of each bare pass, the first (warm-up) of both left out."""
    steps: list[float] = []
    bare: list[float] = []
    crops = [
        (model, model.card.preprocess.center(model.card.preprocess.canvas(photos)))
        for model in (authorized, *surrogates)
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

    optimize(
        photos,
        labels,
        authorized=authorized,
        surrogates=surrogates,
        targets=[labels] * len(surrogates),
        budget=Budget(),
        recipe=make_recipe("default", steps=count + 1, kappa=1e6),
        generators=[photo_generator(0, content) for content in data],
        on_step=on_step,
    )
    return steps[1:], bare[1:]


def bare_pass(crops: list[tuple[Classifier, Tensor]], labels: Tensor) -> None:
    """Each model's forward and backward pass on its own ready-made input."""
    for model, crop in crops:
        leaf = crop.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(model.logits(leaf), labels, reduction="sum"), leaf)


if __name__ == "__main__":
    main()
