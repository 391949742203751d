"""Attacks of foolbox through the adapter, against calling them directly on the same model and seed."""

import warnings
from typing import Any

import pytest
import torch
from batches import attack_batch
from toys import generators, photos, small_cnn

from onlymymodel import Budget, LoadedAttack
from onlymymodel.interop.foolbox import FoolboxAttack
from onlymymodel.protect.attack.external_run import run_attack, seeded
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.uint8 import to_float

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports a name that SciPy has moved
    import foolbox
    from foolbox.attacks.deepfool import LinfDeepFoolAttack
    from foolbox.models.pytorch import PyTorchModel

EPSILON = 8 / 255
SIDE = 16


@pytest.mark.parametrize(
    ("attack", "budget", "epsilon"),
    [
        (foolbox.attacks.LinfPGD(steps=5), Budget(EPSILON), EPSILON),
        (LinfDeepFoolAttack(steps=5), Budget(EPSILON), EPSILON),
        (foolbox.attacks.L2PGD(steps=5), Budget(1.0, l2=0.5), 0.5),
        (foolbox.attacks.L2PGD(steps=5), Budget(1.0), (3 * SIDE * SIDE) ** 0.5),
    ],
)
def test_the_adapter_proposes_what_the_attack_returns(attack: Any, budget: Budget, epsilon: float) -> None:
    victim = small_cnn(seed=2)
    originals = to_float(photos(2))
    labels = victim(originals).argmax(1)
    proposal = run_attack(
        LoadedAttack.of(FoolboxAttack(attack)),
        attack_batch(originals, labels, budget=budget),
        authorized=small_cnn(seed=1),
        surrogates=[victim],
        recipe=Recipe(),
    )
    for row, stream in enumerate(generators(2)):
        photo = originals[row : row + 1]
        model = PyTorchModel(victim, bounds=(0, 1), device="cpu")
        with seeded([stream]):
            _, adversarial, _ = attack(model, photo, labels[row : row + 1], epsilons=epsilon)
        torch.testing.assert_close(photo + proposal.delta[row], adversarial, rtol=0, atol=2e-6)
    assert (proposal.delta != 0).any()
