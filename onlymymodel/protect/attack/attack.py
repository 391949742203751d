"""The attack on a batch: optimize at working size, round to 8 bits at the photos' own size, and repair there."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from onlymymodel.errors import UserError
from onlymymodel.protect.attack.batch import AttackRow, make_batch
from onlymymodel.protect.attack.deployed_margins import DeployedMargins, readable
from onlymymodel.protect.attack.external_load import LoadedAttack
from onlymymodel.protect.attack.external_run import run_attack
from onlymymodel.protect.attack.optimizer import OnStep, Proposal, models_in_use, optimize
from onlymymodel.protect.attack.precision import resolve_precision
from onlymymodel.protect.attack.quantize import Quantized, quantize_and_repair
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.targets import apply_target_class, attack_classes
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.runtime import configure
from onlymymodel.surrogates.answers import answers
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.heads import Look, answer_logits
from onlymymodel.surrogates.kept_objects import kept_objects

SMALLER_CHANGES = (0.75, 0.5, 0.25)  # fractions of a change, tried where the whole costs the authorized model a reading


class ProtectedBatch(NamedTuple):
    """Protected photos of one size; see `Quantized`.

    Attributes:
        pixels: (B,C,H,W) uint8.
        margins: (B,) of the authorized model, in logits.
        admissible: (B,) bool.
        steps: (B,) number of optimizer steps taken.
    """

    pixels: Tensor
    margins: Tensor
    admissible: Tensor
    steps: Tensor


class ProtectedRow(NamedTuple):
    """One protected row; see `Quantized`, and `Proposal.steps` and `Proposal.notes`."""

    quantized: Quantized
    steps: int
    note: str = ""


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
    attack: LoadedAttack | None = None,
    on_step: OnStep | None = None,
) -> ProtectedBatch:
    """Protect photos of one size.

    A photo has to be kept through the deployments of the recipe through which the authorized model reads it when clean.

    Args:
        pixels: (B,C,H,W) uint8, C 3 (RGB) or 1 (gray, stays gray).
        labels: (B,) long, the classes that the authorized model must keep.
        authorized: the model that must keep its prediction; the `feature` objective also changes its features.
        surrogates: the models to mislead; the `feature` objective needs none.
        generators: one for each photo, on the CPU, so that its random numbers do not depend on its batch.
        mask: (B,1,H,W) of 0 and 1; pixels where it is 0 are not changed.
        attack: the attack from outside that the recipe names, see `load_attack`; None if it names none.
        on_step: called with (steps done, steps in all) after each step.

    Raises:
        AttackError: see `run_attack`.
        UserError: the attack is not the one that the recipe names, or the recipe needs a surrogate, a layer or a target
            class that is missing.
    """
    recipe, _ = resolve_precision(recipe, pixels.device)
    with torch.no_grad():
        predictions = [answers(model.card, answer_logits(model, Look(pixels))) for model in surrogates]
    away = attack_classes(labels, predictions, authorized, surrogates, recipe)
    targets = apply_target_class(away, labels, authorized=authorized, surrogates=surrogates, recipe=recipe)
    objects = [kept_objects(authorized, photo) for photo in pixels]
    deployed = [DeployedMargins(authorized, recipe.keep_through, found) for found in objects]
    rows = [
        AttackRow(
            original=pixels[row],
            label=int(labels[row]),
            classes=tuple(int(classes[row]) for classes, _ in targets),
            signs=tuple(float(signs[row]) for _, signs in targets),
            budget=budget,
            generator=generators[row],
            mask=None if mask is None else mask[row],
            deployments=readable(deployed[row].measure(pixels[row], int(labels[row]))),
            objects=objects[row],
        )
        for row in range(len(pixels))
    ]
    size = int(pixels.shape[-2]), int(pixels.shape[-1])
    protected = protect_rows(
        rows, size, authorized=authorized, surrogates=surrogates, recipe=recipe, attack=attack, on_step=on_step
    )
    return ProtectedBatch(
        pixels=torch.stack([row.quantized.pixels for row in protected]),
        margins=torch.tensor([row.quantized.margin for row in protected], device=pixels.device),
        admissible=torch.tensor([row.quantized.admissible for row in protected], device=pixels.device),
        steps=torch.tensor([row.steps for row in protected], device=pixels.device),
    )


def protect_rows(
    rows: Sequence[AttackRow],
    size: tuple[int, int],
    *,
    authorized: Classifier,
    surrogates: Sequence[Classifier],
    recipe: Recipe,
    attack: LoadedAttack | None = None,
    on_step: OnStep | None = None,
) -> list[ProtectedRow]:
    """Attack rows of one working size together; each is rounded and repaired at its own size.

    Args:
        rows: at least one.
        size: height and width at which the optimizer works.

    The other arguments and errors are those of `protect_batch`.
    """
    if recipe.attack != ("" if attack is None else attack.name):
        loaded = "none" if attack is None else repr(attack.name)
        raise UserError(f"the recipe names the attack {recipe.attack!r}, but {loaded} is loaded (load_attack)")
    configure()
    batch = make_batch(rows, size, models_in_use(authorized, surrogates, recipe))
    if attack is None:
        proposal = optimize(batch, authorized=authorized, surrogates=surrogates, recipe=recipe, on_step=on_step)
    else:
        proposal = run_attack(
            attack, batch, authorized=authorized, surrogates=surrogates, recipe=recipe, on_step=on_step
        )
    notes = proposal.notes or [""] * len(rows)
    return [
        ProtectedRow(_quantize(row, proposal, index, authorized, recipe), int(proposal.steps[index]), notes[index])
        for index, row in enumerate(rows)
    ]


def _quantize(row: AttackRow, proposal: Proposal, index: int, authorized: Classifier, recipe: Recipe) -> Quantized:
    """Round and repair changes until one keeps the authorized margins; the last one where none does.

    They are the last step's change, the last one at which the guard held and, where deployments have to be kept, a face
    has to be found again or the change is of an attack that may know no guard, fractions of the last step's.
    """
    last, fallback = proposal.delta[index], proposal.fallback[index]
    fractions = SMALLER_CHANGES if row.deployments or row.locate or recipe.attack else ()
    for change in (last, *([fallback] if fallback.any() else []), *(fraction * last for fraction in fractions)):
        result = quantize_and_repair(
            row.original,
            change,
            row.label,
            authorized=authorized,
            budget=row.budget,
            recipe=recipe,
            mask=row.mask,
            locate=row.locate,
            deployments=row.deployments,
            objects=row.objects,
        )
        if result.admissible:
            break
    return result
