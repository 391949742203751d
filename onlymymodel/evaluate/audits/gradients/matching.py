"""Gradient matching: optimize pictures until their gradient by a network's weights is the one that was released.

One loop, with published attacks as settings of it: DLG (Zhu et al., Deep Leakage from Gradients, NeurIPS 2019), iDLG
(Zhao et al., arXiv 2001.02610), Inverting Gradients (Geiping et al., NeurIPS 2020) and one in the style of
GradInversion (Yin et al., CVPR 2021; without its group consistency). Numbers of steps, weights and initializations are
ours, for small pictures on one core: once a network is trained, gray initializations end closer than random ones, and
the last attack, which has the squared distance in its paper, ends below the mean picture with it and far above it with
the cosine and signs of Inverting Gradients, which it has here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from onlymymodel.evaluate.audits.gradients.client_gradient import (
    Gradient,
    Statistics,
    compute_logits,
    flatten_gradient,
    loss_gradient,
    record_statistics,
)
from onlymymodel.evaluate.audits.priors import total_variation

LBFGS_ITERATIONS = 20  # in one step, as in DLG
DECAYS = (3 / 8, 5 / 8, 7 / 8)  # shares of the steps after which Adam's step size falls to a tenth
SNAPSHOTS = 13  # of the pixels along a trajectory
Imitate = Callable[[Gradient, Sequence[Tensor]], Sequence[Tensor]]
Update = Callable[..., Gradient]  # of a network, pixels, labels, and `differentiable`
Objective = Callable[[Tensor, Tensor], Tensor]  # of pixels, and of labels or logits


@dataclass(frozen=True)
class Attack:
    """Settings of gradient matching.

    Attributes:
        name: name of the attack, for people.
        distance: distance of two gradients: `l2`, the squared distance over the target's squared norm (the papers have
            no such denominator; ours, so that a weight means the same for every picture); or `cosine`, 1 - cosine.
        optimizer: `lbfgs`, with a strong Wolfe line search and in float64; or `adam`, in float32, whose step size falls
            to a tenth at each of `DECAYS`, with pixels clipped to [0,1].
        steps: number of steps of the optimizer; one of L-BFGS is `LBFGS_ITERATIONS` iterations.
        step_size: step size of the optimizer; Adam's in pixel values.
        signed: whether Adam gets only the signs of the objective's gradient.
        labels: `known`; `recovered`, see `recover_labels`; or `joint`, logits that are optimized with the pixels.
        total_variation: weight of the total variation of the pixels.
        norm: weight of the mean squared pixel.
        statistics_weight: weight of the mean squared distances of the mean and the variance of each batch norm's input.
        statistics: where the target statistics come from: `running`, the network's own, which are public with it; or
            `batch`, those of the very batch, which a client that sends its buffers reveals.
        start: initialization, `uniform` in [0,1], `normal` (standard) or `gray`, with uniform restarts.
        restarts: number of initializations beyond the first; the result with the lowest objective is kept.
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
        """The type of the computation: a line search compares losses below float32's resolution, signs do not."""
        return torch.float64 if self.optimizer == "lbfgs" else torch.float32


ATTACKS = {
    "dlg": Attack("DLG", "l2", "lbfgs", steps=12, step_size=1.0, labels="joint", start="gray"),
    "idlg": Attack("iDLG", "l2", "lbfgs", steps=12, step_size=1.0, labels="recovered", start="gray"),
    "inverting": Attack(
        "Inverting Gradients", "cosine", "adam", steps=240, step_size=0.1, signed=True, total_variation=1e-3
    ),
    "gradinversion": Attack(
        "GradInversion-style",
        "cosine",
        "adam",
        steps=240,
        step_size=0.1,
        signed=True,
        labels="recovered",
        total_variation=1e-3,
        norm=1e-4,
        statistics_weight=1e-2,
        start="gray",
    ),
}


class Match(NamedTuple):
    """Result of gradient matching.

    Attributes:
        pixels: (B,C,H,W) in [0,1], the reconstructions.
        labels: (B,) long, given or reconstructed together with the pixels.
        objective: objective of the pixels before they were clipped.
        trajectory: objective before each step, of the initialization that was kept.
        snapshots: (B,C,H,W) pixels in [0,1] before some steps, by their number, at most `SNAPSHOTS`, evenly spread.
    """

    pixels: Tensor
    labels: Tensor
    objective: float
    trajectory: list[float]
    snapshots: dict[int, Tensor]


def match_gradient(
    network: nn.Module,
    target: Sequence[Tensor],
    attack: Attack,
    shape: Sequence[int],
    *,
    labels: Tensor | None = None,
    statistics: Statistics | None = None,
    imitate: Imitate | None = None,
    update: Update = loss_gradient,
    seed: int = 0,
) -> Match:
    """Search for a batch whose gradient is the target.

    Args:
        network: network as by `client_copy`, in `attack.dtype`.
        target: gradient by every parameter, in their order.
        shape: (B,C,H,W) of the batch.
        labels: (B,) long; ignored if the attack optimizes them.
        statistics: target of the statistics of the batch norms' inputs, with `attack.statistics_weight`.
        imitate: function of (gradient of a candidate, target) that applies to the candidate what a defense did to the
            target, as far as it is known.
        update: what the client sends of a batch, such as `GradientRelease.update`.
        seed: seed of the initializations.

    Raises:
        ValueError: the target is zero or not finite, or the attack needs labels and has none.
    """
    target = [part.detach().to(attack.dtype) for part in target]
    norm = flatten_gradient(target).double().norm().item()
    if not math.isfinite(norm) or norm == 0:
        raise ValueError(f"a gradient of norm {norm} cannot be matched")
    if labels is None and attack.labels != "joint":
        raise ValueError(f"{attack.name} needs labels")
    generator = torch.Generator().manual_seed(seed)

    def run_once(number: int) -> Match:
        pixels = _initial_pixels(attack, shape, generator, number).to(target[0])
        if attack.labels == "joint":
            with torch.no_grad():
                logits = compute_logits(network, pixels)
            classes = torch.randn(logits.shape, generator=generator, dtype=torch.float64).to(logits)
        else:
            assert labels is not None
            classes = labels.to(pixels.device)
        objective = _objective(network, target, norm, attack, statistics, imitate, update)
        return _minimize(attack, objective, pixels, classes)

    return min(map(run_once, range(1 + attack.restarts)), key=lambda match: match.objective)


def l2(gradient: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Return the squared distance of two gradients over the target's squared norm."""
    flat_target = flatten_gradient(target)
    return (flatten_gradient(gradient) - flat_target).square().sum() / flat_target.square().sum()


def cosine(gradient: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Return 1 - cosine of two gradients, each as one vector; 1 if one of them is zero."""
    first, second = (flatten_gradient(part) for part in (gradient, target))
    tiny = torch.finfo(first.dtype).tiny
    value: Tensor = 1 - (first / first.norm().clamp(min=tiny)) @ (second / second.norm().clamp(min=tiny))
    return value


DISTANCES = {"l2": l2, "cosine": cosine}


def _objective(
    network: nn.Module,
    target: Sequence[Tensor],
    norm: float,
    attack: Attack,
    statistics: Statistics | None,
    imitate: Imitate | None,
    update: Update,
) -> Objective:
    unit = [part / norm for part in target]  # the squares of a tiny gradient, of a confident network, would vanish

    def objective(pixels: Tensor, classes: Tensor) -> Tensor:
        labels = classes.softmax(1) if classes.is_floating_point() else classes
        with record_statistics(network) as own_statistics:
            gradient: Sequence[Tensor] = update(network, pixels, labels, differentiable=True)
        if imitate is not None:
            gradient = imitate(tuple(gradient), target)
        value = DISTANCES[attack.distance]([part / norm for part in gradient], unit)
        if attack.total_variation:
            value = value + attack.total_variation * total_variation(pixels)
        if attack.norm:
            value = value + attack.norm * pixels.square().mean()
        for own, released in zip(own_statistics.values(), statistics, strict=True) if statistics else ():
            errors = [F.mse_loss(statistic, goal.to(statistic)) for statistic, goal in zip(own, released, strict=True)]
            value = value + attack.statistics_weight * sum(errors)
        return value

    return objective


def _minimize(attack: Attack, objective: Objective, pixels: Tensor, classes: Tensor) -> Match:
    """Run the optimizer from one initialization, and return the iterate with the lowest objective."""
    pixels.requires_grad_()
    variables = [pixels, classes.requires_grad_()] if classes.is_floating_point() else [pixels]
    optimizer, schedule = _optimizer(attack, variables)

    def closure() -> float:
        value = objective(pixels, classes)
        for variable, slope in zip(variables, torch.autograd.grad(value, variables), strict=True):
            # L-BFGS views gradients as vectors, which a transformer's permuted ones do not allow
            variable.grad = (slope.sign() if attack.signed else slope).contiguous()
        return value.item()

    best, lowest, trajectory = [variable.detach().clone() for variable in variables], math.inf, list[float]()
    every, snapshots = max(1, attack.steps // (SNAPSHOTS - 1)), dict[int, Tensor]()
    for step in range(attack.steps + 1):
        iterate = [variable.detach().clone() for variable in variables]
        if step % every == 0:
            snapshots[step] = iterate[0].clamp(0, 1)
        value = optimizer.step(closure) if step < attack.steps else objective(pixels, classes).item()
        if value < lowest:
            best, lowest = iterate, value
        if step == attack.steps or not math.isfinite(value):
            break
        trajectory.append(value)
        schedule.step()
        if attack.optimizer == "adam":
            pixels.data.clamp_(0, 1)
        elif step and value == trajectory[-2]:  # L-BFGS has converged
            break
    labels = best[1].argmax(1) if len(best) > 1 else classes
    return Match(best[0].clamp(0, 1), labels, lowest, trajectory, snapshots)


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
            max_iter=LBFGS_ITERATIONS,
            history_size=100,
            tolerance_grad=1e-12,
            tolerance_change=1e-15,
            line_search_fn="strong_wolfe",
        )
        decays = []
    return optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, decays, gamma=0.1)


def _initial_pixels(attack: Attack, shape: Sequence[int], generator: Generator, number: int) -> Tensor:
    """Return float64 pixels, drawn on the CPU, so that every device and type starts from the same values."""
    if attack.start == "gray" and number == 0:
        return torch.full(tuple(shape), 0.5, dtype=torch.float64)
    draw = torch.randn if attack.start == "normal" else torch.rand
    return draw(tuple(shape), generator=generator, dtype=torch.float64)
