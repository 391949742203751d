from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from toys import generators, linear, photos, small_cnn

from onlymymodel.errors import UserError
from onlymymodel.protect.attack.attack import ProtectedBatch, protect_batch
from onlymymodel.protect.attack.differentiable_channels import random_cleaning
from onlymymodel.protect.attack.recipe import RECIPES, Recipe, make_recipe
from onlymymodel.protect.attack.tables import AGAINST
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.surrogates.classifier import Classifier

# several gradients, or a costly view, for each step
COSTLY = ("admix", "bsr", "decowa", "mef", "ops", "robust", "si", "svre")
SMALL = make_recipe("default", steps=6, views=("center", "resize_pad", "block_shuffle"), kappa=0.01)


def protect(pixels: Tensor, labels: Tensor, recipe: Recipe = SMALL, **changes: Any) -> ProtectedBatch:
    arguments: dict[str, Any] = {
        "authorized": small_cnn(seed=1),
        "surrogates": [small_cnn(seed=2), small_cnn(seed=3)],
        "budget": Budget(linf=8 / 255),
        "recipe": recipe,
        "generators": generators(len(pixels)),
    }
    return protect_batch(pixels, labels, **{**arguments, **changes})


def own_answers(model: Classifier, pixels: Tensor) -> Tensor:
    answers: Tensor = model(to_float(pixels)).argmax(1)
    return answers


def test_a_linear_surrogate_is_pushed_to_its_known_optimum() -> None:
    """Two classes: CE grows along w_other - w_y everywhere, so the best change is epsilon times its sign."""
    surrogate, pixels, budget = linear(seed=5, scale=0.01), photos(4), Budget(linf=8 / 255)
    labels = torch.tensor([0, 1, 0, 1])
    recipe = Recipe(steps=10, views=("center",), guard=False, keep_through=(), kappa=0.0, repair_steps=0)
    protected = protect(pixels, labels, recipe, authorized=linear(seed=6), surrogates=[surrogate], budget=budget)
    weights = surrogate.net.get_parameter("weights")
    away = (weights[1 - labels] - weights[labels]).sign().view(4, 3, 16, 16)
    assert torch.equal(protected.pixels.int(), pixels.int() + 8 * away.int())


def test_a_smooth_step_is_the_sign_of_the_blurred_gradient() -> None:
    surrogate, pixels, budget = linear(seed=5, scale=0.01), photos(2), Budget(linf=8 / 255)
    recipe = Recipe(
        steps=1, step_share=1.0, views=("center",), guard=False, keep_through=(), kappa=0.0, repair_steps=0, smooth=2.0
    )
    labels = torch.tensor([0, 1])
    protected = protect(pixels, labels, recipe, authorized=linear(seed=6), surrogates=[surrogate], budget=budget)
    weights = surrogate.net.get_parameter("weights").detach().numpy()
    away = (weights[1 - labels.numpy()] - weights[labels.numpy()]).reshape(2, 3, 16, 16)
    blurred = gaussian_filter(away, (0, 0, 2.0, 2.0), mode="nearest", radius=(0, 0, 7, 7))
    assert torch.equal(protected.pixels.int() - pixels.int(), 8 * torch.from_numpy(np.sign(blurred)).int())


BOUNDED = [
    Budget(16 / 255, ssim=0.95),
    Budget(16 / 255, psnr=36.0, shape="texture"),
    Budget(16 / 255, l2=0.5, ssim=0.9, shape="texture"),
]


@pytest.mark.slow
@pytest.mark.parametrize("budget", BOUNDED)
@pytest.mark.parametrize("recipe", ["default", "fmd", "svre"])
def test_bounds_hold_and_do_not_tie_a_photo_to_its_batch(recipe: str, budget: Budget) -> None:
    pixels, streams = photos(3, size=32), generators(3)
    # the toys cannot be kept through every deployment, and would be repaired for long
    labels, chosen = own_answers(small_cnn(seed=1), pixels), make_recipe(recipe, steps=4, repair_steps=2)
    together = protect(pixels, labels, chosen, budget=budget)
    assert budget.admits(together.pixels, pixels).all()
    assert (together.pixels != pixels).flatten(1).any(1).all()
    order = torch.tensor([2, 0, 1])
    shuffled = protect(
        pixels[order], labels[order], chosen, budget=budget, generators=[streams[row] for row in order.tolist()]
    )
    assert torch.equal(shuffled.pixels, together.pixels[order])


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipe_leaves_the_input_alone_and_holds_the_budget(recipe: str) -> None:
    pixels = photos(3)
    untouched, labels = pixels.clone(), own_answers(small_cnn(seed=1), pixels)
    protected = protect(pixels, labels, make_recipe(recipe, steps=4, layer="auto", repair_steps=2))
    assert torch.equal(pixels, untouched)
    assert Budget(linf=8 / 255).admits(protected.pixels, pixels).all()
    assert not torch.equal(protected.pixels, pixels)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_no_budget_means_no_change(recipe: str) -> None:
    pixels = photos(2)
    labels = own_answers(small_cnn(seed=1), pixels)
    assert torch.equal(
        protect(pixels, labels, make_recipe(recipe, steps=3, repair_steps=2), budget=Budget(0.0)).pixels, pixels
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=pytest.mark.slow) if name in COSTLY else name for name in sorted(RECIPES)]
)
def test_permuting_a_batch_permutes_the_result(recipe: str) -> None:
    pixels, order = photos(4), torch.tensor([2, 0, 3, 1])
    labels = own_answers(small_cnn(seed=1), pixels)
    chosen = make_recipe(recipe, steps=5, patience=2, repair_steps=2)
    straight = protect(pixels, labels, chosen)
    streams = generators(4)
    shuffled = protect(pixels[order], labels[order], chosen, generators=[streams[row] for row in order.tolist()])
    assert torch.equal(shuffled.pixels, straight.pixels[order])
    assert torch.equal(shuffled.steps, straight.steps[order])


def test_a_photo_alone_is_the_photo_in_a_batch() -> None:
    pixels = photos(3)
    labels = own_answers(small_cnn(seed=1), pixels)
    together = protect(pixels, labels)
    for row in range(3):
        alone = protect(pixels[row : row + 1], labels[row : row + 1], generators=generators(3)[row : row + 1])
        assert torch.equal(alone.pixels[0], together.pixels[row])


def test_the_guard_keeps_the_authorized_model_right_where_the_push_alone_would_not() -> None:
    """The surrogate is nearly the authorized model: what misleads the one misleads the other."""
    authorized, pixels = linear(seed=5, scale=0.05), photos(4)
    twin = linear(seed=5, scale=0.049, name="twin")
    labels = own_answers(authorized, pixels)
    free = Recipe(steps=8, views=("center",), guard=False, keep_through=(), repair_steps=0)
    guarded = Recipe(steps=8, views=("center",), kappa=0.5)
    unguarded_result = protect(pixels, labels, free, authorized=authorized, surrogates=[twin])
    guarded_result = protect(pixels, labels, guarded, authorized=authorized, surrogates=[twin])
    assert not unguarded_result.admissible.any()
    assert guarded_result.admissible.all()
    assert (guarded_result.margins >= 0.5).all()


def test_a_stopped_photo_is_what_it_would_be_after_that_many_steps() -> None:
    surrogates = [linear(seed=7, scale=0.4, name="a"), linear(seed=8, scale=0.4, name="b")]
    authorized, pixels = linear(seed=9, scale=0.1), photos(4)
    labels = own_answers(authorized, pixels)
    recipe = make_recipe("exact", steps=20, step_share=0.125, views=("center",), patience=2, kappa=0.0)

    def run(chosen: Recipe, rows: Sequence[int]) -> ProtectedBatch:
        index = torch.tensor(rows)
        return protect(
            pixels[index], labels[index], chosen, authorized=authorized, surrogates=surrogates,
            generators=[generators(4)[row] for row in rows],
        )  # fmt: skip

    stopped = run(recipe, range(4))
    assert stopped.steps.max() < 20
    for row, steps in enumerate(stopped.steps.tolist()):
        exactly = run(make_recipe("exact", steps=steps, step_share=0.125, views=("center",), kappa=0.0), [row])
        assert torch.equal(exactly.pixels[0], stopped.pixels[row])


@pytest.mark.parametrize("against", [(), ("jpeg", "purifier")])
def test_gray_photos_stay_gray(against: tuple[str, ...]) -> None:
    pixels = photos(2, channels=1)
    labels = own_answers(small_cnn(seed=1), pixels)
    assert protect(pixels, labels, replace(SMALL, against=against)).pixels.shape == pixels.shape


def test_a_push_against_a_resize_climbs_the_gradient_through_it() -> None:
    surrogate, pixels, budget = linear(seed=5, scale=0.01), photos(4), Budget(linf=8 / 255)
    recipe = Recipe(
        steps=1, step_share=1.0, views=("center",), guard=False, keep_through=(), kappa=0.0, repair_steps=0,
        against=("resize",),
    )  # fmt: skip
    labels = torch.tensor([0, 1, 0, 1])
    protected = protect(pixels, labels, recipe, authorized=linear(seed=6), surrogates=[surrogate], budget=budget)
    weights = surrogate.net.get_parameter("weights").detach()
    for row, generator in enumerate(generators(4)):
        photo = to_float(pixels[row : row + 1]).requires_grad_()
        cleaned = random_cleaning(("resize",), [generator])(photo)
        away = (weights[1 - labels[row]] - weights[labels[row]]).view(1, 3, 16, 16)
        (gradient,) = torch.autograd.grad((cleaned * away).sum(), photo)
        assert torch.equal(protected.pixels[row].int() - pixels[row].int(), 8 * gradient[0].sign().int())


@pytest.mark.parametrize("changes", [{}, {"nesterov": True}, {"objective": "variance_reduced"}])
def test_permuting_a_batch_permutes_the_result_against_parties(changes: dict[str, Any]) -> None:
    pixels, order, streams = photos(3), torch.tensor([2, 0, 1]), generators(3)
    labels = own_answers(small_cnn(seed=1), pixels)
    chosen = replace(SMALL, against=tuple(AGAINST), **changes)
    straight = protect(pixels, labels, chosen)
    shuffled = protect(pixels[order], labels[order], chosen, generators=[streams[row] for row in order.tolist()])
    assert torch.equal(shuffled.pixels, straight.pixels[order])
    assert not torch.equal(straight.pixels, protect(pixels, labels, replace(chosen, against=())).pixels)


def test_masked_pixels_are_bit_identical() -> None:
    pixels, mask = photos(2), torch.zeros(2, 1, 16, 16)
    mask[:, :, 4:12, 4:12] = 1
    labels = own_answers(small_cnn(seed=1), pixels)
    protected = protect(pixels, labels, make_recipe("fmd", steps=3), mask=mask)
    outside = (mask == 0).expand_as(pixels)
    assert torch.equal(protected.pixels[outside], pixels[outside])
    assert not torch.equal(protected.pixels, pixels)


def test_another_seed_gives_another_result() -> None:
    pixels = photos(2)
    labels = own_answers(small_cnn(seed=1), pixels)
    first, second = (protect(pixels, labels, generators=generators(2, seed)) for seed in (0, 1))
    assert not torch.equal(first.pixels, second.pixels)


def test_a_surrogate_of_another_task_is_pushed_from_its_own_answer() -> None:
    other = small_cnn(seed=4, classes=7, name="other task")
    pixels = photos(4)
    labels = own_answers(small_cnn(seed=1), pixels)
    recipe = make_recipe("default", steps=10, views=("center",), kappa=0.0)
    protected = protect(pixels, labels, recipe, surrogates=[other], budget=Budget(linf=32 / 255))
    before, after = own_answers(other, pixels), own_answers(other, protected.pixels)
    clean = other(to_float(pixels)).softmax(1).gather(1, before[:, None])
    pushed = other(to_float(protected.pixels)).softmax(1).gather(1, before[:, None])
    assert (pushed < clean).all()
    assert (after != before).any()


def test_steps_are_counted_out() -> None:
    reported: list[tuple[int, int]] = []
    pixels = photos(1)
    protect(pixels, own_answers(small_cnn(seed=1), pixels), on_step=lambda step, steps: reported.append((step, steps)))
    assert reported == [(step, 6) for step in range(1, 7)]


def test_an_ensemble_recipe_needs_surrogates_and_fmd_does_not() -> None:
    pixels = photos(1)
    labels = own_answers(small_cnn(seed=1), pixels)
    with pytest.raises(UserError, match="stand-in"):
        protect(pixels, labels, surrogates=[])
    protect(pixels, labels, make_recipe("fmd", steps=1), surrogates=[])
