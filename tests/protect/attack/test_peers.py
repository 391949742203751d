"""Recipes of published methods, against a reference implementation where one can be installed."""

import pytest
import torch
import torchattacks
from batches import attack_batch
from torch import Tensor
from toys import photos, small_cnn

from onlymymodel.protect.attack.losses import FeatureDistance
from onlymymodel.protect.attack.optimizer import optimize
from onlymymodel.protect.attack.recipe import Recipe, make_recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.budget import Budget

EPSILON = 16 / 255
LABELS = torch.tensor([0, 1, 2, 3, 1])
VICTIM = small_cnn(seed=2)


def ours(recipe: Recipe) -> Tensor:
    """(B,3,16,16) photos in [0,1] after the recipe's steps against one surrogate, without the constraint."""
    originals = to_float(photos(len(LABELS)))
    proposal = optimize(
        attack_batch(originals, LABELS, budget=Budget(EPSILON)),
        authorized=small_cnn(seed=1),
        surrogates=[VICTIM],
        recipe=recipe,
    )
    return originals + proposal.delta


def theirs(attack: torchattacks.attack.Attack) -> Tensor:
    adversarial: Tensor = attack(to_float(photos(len(LABELS))), LABELS)
    return adversarial


def moved_alike(first: Tensor, second: Tensor) -> None:
    """Equal, but for the few pixels whose gradient is zero up to rounding, where either sign is right."""
    differing = ((first - second).abs() > 1e-5).float().mean()
    assert differing < 1e-3, f"{differing:.2%} of the values differ"


def test_ens_is_mi_fgsm() -> None:
    reference = torchattacks.MIFGSM(VICTIM, eps=EPSILON, alpha=EPSILON / 10, steps=10, decay=1.0)
    moved_alike(ours(make_recipe("ens", guard=False)), theirs(reference))


def test_si_is_si_ni_fgsm() -> None:
    reference = torchattacks.SINIFGSM(VICTIM, eps=EPSILON, alpha=EPSILON / 10, steps=10, decay=1.0, m=5)
    moved_alike(ours(make_recipe("si", guard=False)), theirs(reference))


def test_without_its_look_ahead_it_is_another_attack() -> None:
    """The comparison above is able to fail."""
    plain, nesterov = (ours(make_recipe("si", guard=False, nesterov=nesterov)) for nesterov in (False, True))
    with pytest.raises(AssertionError, match="differ"):
        moved_alike(plain, nesterov)


@pytest.mark.slow
@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("recipe", ["ens", "di", "si", "admix", "bsr", "decowa", "ops", "mef", "svre", "tap"])
def test_every_peer_lowers_its_white_boxs_certainty_with_and_without_the_constraint(recipe: str, guard: bool) -> None:
    clean = to_float(photos(len(LABELS)))
    certainty = VICTIM(clean).softmax(1)[range(len(LABELS)), LABELS]
    after = VICTIM(ours(make_recipe(recipe, guard=guard))).softmax(1)[range(len(LABELS)), LABELS]
    assert (after < certainty).all()


@pytest.mark.parametrize("guard", [True, False])
def test_nrdm_moves_features_farther_than_noise_of_the_same_size(guard: bool) -> None:
    clean = to_float(photos(len(LABELS)))
    noise = EPSILON * torch.randint(0, 2, clean.shape, generator=torch.Generator().manual_seed(0)).mul(2).sub(1)
    distance = FeatureDistance(VICTIM, clean, depth=0.5)
    rows = torch.arange(len(LABELS))
    moved = ours(make_recipe("nrdm", guard=guard))
    assert (distance(moved, rows).loss > (1 if guard else 2) * distance(clean + noise, rows).loss).all()
