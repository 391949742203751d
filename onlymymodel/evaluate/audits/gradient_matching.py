"""Gradient matching: find pictures whose gradient by a network's weights is the one that was released.

One loop, and published attacks as settings of it: DLG (Zhu et al., Deep Leakage from Gradients, NeurIPS 2019), iDLG
(Zhao et al., arXiv 2001.02610), Inverting Gradients (Geiping et al., NeurIPS 2020) and one in the style of
GradInversion (Yin et al., CVPR 2021; without its group consistency, and with signs as in Inverting Gradients, which
ends lower here). Steps, weights and starts are ours, for small pictures on one core: gray starts end nearer than random
ones once a network is trained.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from onlymymodel.evaluate.audits.client_gradient import (
    Gradient,
    Statistics,
    answers,
    flat,
    loss_gradient,
    watched,
)
from onlymymodel.evaluate.audits.inversion_losses import total_variation

ROUND = 20  # L-BFGS iterations a step, as in DLG
DECAYS = (3 / 8, 5 / 8, 7 / 8)  # of the steps: where Adam's step size falls to a tenth
Imitate = Callable[[Gradient, Sequence[Tensor]], Sequence[Tensor]]


@dataclass(frozen=True)
class Attack:
    """A setting of the loop.

    Attributes:
        name: for people.
        distance: of two gradients: `l2`, the squared distance over the target's squared norm (the papers' has no such
            denominator; ours, so that a weight means the same for every picture); or `cosine`, 1 - cosine.
        optimizer: `lbfgs`, with a strong Wolfe line search and in float64; or `adam`, in float32, its step size
            falling to a tenth at each of `DECAYS`, its pixels held in [0,1].
        steps: of the optimizer; one of L-BFGS is `ROUND` iterations.
        step_size: of the optimizer, Adam's in pixel values.
        signed: Adam sees only the signs of the objective's gradient.
        labels: `known`; `recovered`, see `recover_labels`; or `joint`: logits optimized along with the pixels.
        total_variation: weight of the mean absolute difference of neighboring pixels.
        norm: weight of the mean squared pixel.
        statistics_weight: weight of the mean squared distances of each batch norm's input mean and variance.
        statistics: from what: `running`, the network's own, which are public with it; `batch`, of the very batch,
            as a client that sends its buffers gives them away.
        start: `uniform` in [0,1], `normal` (standard) or `gray`, which is the same for every restart.
        restarts: starts beyond the first; that with the lowest objective counts.
    """

    name: str
    distance: Literal["l2", "cosine"]
    optimizer: Literal["lbfgs", "adam"]
    steps: int
    step_size: float
    signed: bool = False
    labels: Literal["known", "recovered", "joint"] = "known"
    total_variation: float = 0.0
    norm: float = 0.0
    statistics_weight: float = 0.0
    statistics: Literal["running", "batch"] = "running"
    start: Literal["uniform", "normal", "gray"] = "uniform"
    restarts: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """A line search compares losses below float32's resolution; signs do not."""
        return torch.float64 if self.optimizer == "lbfgs" else torch.float32


ATTACKS = {
    "dlg": Attack("DLG", "l2", "lbfgs", steps=12, step_size=1.0, labels="joint", start="gray"),
    "idlg": Attack("iDLG", "l2", "lbfgs", steps=12, step_size=1.0, labels="recovered", start="gray"),
    "inverting": Attack(
        "Inverting Gradients", "cosine", "adam", steps=240, step_size=0.1, signed=True, total_variation=1e-3
    ),
    "gradinversion": Attack(
        "GradInversion-style",
        "l2",
        "adam",
        steps=240,
        step_size=0.1,
        signed=True,
        labels="recovered",
        total_variation=1e-3,
        norm=1e-4,
        statistics_weight=1e-2,
    ),
}


class Match(NamedTuple):
    """What gradient matching found.

    Attributes:
        pixels: (B,C,H,W) in [0,1].
        labels: (B,) long, those given, or those found together with the pixels.
        objective: at the pixels before they were clipped.
        trajectory: the objective before each step of the start that counts.
    """

    pixels: Tensor
    labels: Tensor
    objective: float
    trajectory: list[float]


def match_gradient(
    network: nn.Module,
    target: Sequence[Tensor],
    attack: Attack,
    shape: Sequence[int],
    *,
    labels: Tensor | None = None,
    statistics: Statistics | None = None,
    imitate: Imitate | None = None,
    seed: int = 0,
) -> Match:
    """Look for a batch whose gradient is the target.

    Args:
        network: a `client` in `attack.dtype`.
        target: a gradient by every parameter, in their order.
        shape: (B,C,H,W) of the batch.
        labels: (B,) long; not read where they are joint.
        statistics: that those of the batch norms' inputs are drawn to, with `attack.statistics_weight`; None: to none.
        imitate: of (a candidate's gradient, the target), what a defence did to the target, as far as it is known.
        seed: of the starts.

    Raises:
        ValueError: the target is zero or not finite: there is nothing to match; no labels.
    """
    target = [part.detach().to(attack.dtype) for part in target]
    size = flat(target).double().norm().item()
    if not math.isfinite(size) or size == 0:
        raise ValueError(f"a gradient of norm {size} cannot be matched")
    if labels is None and attack.labels != "joint":
        raise ValueError(f"{attack.name} needs labels")
    generator = torch.Generator().manual_seed(seed)

    def once() -> Match:
        pixels = _start(attack, shape, generator).to(target[0])
        if attack.labels == "joint":
            with torch.no_grad():
                logits = answers(network, pixels)
            said = torch.randn(logits.shape, generator=generator, dtype=torch.float64).to(logits)
        else:
            assert labels is not None
            said = labels.to(pixels.device)
        objective = _objective(network, target, size, attack, statistics, imitate)
        return _descend(attack, objective, pixels, said)

    return min((once() for _ in range(1 + attack.restarts)), key=lambda match: match.objective)


def l2(gradient: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Squared distance of two gradients over the target's squared norm."""
    return (flat(gradient) - flat(target)).square().sum() / flat(target).square().sum()


def cosine(gradient: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """1 - cosine of two gradients, each as one vector; 1 where one of them is zero."""
    first, second = (flat(part) for part in (gradient, target))
    tiny = torch.finfo(first.dtype).tiny
    value: Tensor = 1 - (first / first.norm().clamp(min=tiny)) @ (second / second.norm().clamp(min=tiny))
    return value


DISTANCES = {"l2": l2, "cosine": cosine}


Objective = Callable[[Tensor, Tensor], Tensor]  # of pixels, and labels or logits


def _objective(
    network: nn.Module,
    target: Sequence[Tensor],
    size: float,
    attack: Attack,
    statistics: Statistics | None,
    imitate: Imitate | None,
) -> Objective:
    unit = [part / size for part in target]  # so that squares do not vanish where a network is nearly sure

    def objective(pixels: Tensor, said: Tensor) -> Tensor:
        labels = said.softmax(1) if said.is_floating_point() else said
        with watched(network) as seen:
            gradient: Sequence[Tensor] = loss_gradient(network, pixels, labels, differentiable=True)
        if imitate is not None:
            gradient = imitate(tuple(gradient), target)
        value = DISTANCES[attack.distance]([part / size for part in gradient], unit)
        if attack.total_variation:
            value = value + attack.total_variation * total_variation(pixels)
        if attack.norm:
            value = value + attack.norm * pixels.square().mean()
        for own, given in zip(seen.values(), statistics, strict=True) if statistics else ():
            off = sum(F.mse_loss(mine, its.to(mine)) for mine, its in zip(own, given, strict=True))
            value = value + attack.statistics_weight * off
        return value

    return objective


def _descend(attack: Attack, objective: Objective, pixels: Tensor, said: Tensor) -> Match:
    """The loop: from one start to the iterate of the lowest objective."""
    pixels.requires_grad_()
    variables = [pixels, said.requires_grad_()] if said.is_floating_point() else [pixels]
    optimizer, schedule = _optimizer(attack, variables)

    def closure() -> float:
        value = objective(pixels, said)
        for variable, slope in zip(variables, torch.autograd.grad(value, variables), strict=True):
            variable.grad = slope.sign() if attack.signed else slope
        return value.item()

    best, lowest, trajectory = [variable.detach().clone() for variable in variables], math.inf, []
    for step in range(attack.steps + 1):
        here = [variable.detach().clone() for variable in variables]
        value = optimizer.step(closure) if step < attack.steps else objective(pixels, said).item()
        if value < lowest:
            best, lowest = here, value
        if step == attack.steps or not math.isfinite(value):
            break
        trajectory.append(value)
        schedule.step()
        if attack.optimizer == "adam":
            pixels.data.clamp_(0, 1)
        elif step and value == trajectory[-2]:  # L-BFGS stands
            break
    labels = best[1].argmax(1) if len(best) > 1 else said
    return Match(best[0].clamp(0, 1), labels, lowest, trajectory)


def _optimizer(
    attack: Attack, variables: list[Tensor]
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer: torch.optim.Optimizer
    if attack.optimizer == "adam":
        optimizer = torch.optim.Adam(variables, lr=attack.step_size)
        decays = [round(share * attack.steps) for share in DECAYS]
    else:
        optimizer = torch.optim.LBFGS(
            variables,
            lr=attack.step_size,
            max_iter=ROUND,
            history_size=100,
            tolerance_grad=1e-12,
            tolerance_change=1e-15,
            line_search_fn="strong_wolfe",
        )
        decays = []
    return optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, decays, gamma=0.1)


def _start(attack: Attack, shape: Sequence[int], generator: Generator) -> Tensor:
    """float64, drawn on the CPU, so that every device and type starts from the same."""
    if attack.start == "gray":
        return torch.full(tuple(shape), 0.5, dtype=torch.float64)
    draw = torch.rand if attack.start == "uniform" else torch.randn
    return draw(tuple(shape), generator=generator, dtype=torch.float64)
