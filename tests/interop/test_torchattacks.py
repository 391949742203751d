"""Attacks of torchattacks through the adapter, against calling them directly on the same model and seed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchattacks
from batches import attack_batch
from torch import nn
from toys import generators, photos, small_cnn

from onlymymodel import Budget, LoadedAttack, UserError
from onlymymodel.interop.torchattacks import TorchattacksAttack
from onlymymodel.protect.attack.external_run import run_attack, seeded
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.uint8 import to_float

EPSILON = 8 / 255
ATTACKS: dict[str, Callable[[nn.Module, float], Any]] = {
    "MIFGSM": lambda model, epsilon: torchattacks.MIFGSM(model, eps=epsilon, alpha=epsilon / 4, steps=5),
    "PGD": lambda model, epsilon: torchattacks.PGD(model, eps=epsilon, alpha=epsilon / 4, steps=5),
    "DIFGSM": lambda model, epsilon: torchattacks.DIFGSM(model, eps=epsilon, alpha=epsilon / 4, steps=5),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_adapter_proposes_what_the_attack_returns(name: str) -> None:
    make, victim = ATTACKS[name], small_cnn(seed=2)
    originals = to_float(photos(2))
    labels = victim(originals).argmax(1)
    proposal = run_attack(
        LoadedAttack.of(TorchattacksAttack(make)),
        attack_batch(originals, labels, budget=Budget(EPSILON)),
        authorized=small_cnn(seed=1),
        surrogates=[victim],
        recipe=Recipe(),
    )
    for row, stream in enumerate(generators(2)):
        photo = originals[row : row + 1]
        with seeded([stream]):
            adversarial = make(victim, EPSILON)(photo, labels[row : row + 1])
        # the change is a difference of floats, and the projection cuts it at epsilon
        torch.testing.assert_close(photo + proposal.delta[row], adversarial, rtol=0, atol=1e-7)
    assert (proposal.delta != 0).any()
    assert proposal.notes == ("", "")


def test_several_surrogates_with_other_classes_are_misled_together() -> None:
    victims = [small_cnn(seed=2, classes=4), small_cnn(seed=3, classes=7)]
    originals = to_float(photos(4))
    classes = victims[0](originals).argmax(1)
    proposal = run_attack(
        LoadedAttack.of(TorchattacksAttack(ATTACKS["MIFGSM"])),
        attack_batch(originals, classes, budget=Budget(EPSILON), surrogates=2),
        authorized=small_cnn(seed=1),
        surrogates=victims,
        recipe=Recipe(),
    )
    for victim in victims:
        before, after = (
            victim(pixels).log_softmax(1).gather(1, classes[:, None])
            for pixels in (originals, originals + proposal.delta)
        )
        assert (after < before).all()


def test_without_a_surrogate_there_is_nothing_to_attack() -> None:
    with pytest.raises(UserError, match="at least one stand-in"):
        run_attack(
            LoadedAttack.of(TorchattacksAttack(ATTACKS["PGD"])),
            attack_batch(to_float(photos(1)), torch.tensor([0])),
            authorized=small_cnn(seed=1),
            surrogates=[],
            recipe=Recipe(),
        )
