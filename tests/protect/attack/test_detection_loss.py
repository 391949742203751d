"""A detector as a surrogate: it becomes uncertain of the objects that it finds in the original."""

from dataclasses import replace

import pytest
import torch
from batches import attack_batch
from detectors import corners
from toys import generators, linear, small_cnn

from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.detection_loss import DetectionScores
from onlymymodel.protect.attack.objective import EnsembleObjective, make_objective
from onlymymodel.protect.attack.optimizer import optimize
from onlymymodel.protect.attack.recipe import RECIPES, Recipe
from onlymymodel.protect.budget.budget import Budget


def scenes() -> torch.Tensor:
    """Red in the first corner; red and green in the corners; nothing."""
    photos = torch.full((3, 3, 16, 16), 0.3)
    photos[:2, 0, :8, :8] = 0.52
    photos[1, 1, 8:, 8:] = 0.525
    return photos


def test_the_loss_is_the_mean_logarithm_over_the_objects() -> None:
    photos = scenes()
    batch = attack_batch(photos, torch.zeros(3).long())
    loss = DetectionScores.for_surrogate(corners(), batch.targets[0], batch, Recipe())
    values, confidence = loss(photos, torch.arange(3))
    expected = torch.tensor([0.48, 0.48 * 0.475, 1]).log() / torch.tensor([1, 2, 1])
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(confidence, torch.tensor([0.52, 0.525, 0.0]))
    reordered, _ = loss(photos[[1, 0]], torch.tensor([1, 0]))
    torch.testing.assert_close(reordered, expected[[1, 0]])


def test_only_the_pixels_of_objects_change() -> None:
    photos, epsilon = scenes(), 16 / 255
    batch = attack_batch(photos, torch.zeros(3).long(), budget=Budget(epsilon))
    recipe = Recipe(views=("block_shuffle",), steps=6, guard=False, kappa=0.0, step_share=0.25)
    proposal = optimize(batch, authorized=linear(0), surrogates=[corners()], recipe=recipe)
    expected = torch.zeros_like(photos)
    expected[:2, 0, :8, :8] = -epsilon
    expected[1, 1, 8:, 8:] = -epsilon
    torch.testing.assert_close(proposal.delta, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["ensemble", "warped"])
def test_a_detector_sees_no_random_views(name: str) -> None:
    batch = attack_batch(scenes(), torch.zeros(3).long(), surrogates=2)
    recipe = Recipe(objective=name, views=("crop",))
    objective = make_objective(batch, authorized=linear(0), surrogates=[corners(), small_cnn(1)], recipe=recipe)
    assert isinstance(objective, EnsembleObjective)
    assert isinstance(objective.losses[0], DetectionScores)
    seen = [objective._view(index, scenes(), torch.arange(3), generators(3), 0) for index in range(2)]
    assert [torch.equal(crop, scenes()) for crop in seen] == [True, False]


@pytest.mark.parametrize("name", ["ensemble", "variance_reduced"])
def test_objects_are_lost_and_the_authorized_model_is_kept(name: str) -> None:
    pixels = (scenes() * 255).round().to(torch.uint8)
    authorized, detector = linear(0), corners()
    labels = authorized(pixels).argmax(1)
    recipe = replace(RECIPES["exact"], objective=name, steps=6, kappa=0.0)
    both = protect_batch(
        pixels, labels, authorized=authorized, surrogates=[detector, small_cnn(2)], budget=Budget(), recipe=recipe,
        generators=generators(3),
    )  # fmt: skip
    assert both.admissible.all()
    assert detector(pixels).argmax(1).tolist() == [0, 1, 2]
    assert detector(both.pixels).argmax(1).tolist() == [2, 2, 2]
