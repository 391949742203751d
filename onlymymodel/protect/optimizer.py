"""The loop: propose a change that other models misread and the authorized one does not. The harness decides."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from onlymymodel.protect.budget import Budget
from onlymymodel.protect.canvas import Canvases, jittered, landmarks_for, unit
from onlymymodel.protect.filters import gaussian
from onlymymodel.protect.guard import Guard, steer
from onlymymodel.protect.lattice import Settled, from_lattice, settle
from onlymymodel.protect.objective import make_objective
from onlymymodel.protect.recipe import Recipe
from onlymymodel.protect.soft_channels import soft_channel
from onlymymodel.protect.spending import Spending
from onlymymodel.protect.toward import turn_toward
from onlymymodel.protect.working_budget import scale_to
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.vocabulary import translation

MISLED = 0.01  # a surrogate is misled when it gives the class less than this probability


class Proposal(NamedTuple):
    """What the optimizer offers before rounding.

    Attributes:
        delta: (B,C,H,W) the last iterate's change.
        fallback: (B,C,H,W) the last change at which the authorized margin was seen at kappa or more, else zero.
        steps: (B,) steps taken.
    """

    delta: Tensor
    fallback: Tensor
    steps: Tensor


class Protected(NamedTuple):
    """Protected photos on the 8-bit lattice; see `Settled` for pixels, margins and admissible.

    Attributes:
        steps: (B,) steps taken.
    """

    pixels: Tensor
    margins: Tensor
    admissible: Tensor
    steps: Tensor


OnStep = Callable[[int, int], None]


def protect_batch(
    pixels: Tensor,
    labels: Tensor,
    *,
    authorized: Classifier,
    surrogates: Sequence[Classifier],
    budget: Budget,
    recipe: Recipe,
    generators: Sequence[Generator],
    mask: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Protected:
    """Protect photos of one size: optimize, round, repair.

    Args:
        pixels: (B,C,H,W) uint8, C 3 (RGB) or 1 (gray, stays gray).
        labels: (B,) long, what the authorized model is to read.
        authorized: kept right; also pushed, in its features, by the `feature` objective.
        surrogates: pushed by every other objective.
        generators: one for each photo, on the CPU, so that a photo's result does not depend on its batch.
        mask: (B,1,H,W) of 0 and 1; where it is 0 the photo stays as it is.
        on_step: called with (steps done, steps in all) after each step.

    Raises:
        UserError: the recipe needs something that is not there (a surrogate, a layer, a class to push toward).
    """
    clean = from_lattice(pixels)
    with torch.no_grad():
        answers = [model(clean).argmax(1) for model in surrogates]
    away = push_targets(labels, answers, authorized, surrogates, recipe)
    targets, signs = turn_toward(away, labels, authorized=authorized, surrogates=surrogates, recipe=recipe)
    proposal = optimize(
        clean,
        labels,
        authorized=authorized,
        surrogates=surrogates,
        targets=targets,
        signs=signs,
        budget=budget,
        recipe=recipe,
        generators=generators,
        mask=mask,
        landmarks=landmarks_for(models_at_work(authorized, surrogates, recipe), clean),
        on_step=on_step,
    )
    settled = settle_proposal(pixels, proposal, labels, authorized=authorized, budget=budget, recipe=recipe, mask=mask)
    return Protected(settled.pixels, settled.margins, settled.admissible, proposal.steps)


def push_targets(
    labels: Tensor,
    answers: Sequence[Tensor],
    authorized: Classifier,
    surrogates: Sequence[Classifier],
    recipe: Recipe,
) -> list[Tensor]:
    """For each surrogate the (B,) classes that it is pushed from.

    That is its word for the label where it has one and the recipe says so; otherwise its own answer to the clean
    photo, `answers`, so that models of another task take part without labels.
    """
    return [
        _in_words_of(model, labels, authorized, answer) if recipe.push == "label" else answer
        for model, answer in zip(surrogates, answers, strict=True)
    ]


def _in_words_of(model: Classifier, labels: Tensor, authorized: Classifier, answers: Tensor) -> Tensor:
    """(B,) what a model calls the labels, and its own answers where it has no word for them."""
    words = translation(authorized.card, model.card)
    if words is None:
        return answers
    known = torch.tensor([-1 if word is None else word for word in words], device=labels.device)[labels]
    return torch.where(known >= 0, known, answers)


def models_at_work(authorized: Classifier, surrogates: Sequence[Classifier], recipe: Recipe) -> list[Classifier]:
    """The models that are asked while a recipe optimizes."""
    return [authorized] if recipe.objective == "feature" else [authorized, *surrogates]


def optimize(
    originals: Tensor,
    labels: Tensor,
    *,
    authorized: Classifier,
    surrogates: Sequence[Classifier],
    targets: Sequence[Tensor],
    signs: Sequence[Tensor] | None = None,
    budget: Budget,
    recipe: Recipe,
    generators: Sequence[Generator],
    budgets: Sequence[Budget] | None = None,
    mask: Tensor | None = None,
    landmarks: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Proposal:
    """Climb the recipe's objective inside the budget under the authorized model's guard.

    Args:
        originals: (B,C,H,W) in [0,1].
        targets: for each surrogate the (B,) classes that it is pushed at, see `push_targets` and `turn_toward`.
        signs: for each surrogate (B,) 1 away from that class, -1 toward it, 0 not pushed in this photo; away if None.
        budgets: what each photo may spend of the budget, see `Budget.part`; all of it if None.
        landmarks: (B,5,2) of the faces to work on, see `landmarks_for`; needed where a model aligns faces.

    The others are as in `protect_batch`.
    """
    objective = make_objective(
        originals,
        labels,
        authorized=authorized,
        surrogates=surrogates,
        targets=targets,
        signs=signs,
        budget=budget,
        recipe=recipe,
        landmarks=landmarks,
    )
    guard = Guard(authorized, labels)
    models = models_at_work(authorized, surrogates, recipe)
    passes = torch.autocast(originals.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    spending = Spending([budget] * len(originals) if budgets is None else budgets, originals, mask)

    delta = _start(originals, spending, recipe, generators)
    fallback, velocity = torch.zeros_like(delta), torch.zeros_like(delta)
    steps, calm = torch.zeros(2, len(originals), dtype=torch.long, device=originals.device)
    rows = torch.arange(len(originals), device=originals.device)  # the photos still at work
    for step in range(recipe.steps):
        stride = recipe.step_share * spending.strides[rows.cpu()]
        streams = [generators[row] for row in rows.tolist()]
        way = soft_channel(recipe.jpeg_quality, recipe.resize_share, streams)
        places = jittered(None if landmarks is None else landmarks[rows], streams)
        canvases = Canvases(originals[rows] + delta[rows], models, way, places)
        ahead = canvases
        if recipe.nesterov:
            look_ahead = (stride * recipe.momentum).to(delta) * velocity[rows]
            ahead = canvases.at(originals[rows] + delta[rows] + look_ahead)
        with passes:
            push, surest = objective.push(ahead, rows, streams)
        push = unit(push)
        kept = torch.ones_like(surest, dtype=torch.bool)
        if recipe.guard:
            with passes:
                margins, raise_margin = guard.margin(canvases, rows)
            kept = margins >= recipe.kappa
            fallback[rows[kept]] = delta[rows[kept]]
            push = push if kept.all() else steer(push, raise_margin(~kept))
        push = gaussian(push, recipe.smooth) if recipe.smooth else push
        velocity[rows] = recipe.momentum * velocity[rows] + unit(push)
        delta[rows] = spending.project(delta[rows] + stride.to(delta) * velocity[rows].sign(), rows)

        steps[rows] += 1
        calm[rows] = torch.where((surest < MISLED) & kept, calm[rows] + 1, 0)
        if on_step is not None:
            on_step(step + 1, recipe.steps)
        if recipe.patience:
            rows = rows[calm[rows] < recipe.patience]
            if not len(rows):
                break
    return Proposal(delta, fallback, steps)


def settle_proposal(
    originals: Tensor,
    proposal: Proposal,
    labels: Tensor,
    *,
    authorized: Classifier,
    budget: Budget,
    recipe: Recipe,
    mask: Tensor | None = None,
    landmarks: Tensor | None = None,
) -> Settled:
    """Round and repair the last iterate; where that fails, the last iterate that was seen admissible.

    Args:
        originals: (B,C,H,W) uint8 at the photo's own size; a proposal made at a smaller size is scaled up.
        landmarks: see `settle`; at that size too.
    """

    def settled(delta: Tensor, rows: Tensor) -> Settled:
        return settle(
            originals[rows],
            scale_to(delta[rows], originals),
            labels[rows],
            authorized=authorized,
            budget=budget,
            kappa=recipe.kappa,
            repair_steps=recipe.repair_steps,
            mask=None if mask is None else mask[rows],
            landmarks=None if landmarks is None else landmarks[rows],
        )

    first = settled(proposal.delta, torch.arange(len(originals), device=originals.device))
    again = (~first.admissible & proposal.fallback.flatten(1).any(1)).nonzero()[:, 0]
    if len(again):
        second = settled(proposal.fallback, again)
        for whole, part in zip(first, second, strict=True):
            whole[again] = part
    return first


def _start(originals: Tensor, spending: Spending, recipe: Recipe, generators: Sequence[Generator]) -> Tensor:
    if not recipe.random_start:
        return torch.zeros_like(originals)
    shape = originals.shape[1:]
    noise = torch.stack([torch.rand(shape, generator=generator) for generator in generators]).to(originals.device)
    everyone = torch.arange(len(originals), device=originals.device)
    return spending.project((noise * 2 - 1) * spending.strides.to(originals), everyone)
