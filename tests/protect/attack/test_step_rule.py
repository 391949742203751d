"""Steps by sign and in proportion to the direction."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import generators, linear, photos

from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.recipe import RECIPES, Recipe, StepRule
from onlymymodel.protect.attack.step_rule import moves, moves_in_proportion
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.budget import Budget

PLAIN = Recipe(steps=20, views=("center",), guard=False, keep_through=(), kappa=0.0, repair_steps=0)
PUBLISHED = sorted(set(RECIPES) - {"default", "exact", "robust", "face"})


def test_moves_by_sign_and_in_proportion() -> None:
    direction = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    direction[2, :, :4] = 0.0  # as beside a face
    moved = moves(direction, torch.tensor([False, True, True]).view(-1, 1, 1, 1))
    assert torch.equal(moved[0], direction[0].sign())
    for row, inside in ((1, slice(0, 8)), (2, slice(4, 8))):
        part = direction[row, :, inside].numpy()
        np.testing.assert_allclose(moved[row, :, inside], np.clip(part / np.abs(part).mean(), -3, 3), rtol=1e-5)
    assert not moved[2, :, :4].any()
    assert not moves(torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 1, 1, dtype=torch.bool)).any()


@pytest.mark.parametrize(
    ("rule", "expected"), [("auto", [False, True, False, True]), ("sign", [False] * 4), ("gradient", [True] * 4)]
)
def test_auto_follows_the_bounds_of_each_photo(rule: StepRule, expected: list[bool]) -> None:
    budgets = [
        Budget(8 / 255), Budget(16 / 255, ssim=0.95), Budget(16 / 255, luma=4 / 255, shape="texture"),
        Budget(16 / 255, l2=1.0),
    ]  # fmt: skip
    assert moves_in_proportion(rule, budgets).flatten().tolist() == expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_methods_step_by_sign(name: str) -> None:
    assert RECIPES[name].step_rule == "sign"


def test_under_an_l2_bound_a_linear_surrogate_is_pushed_along_its_weights() -> None:
    """The loss grows along the difference of the weights, which is the best change of a given Euclidean norm."""
    surrogate, pixels, labels = linear(seed=5, scale=0.01), photos(2), torch.tensor([0, 1])
    weights = surrogate.net.get_parameter("weights").detach()
    away = weights[1 - labels] - weights[labels]
    cosines = {}
    for rule in ("auto", "sign"):
        protected = protect_batch(
            pixels, labels, authorized=linear(seed=6), surrogates=[surrogate], budget=Budget(32 / 255, l2=1.5),
            recipe=replace(PLAIN, step_rule=rule), generators=generators(2),
        )  # fmt: skip
        change = (to_float(protected.pixels) - to_float(pixels)).flatten(1)
        cosines[rule] = torch.cosine_similarity(change, away)
    assert (cosines["auto"] > 0.97).all()
    assert (cosines["sign"] < 0.85).all()
