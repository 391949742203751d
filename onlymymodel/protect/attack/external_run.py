"""Run an attack from outside this package, and check and project what it proposes."""

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Generator, Tensor

from onlymymodel.data.time_limit import TimeUp
from onlymymodel.errors import UserError, first_line
from onlymymodel.protect.attack.batch import AttackBatch, SurrogateTargets
from onlymymodel.protect.attack.external import AttackInputs
from onlymymodel.protect.attack.external_load import LoadedAttack
from onlymymodel.protect.attack.optimizer import OnStep, Proposal
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.surrogates.classifier import Classifier

TOLERANCE = 0.01 / 255  # by which a change may leave the budget before a note says so: libraries round

log = logging.getLogger(__name__)


class AttackError(Exception):
    """An attack from outside failed on a photo; one sentence that names the attack."""


def run_attack(
    attack: LoadedAttack,
    batch: AttackBatch,
    *,
    authorized: Classifier,
    surrogates: Sequence[Classifier],
    recipe: Recipe,
    on_step: OnStep | None = None,
) -> Proposal:
    """Ask an attack from outside for the changes of a batch, and project them into the budget and the mask.

    Args:
        attack: it is asked about one photo at a time, unless it takes batches.
        batch: see `optimize`.
        authorized: see `optimize`.
        surrogates: see `optimize`.
        recipe: the run's settings.
        on_step: called with (photos done, photos in all) after each photo.

    Raises:
        AttackError: the attack raises, or proposes no finite tensor of the photos' shape.
        UserError: there is no surrogate, or the attack raises this itself.
    """
    if not surrogates:
        raise UserError("an attack needs at least one stand-in")
    if embedders := [model.card.uri for model in surrogates if model.card.kind in ("embedder", "attributes")]:
        raise UserError(
            f"an attack from outside needs classes, which {embedders[0]} has none of: add a gallery or words"
        )
    everything = list(range(len(batch)))
    deltas, notes = [], list[str]()
    for rows in [everything] if attack.attack.takes_batches else [[row] for row in everything]:
        inputs = _inputs(batch, rows, authorized, surrogates, recipe)
        delta = _propose(attack, inputs)
        largest = delta.abs().flatten(1).amax(1)
        notes += [_note(attack, float(value), inputs.epsilon) for value in largest]
        deltas.append(inputs.project(delta))
        if on_step is not None:
            on_step(rows[-1] + 1, len(batch))
    proposed = torch.cat(deltas)
    steps = torch.zeros(len(batch), dtype=torch.long, device=proposed.device)
    return Proposal(proposed, torch.zeros_like(proposed), steps, tuple(notes))


def _inputs(
    batch: AttackBatch, rows: list[int], authorized: Classifier, surrogates: Sequence[Classifier], recipe: Recipe
) -> AttackInputs:
    return AttackInputs(
        photos=batch.originals[rows],
        labels=batch.labels[rows],
        authorized=authorized,
        surrogates=tuple(surrogates),
        targets=tuple(SurrogateTargets(target.classes[rows], target.signs[rows]) for target in batch.targets),
        budgets=tuple(batch.budgets[row] for row in rows),
        generators=tuple(batch.generators[row] for row in rows),
        mask=None if batch.mask is None else batch.mask[rows],
        landmarks=None if batch.landmarks is None else batch.landmarks[rows],
        recipe=recipe,
        objects=None if batch.objects is None else [batch.objects[row] for row in rows],
    )


def _propose(attack: LoadedAttack, inputs: AttackInputs) -> Tensor:
    """Return the checked (B,C,H,W) change of an attack, as float32 on the device of the photos.

    The attack is given its own copy of the photos, since it may change it in place.
    """
    photos = inputs.photos
    copy = AttackInputs(**{**vars(inputs), "photos": photos.clone()})
    try:
        with torch.enable_grad(), seeded(inputs.generators):
            proposed = attack.attack.propose(copy)
    except (UserError, MemoryError, TimeUp, torch.OutOfMemoryError):
        raise
    except Exception as error:
        message = f"the attack {attack.name} raised {type(error).__name__}: {first_line(error)}"
        attack.log_once(message, error)
        raise AttackError(message) from error
    if not isinstance(proposed, Tensor):
        raise AttackError(f"the attack {attack.name} returned {type(proposed).__name__} where a tensor is needed")
    if proposed.shape != photos.shape:
        shapes = f"{tuple(proposed.shape)} for photos of shape {tuple(photos.shape)}"
        raise AttackError(f"the attack {attack.name} returned a change of shape {shapes}")
    if proposed.is_complex():
        raise AttackError(f"the attack {attack.name} returned complex numbers")
    delta = proposed.detach().to(photos)
    if not delta.isfinite().all():
        raise AttackError(f"the attack {attack.name} returned values that are not finite (NaN or infinity)")
    return delta


def _note(attack: LoadedAttack, largest: float, epsilon: float) -> str:
    if largest <= epsilon + TOLERANCE:
        return ""
    return (
        f"the attack {attack.name} proposed a change of up to {largest * 255:.1f}/255; it was projected into the budget"
    )


@contextmanager
def seeded(generators: Sequence[Generator]) -> Iterator[None]:
    """Seed the global random numbers of torch, NumPy and Python from those of photos, and restore them afterwards.

    Libraries draw from these, and the result of a photo must not depend on what was drawn before.

    Args:
        generators: at least one. The first gives the seed; all are advanced alike, so that none depends on its place.
    """
    seed, *_ = [int(torch.randint(2**32, (), generator=generator)) for generator in generators]
    of_numpy, of_python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(of_numpy)
            random.setstate(of_python)
