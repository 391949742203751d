"""OPS and MEF: gradients at random neighbors of a photo."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from batches import attack_batch
from toys import generators, photos, small_cnn

from onlymymodel.protect.attack.batch import Rows
from onlymymodel.protect.attack.losses import CrossEntropy
from onlymymodel.protect.attack.model_inputs import ModelInputs
from onlymymodel.protect.attack.neighborhood import FlatnessObjective, NeighborhoodObjective
from onlymymodel.protect.attack.objective import EnsembleObjective
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.kinds import Shape

TARGETS, EPSILON = torch.tensor([0, 1, 2]), 16 / 255
EVEN, WITH_SSIM = Budget(EPSILON), Budget(EPSILON, ssim=0.98)
ROWS = Rows.of(range(3), torch.device("cpu"))
RECIPE = Recipe(views=("center",), normalize=False, copies=3)


def make(kind: type[EnsembleObjective], budget: Budget = EVEN) -> tuple[EnsembleObjective, ModelInputs]:
    """Return an objective of two surrogates on three photos, and its inputs."""
    team, originals = [small_cnn(seed=2, name="a"), small_cnn(seed=3, name="b")], to_float(photos(3))
    batch = attack_batch(originals, TARGETS, surrogates=2, budget=budget)
    return kind(team, [CrossEntropy(model, TARGETS) for model in team], RECIPE, batch), ModelInputs(originals, team)


def epsilons(budget: Budget) -> torch.Tensor:
    """Return what the budget leaves of its epsilon for each of the photos."""
    return budget.step_size(to_float(photos(3))).float()


def gradient_at(pixels: torch.Tensor) -> torch.Tensor:
    """Return the mean gradient of both surrogates' losses, also beyond [0,1]."""
    leaf = pixels.clone().requires_grad_()
    losses = [F.cross_entropy(small_cnn(seed=seed).logits(leaf), TARGETS, reduction="sum") for seed in (2, 3)]
    return torch.autograd.grad(torch.stack(losses).mean(), leaf)[0]


@pytest.mark.parametrize("kind", [NeighborhoodObjective, FlatnessObjective])
def test_without_a_neighborhood_it_is_the_ensemble(kind: type[NeighborhoodObjective]) -> None:
    (objective, inputs), (plain, _) = make(kind, Budget(0.0)), make(EnsembleObjective)
    for found, expected in zip(
        objective.gradient(inputs, ROWS, generators(3)), plain.gradient(inputs, ROWS, generators(3)), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_a_bound_on_ssim_leaves_less_than_epsilon() -> None:
    torch.testing.assert_close(epsilons(EVEN), torch.full((3, 1, 1, 1), EPSILON))
    assert (epsilons(WITH_SSIM) < 0.7 * EPSILON).all()


@pytest.mark.parametrize("budget", [EVEN, WITH_SSIM], ids=["even", "ssim"])
def test_ops_averages_over_noise_of_several_radii(budget: Budget) -> None:
    objective, inputs = make(NeighborhoodObjective, budget)
    found, _ = objective.gradient(inputs, ROWS, generators(3))
    streams, total, radii = generators(3), torch.zeros_like(found), set()
    for _ in range(3):
        drawn = [NeighborhoodObjective.RADII[int(torch.randint(6, (1,), generator=stream))] for stream in streams]
        noise = torch.stack([torch.rand(3, 16, 16, generator=stream) for stream in streams]) * 2 - 1
        total += gradient_at(to_float(photos(3)) + torch.tensor(drawn).view(-1, 1, 1, 1) * epsilons(budget) * noise)
        radii.update(drawn)
    assert len(radii) > 1
    torch.testing.assert_close(found, total / 3)


@pytest.mark.parametrize("budget", [EVEN, WITH_SSIM], ids=["even", "ssim"])
def test_mef_moves_each_neighbor_by_its_own_earlier_gradients(budget: Budget) -> None:
    """Three steps of the paper's algorithm, written down once more."""
    objective, inputs = make(FlatnessObjective, budget)
    streams, again = generators(3), generators(3)
    directions = [torch.zeros(3, 3, 16, 16) for _ in range(3)]
    for _ in range(3):
        found, _ = objective.gradient(inputs, ROWS, streams)
        total = torch.zeros_like(found)
        for number in range(3):
            noise = torch.stack([torch.rand(3, 16, 16, generator=stream) for stream in again]) * 2 - 1
            gradient = gradient_at(inputs.pixels.detach() + epsilons(budget) * (2 * noise + 0.15 * directions[number]))
            magnitude = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
            directions[number] = gradient / magnitude - 0.9 * directions[number]
            total += gradient
        torch.testing.assert_close(found, total / 3)


def test_mef_keeps_the_direction_of_a_photo_that_takes_no_part() -> None:
    objective, inputs = make(FlatnessObjective)
    assert isinstance(objective, FlatnessObjective)
    part = Rows.of([0, 2], torch.device("cpu"))
    objective.gradient(inputs, ROWS, generators(3))
    before = copy.deepcopy(objective.directions)
    objective.gradient(inputs.at(inputs.pixels.detach()[[0, 2]]), part, generators(2))
    for (old,), (new,) in zip(map(dict.values, before), map(dict.values, objective.directions), strict=True):
        assert torch.equal(old[1], new[1])
        assert not torch.equal(old[0], new[0])


@pytest.mark.parametrize("shape", ["even", "texture"])
def test_noise_is_not_weakened_by_the_resize(shape: Shape) -> None:
    """The noise has its size where the networks read, and the gradient goes back through the resize of the photo."""
    model, budget = small_cnn(seed=2), Budget(EPSILON, shape=shape)
    originals = to_float(photos(3, size=64))
    batch = attack_batch(originals, TARGETS, budget=budget)
    objective = NeighborhoodObjective([model], [CrossEntropy(model, TARGETS)], replace(RECIPE, copies=1), batch)
    found, _ = objective.gradient(ModelInputs(originals, [model]), ROWS, generators(3))

    streams, leaf = generators(3), originals.clone().requires_grad_()
    radii = [NeighborhoodObjective.RADII[int(torch.randint(6, (1,), generator=stream))] for stream in streams]
    noise = torch.stack([torch.rand(3, 16, 16, generator=stream) for stream in streams]) * 2 - 1
    preprocess = model.card.preprocess
    sizes = budget.step_size(originals).float()
    on_canvas = sizes if shape == "even" else preprocess.canvas(sizes)
    moved = preprocess.canvas(leaf) + torch.tensor(radii).view(-1, 1, 1, 1) * on_canvas * noise
    loss = F.cross_entropy(model.logits(moved), TARGETS, reduction="sum")
    torch.testing.assert_close(found, torch.autograd.grad(loss, leaf)[0])
