"""A canary: a small picture that every process changes at its start, to see whether machines compute alike.

Its hash covers floating-point numbers before any rounding: where it is the same on two machines, models, gradients and
optimizer gave the same bits there for this one picture. That makes equal files likely; it proves nothing.
"""

import hashlib
import platform
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.errors import number_of
from onlymymodel.protect.attack.batch import AttackRow, make_batch
from onlymymodel.protect.attack.optimizer import models_in_use, optimize
from onlymymodel.protect.attack.targets import apply_target_class, attack_classes
from onlymymodel.protect.context import Context
from onlymymodel.runtime import configure
from onlymymodel.surrogates.answers import answers
from onlymymodel.surrogates.device_copy import to_device

SIDE, STEPS = 64, 2
SEEDS = 1 << 64  # of torch's generators; that of a recipe may be larger
# eyes, nose and corners of the mouth, roughly; models that align faces get these, so that nothing is detected
LANDMARKS = ((24.0, 28.0), (40.0, 28.0), (32.0, 36.0), (26.0, 45.0), (38.0, 45.0))


@dataclass(frozen=True)
class Canary:
    """Result of the canary in one process, with its machine and versions.

    Attributes:
        sha256: of the numbers.
        machine: architecture, instructions that torch uses, and name of the CPU.
        torch: its version.
        device: `cpu`, or the name of a GPU.
        threads: number of threads that share the work of one process on the CPU.
    """

    sha256: str
    machine: str
    torch: str
    device: str
    threads: int

    def __str__(self) -> str:
        threads = number_of(self.threads, "thread")
        return f"{self.machine}, torch {self.torch}, {self.device}, {threads} ({self.sha256[:8]})"


def run_canary(context: Context) -> Canary:
    """Change a rendered portrait in a few steps of a run's optimizer, and hash what the models then compute.

    An attack from outside does not take part.
    """
    configure()
    pixels = to_device(to_tensor(render(1, 1, 1, SIDE)), context.device)
    landmarks = torch.tensor(LANDMARKS)
    recipe = replace(context.recipe, steps=min(STEPS, context.recipe.steps), attack="")
    models = models_in_use(context.authorized, context.surrogates, recipe)
    batch = make_batch([_row(pixels, landmarks, context)], (SIDE, SIDE), models)
    delta = optimize(batch, authorized=context.authorized, surrogates=context.surrogates, recipe=recipe).delta
    digest = hashlib.sha256(_bytes(delta))
    for model in (context.authorized, *context.surrogates):
        changed = (batch.originals + delta).detach().requires_grad_()
        logits = model.at(changed, landmarks[None])
        (gradient,) = torch.autograd.grad(logits.amax(), changed)
        digest.update(_bytes(logits) + _bytes(gradient))
    return Canary(digest.hexdigest(), _machine(), str(torch.__version__), _device(context), torch.get_num_threads())


def _row(pixels: Tensor, landmarks: Tensor, context: Context) -> AttackRow:
    """Return the canary as a row of an attack; its label is the authorized model's own answer."""
    models = (context.authorized, *context.surrogates)
    with torch.no_grad():
        labels, *predictions = [answers(model.card, model.at(pixels[None], landmarks[None])) for model in models]
    away = attack_classes(labels, predictions, context.authorized, context.surrogates, context.recipe)
    targets = apply_target_class(
        away, labels, authorized=context.authorized, surrogates=context.surrogates, recipe=context.recipe
    )
    return AttackRow(
        original=pixels,
        label=int(labels),
        classes=tuple(int(classes) for classes, _ in targets),
        signs=tuple(float(signs) for _, signs in targets),
        budget=context.budget,
        generator=torch.Generator().manual_seed(context.recipe.seed % SEEDS),
        landmarks=landmarks,
    )


def _bytes(values: Tensor) -> bytes:
    return values.detach().float().cpu().contiguous().numpy().tobytes()


def _device(context: Context) -> str:
    device = context.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        name = platform.processor()
    return " ".join(filter(None, (platform.machine(), torch.backends.cpu.get_cpu_capability(), name)))
