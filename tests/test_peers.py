"""The recipes that follow other people's methods, against a reference implementation where one can be installed."""

import pytest
import torch
import torchattacks
from torch import Tensor
from toys import generators, photos, small_cnn

from onlymymodel.protect.budget import Budget
from onlymymodel.protect.lattice import from_lattice
from onlymymodel.protect.losses import FeatureDistance
from onlymymodel.protect.optimizer import optimize
from onlymymodel.protect.recipe import Recipe, make_recipe

EPSILON = 16 / 255
LABELS = torch.tensor([0, 1, 2, 3, 1])
VICTIM = small_cnn(seed=2)


def ours(recipe: Recipe) -> Tensor:
    """(B,3,16,16) photos in [0,1] after the recipe's steps against one surrogate, without the constraint."""
    originals = from_lattice(photos(len(LABELS)))
    proposal = optimize(
        originals,
        LABELS,
        authorized=small_cnn(seed=1),
        surrogates=[VICTIM],
        targets=[LABELS],
        budget=Budget(EPSILON),
        recipe=recipe,
        generators=generators(len(LABELS)),
    )
    return originals + proposal.delta


def theirs(attack: torchattacks.attack.Attack) -> Tensor:
    adversarial: Tensor = attack(from_lattice(photos(len(LABELS))), LABELS)
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


@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("recipe", ["ens", "di", "si", "admix", "bsr", "svre", "tap"])
def test_every_peer_lowers_its_white_boxs_certainty_with_and_without_the_constraint(recipe: str, guard: bool) -> None:
    clean = from_lattice(photos(len(LABELS)))
    certainty = VICTIM(clean).softmax(1)[range(len(LABELS)), LABELS]
    after = VICTIM(ours(make_recipe(recipe, guard=guard))).softmax(1)[range(len(LABELS)), LABELS]
    assert (after < certainty).all()


@pytest.mark.parametrize("guard", [True, False])
def test_nrdm_moves_features_farther_than_noise_of_the_same_size(guard: bool) -> None:
    clean = from_lattice(photos(len(LABELS)))
    noise = EPSILON * torch.randint(0, 2, clean.shape, generator=torch.Generator().manual_seed(0)).mul(2).sub(1)
    distance = FeatureDistance(VICTIM, clean, depth=0.5)
    rows = torch.arange(len(LABELS))
    moved = ours(make_recipe("nrdm", guard=guard))
    assert (distance(moved, rows).loss > (1 if guard else 2) * distance(clean + noise, rows).loss).all()
