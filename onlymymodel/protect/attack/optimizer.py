"""The optimizer: steps with momentum along an objective, under the constraint on the authorized model."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from onlymymodel.data.time_limit import check_time
from onlymymodel.protect.attack.batch import AttackBatch, Rows
from onlymymodel.protect.attack.differentiable_channels import draw_channels
from onlymymodel.protect.attack.guard import Guard, steer
from onlymymodel.protect.attack.guard_looks import GuardLooks
from onlymymodel.protect.attack.model_inputs import ModelInputs, jitter_landmarks, normalize_gradient
from onlymymodel.protect.attack.objective import make_objective
from onlymymodel.protect.attack.precision import networks_in
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.step_rule import StepRule
from onlymymodel.protect.attack.tables import OBJECTIVES
from onlymymodel.protect.budget.filters import gaussian
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.compilation import compiled
from onlymymodel.surrogates.device_copy import to_device
from onlymymodel.surrogates.folding import folded

MISLED = 0.01  # a surrogate is misled once its probability of the class is below this

OnStep = Callable[[int, int], None]


class Proposal(NamedTuple):
    """The changes that the optimizer, or an attack from outside, proposes, before rounding to 8 bits.

    Attributes:
        delta: (B,C,h,w) the change of the last step.
        fallback: (B,C,h,w) the last change at which the authorized margin was kappa or more; zero if there was none.
        steps: (B,) number of steps taken.
        notes: a remark on each change, or ""; empty where there is none.
    """

    delta: Tensor
    fallback: Tensor
    steps: Tensor
    notes: tuple[str, ...] = ()


def models_in_use(authorized: Classifier, surrogates: Sequence[Classifier], recipe: Recipe) -> list[Classifier]:
    """Return the models that a recipe evaluates while it optimizes."""
    return [authorized] if recipe.objective == "feature" else [authorized, *surrogates]


def optimize(
    batch: AttackBatch,
    *,
    authorized: Classifier,
    surrogates: Sequence[Classifier],
    recipe: Recipe,
    on_step: OnStep | None = None,
) -> Proposal:
    """Climb the recipe's objective inside the budget, under the guard of the authorized model.

    Each step is that of MI-FGSM (Dong et al., CVPR 2018, algorithm 1), with the guard's correction of the gradient:
    g = mu g + gradient / mean|gradient|; delta = project(delta + alpha sign(g)). Under a bound
    on the photo as a whole the step may be in proportion to g instead, see `StepRule`.

    Args:
        batch: the photos, their classes and their budgets.
        authorized: the model that must keep its prediction.
        surrogates: the models to mislead; one for each entry of `batch.targets`.
        on_step: called with (steps done, steps in all) after each step.

    Raises:
        UserError: the recipe needs a surrogate or a layer that is missing.
        TimeUp: see `time_limit`.
    """
    if not OBJECTIVES[recipe.objective].uses_layers:
        authorized, *surrogates = map(folded, (authorized, *surrogates))
    if recipe.compile:
        authorized, *surrogates = map(compiled, (authorized, *surrogates))
    objective = make_objective(batch, authorized=authorized, surrogates=surrogates, recipe=recipe)
    guard = Guard(authorized, batch.labels, batch.objects)
    looks = GuardLooks(authorized, batch.labels, recipe.kappa, recipe.guard_looks, batch.objects)
    models = models_in_use(authorized, surrogates, recipe)
    budget, device = batch.budget, batch.originals.device

    delta = _start(batch, recipe)
    fallback, velocity = torch.zeros_like(delta), torch.zeros_like(delta)
    steps, misled_steps = torch.zeros(2, len(batch), dtype=torch.long, device=device)
    step_sizes = to_device((recipe.step_share * budget.step_sizes).to(delta.dtype), device)
    ahead_sizes = to_device((recipe.step_share * budget.step_sizes * recipe.momentum).to(delta.dtype), device)
    rule = StepRule(recipe.step_rule, batch.budgets, batch.originals)
    rows = Rows.of(range(len(batch)), device)  # the photos that have not stopped
    for step in range(recipe.steps):
        check_time()
        generators, index = [batch.generators[row] for row in rows.numbers], rows.index
        channels = draw_channels(recipe, generators)
        landmarks = jitter_landmarks(None if batch.landmarks is None else batch.landmarks[rows.numbers], generators)
        photos = batch.originals[index] + delta[index]
        inputs = pushed = ModelInputs(photos, models, channels.all, landmarks)
        if recipe.nesterov or recipe.against:
            ahead = photos + ahead_sizes[index] * velocity[index] if recipe.nesterov else photos
            pushed = ModelInputs(ahead, models, channels.push, landmarks)

        with networks_in(recipe.precision, device):
            gradient, max_confidence = objective.gradient(pushed, rows, generators)
        gradient = normalize_gradient(gradient)
        kept = torch.ones_like(max_confidence, dtype=torch.bool)
        if recipe.guard:
            with networks_in(recipe.precision, device):
                margins, margin_gradient = guard.margin(inputs, rows)
                least, looks_gradient = looks.margins(photos, rows, generators, landmarks)
            kept, low = torch.minimum(margins, least) >= recipe.kappa, margins < recipe.kappa
            fallback[index] = torch.where(kept.view(-1, 1, 1, 1), delta[index], fallback[index])
            # the one wait for a GPU of a step, besides those of the looks: it may save a backward pass
            all_kept, some_low = torch.stack([kept.all(), low.any()]).tolist()
            if not all_kept:
                exact = margin_gradient(low) if some_low else torch.zeros_like(gradient)
                gradient = steer(gradient, exact + looks_gradient, recipe.guard_weight)
        gradient = gaussian(gradient, recipe.smooth) if recipe.smooth else gradient
        velocity[index] = recipe.momentum * velocity[index] + normalize_gradient(gradient)
        update = step_sizes[index] * rule.update(velocity[index], index)
        delta[index] = budget.project(delta[index] + update, rows.numbers)

        steps[index] += 1
        misled_steps[index] = torch.where((max_confidence < MISLED) & kept, misled_steps[index] + 1, 0)
        if on_step is not None:
            on_step(step + 1, recipe.steps)
        if recipe.patience:
            going_on = (misled_steps[index] < recipe.patience).tolist()
            rows = Rows.of([row for row, goes_on in zip(rows.numbers, going_on, strict=True) if goes_on], device)
            if not len(rows):
                break
    return Proposal(delta, fallback, steps)


def _start(batch: AttackBatch, recipe: Recipe) -> Tensor:
    """Return the initial change: zero, or uniform noise inside the budget."""
    originals = batch.originals
    if not recipe.random_start:
        return torch.zeros_like(originals)
    noise = torch.stack([torch.rand(originals.shape[1:], generator=generator) for generator in batch.generators])
    start = to_device((noise * 2 - 1) * batch.budget.step_sizes.to(noise.dtype), originals.device)
    return batch.budget.project(start, range(len(batch)))
