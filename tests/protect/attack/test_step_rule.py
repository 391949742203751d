"""Updates by sign and by gradient."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from toys import generators, linear, photos

from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.recipe import RECIPES, Recipe, StepRuleName
from onlymymodel.protect.attack.step_rule import StepRule
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.budget import Budget

PLAIN = Recipe(steps=20, views=("center",), guard=False, keep_through=(), kappa=0.0, repair_steps=0)
PUBLISHED = sorted(set(RECIPES) - {"default", "exact", "robust", "face"})


def by_hand(direction: NDArray[np.float64], original: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the update by gradient of one (C,H,W) photo."""
    luminance = np.tensordot([0.299, 0.587, 0.114], original, axes=1)
    window = partial(gaussian_filter, sigma=1.5, mode="nearest", radius=5)
    variance = np.maximum(window(luminance**2) - window(luminance) ** 2, 0)
    weighted = direction * np.sqrt(2 * variance + 0.03**2)
    clipped: NDArray[np.float64] = np.clip(weighted / np.abs(weighted[weighted != 0]).mean(), -3, 3)
    return clipped


def test_updates_by_sign_and_by_gradient() -> None:
    draws = torch.Generator().manual_seed(0)
    originals, direction = torch.rand(3, 3, 16, 16, generator=draws), torch.randn(3, 3, 16, 16, generator=draws)
    originals[1, :, :8] *= 0.05  # a smooth part
    direction[2, :, :8] = 0.0  # as beside a face
    bounded = Budget(16 / 255, ssim=0.95)
    rule = StepRule("auto", [Budget(8 / 255), bounded, bounded], originals)
    updates = rule.update(direction, torch.arange(3))
    assert torch.equal(updates[0], direction[0].sign())
    for row in (1, 2):
        expected = by_hand(direction[row].double().numpy(), originals[row].double().numpy())
        np.testing.assert_allclose(updates[row], expected, rtol=1e-3, atol=1e-5)
    assert torch.equal(rule.update(direction[[2, 0]], torch.tensor([2, 0])), updates[[2, 0]])
    assert not rule.update(torch.zeros(1, 3, 16, 16), torch.tensor([1])).any()


@pytest.mark.parametrize(
    ("rule", "expected"), [("auto", [False, True, False, True]), ("sign", [False] * 4), ("gradient", [True] * 4)]
)
def test_auto_follows_the_bounds_of_each_photo(rule: StepRuleName, expected: list[bool]) -> None:
    budgets = [
        Budget(8 / 255), Budget(16 / 255, ssim=0.95), Budget(16 / 255, luma=4 / 255, shape="texture"),
        Budget(16 / 255, l2=1.0),
    ]  # fmt: skip
    assert StepRule(rule, budgets, torch.rand(4, 3, 16, 16)).by_gradient.flatten().tolist() == expected


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
