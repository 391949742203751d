"""Batches for tests of the optimizer and the quantization."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from toys import generators

from onlymymodel.protect.attack.batch import AttackBatch, Rows, SurrogateTargets
from onlymymodel.protect.attack.quantize import quantize_and_repair
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.surrogates.classifier import Classifier


def attack_batch(
    originals: Tensor,
    classes: Tensor,
    *,
    surrogates: int = 1,
    budget: Budget | Sequence[Budget] | None = None,
    signs: Tensor | None = None,
    streams: Sequence[Generator] | None = None,
) -> AttackBatch:
    """Photos (B,C,H,W) in [0,1] whose (B,) labels are the classes that every surrogate is to leave."""
    away = torch.ones(len(originals)) if signs is None else signs
    budgets = [budget or Budget()] * len(originals) if budget is None or isinstance(budget, Budget) else budget
    return AttackBatch(
        originals=originals,
        labels=classes,
        targets=[SurrogateTargets(classes, away)] * surrogates,
        budgets=budgets,
        generators=generators(len(originals)) if streams is None else streams,
    )


def rows(*numbers: int) -> Rows:
    """Rows of a batch on the CPU."""
    return Rows.of(numbers, torch.device("cpu"))


class QuantizedBatch(NamedTuple):
    """`Quantized` photos, stacked."""

    pixels: Tensor
    margins: Tensor
    admissible: Tensor


def quantize_batch(
    original: Tensor,
    delta: Tensor,
    labels: Tensor,
    *,
    authorized: Classifier,
    budget: Budget,
    kappa: float,
    repair_steps: int,
    mask: Tensor | None = None,
) -> QuantizedBatch:
    """`quantize_and_repair`, photo by photo; original (B,C,H,W) uint8, delta (B,C,H,W), mask (B,1,H,W)."""
    quantized = [
        quantize_and_repair(
            original[row],
            delta[row],
            int(labels[row]),
            authorized=authorized,
            budget=budget,
            recipe=Recipe(kappa=kappa, repair_steps=repair_steps),
            mask=None if mask is None else mask[row],
        )
        for row in range(len(original))
    ]
    pixels, margins, admissible = zip(*quantized, strict=True)
    return QuantizedBatch(torch.stack(pixels), torch.tensor(margins), torch.tensor(admissible))
