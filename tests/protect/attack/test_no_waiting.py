"""On a GPU, no step waits for more than its branches need, and nothing is computed from tensors of two devices."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from batches import attack_batch
from face_scenes import ALIGN
from fake_gpu import DEVICE, FakeGpu, fake_gpu
from torch import nn
from toys import generators, photos, small_cnn

from onlymymodel.data.pixels import to_png
from onlymymodel.data.portraits import render
from onlymymodel.protect.attack.batch import AttackBatch
from onlymymodel.protect.attack.optimizer import optimize
from onlymymodel.protect.attack.recipe import RECIPES, Recipe, make_recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.context import Context, PhotoSource
from onlymymodel.protect.photo import protect_photos
from onlymymodel.surrogates.classifier import Classifier, ModelCard
from onlymymodel.surrogates.device_copy import to_device

STEPS = 4
BRANCH, LOOK = "optimizer.optimize", "guard_looks.margins"


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    with fake_gpu() as gpu:
        yield gpu


def device_batch(signs: Sequence[float] = (1.0, 1.0, 1.0)) -> AttackBatch:
    labels, away = torch.tensor([0, 1, 2]).to(DEVICE), torch.tensor(signs).to(DEVICE)
    pixels = to_float(photos(3)).to(DEVICE)
    return attack_batch(pixels, labels, surrogates=2, signs=away, streams=generators(3))


def team() -> list[Classifier]:
    return [small_cnn(seed=seed).to(DEVICE) for seed in (1, 2, 3)]


def waits_of_steps(gpu: FakeGpu, recipe: Recipe, batch: AttackBatch, models: Sequence[Classifier]) -> list[list[str]]:
    """Return the waits of each step after the first, which comes after the preparation."""
    found: list[list[str]] = []

    def on_step(step: int, _steps: int) -> None:
        found.append(gpu.reads + gpu.copies)
        gpu.clear()
        gpu.told = step % 2 or bool(recipe.patience)  # into branches and around them, as long as no photo stops

    gpu.told = 1  # every surrogate takes part
    optimize(batch, authorized=models[0], surrogates=models[1:], recipe=recipe, on_step=on_step)
    assert len(found) == recipe.steps
    return found[1:]


def test_the_fake_notes_what_a_gpu_waits_for(gpu: FakeGpu) -> None:
    values = torch.ones(2).to(DEVICE)
    values[torch.tensor([1])] = 0.0
    assert (gpu.reads, len(gpu.copies)) == ([], 2)
    _ = values.tolist(), values[values > 2], bool(values.any()), values.cpu(), float(values[0]), values.nonzero()
    assert (len(gpu.reads), len(gpu.copies)) == (6, 2)
    gpu.clear()
    index = to_device(torch.tensor([1]), DEVICE)
    _ = values[index] * to_device(torch.ones(1), DEVICE) * torch.tensor(2.0)
    assert (gpu.reads, gpu.copies) == ([], [])
    with pytest.raises(RuntimeError, match="the host and of the device"):
        _ = values + torch.ones(2)


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_waits_once_for_its_branch_and_once_for_a_look(gpu: FakeGpu, name: str) -> None:
    recipe = make_recipe(name, steps=STEPS, copies=1)
    guarded = [LOOK] * recipe.guard_looks + [BRANCH] if recipe.guard else []
    assert waits_of_steps(gpu, recipe, device_batch(), team()) == [guarded] * (STEPS - 1)


def test_landmarks_are_no_reason_to_wait(gpu: FakeGpu) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 7, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    card = ModelCard("aligned", sha256="aligned", classes=4, preprocess=ALIGN, task="toy")
    models = [Classifier(net, card).to(DEVICE)] * 3
    points = torch.tensor([[5.0, 6.0], [11.0, 6.0], [8.0, 9.0], [6.0, 12.0], [10.0, 12.0]])
    batch = replace(device_batch(), landmarks=points.expand(3, 5, 2))
    assert waits_of_steps(gpu, make_recipe("face", steps=STEPS), batch, models) == [[LOOK, BRANCH]] * (STEPS - 1)


@pytest.mark.parametrize("against", ["jpeg", "jpeg-ladder", "averaged", "purifier"])
def test_parties_that_clean_are_no_reason_to_wait(gpu: FakeGpu, against: str) -> None:
    recipe = make_recipe("default", steps=STEPS, against=(against,), copies=1)
    assert waits_of_steps(gpu, recipe, device_batch(), team()) == [[LOOK, BRANCH]] * (STEPS - 1)


def test_without_a_guard_no_step_waits(gpu: FakeGpu) -> None:
    recipe = make_recipe("default", steps=STEPS, guard=False)
    assert waits_of_steps(gpu, recipe, device_batch(), team()) == [[]] * (STEPS - 1)
    assert waits_of_steps(gpu, recipe, device_batch(signs=(1.0, 0.0, 1.0)), team()) == [[]] * (STEPS - 1)


def test_photos_that_stop_are_waited_for(gpu: FakeGpu) -> None:
    recipe = make_recipe("default", steps=STEPS, patience=3, guard_looks=0)
    assert waits_of_steps(gpu, recipe, device_batch(), team()) == [[BRANCH, BRANCH]] * (STEPS - 1)


@pytest.mark.parametrize("told", [0, 1])
def test_whole_photos_are_protected_by_a_gpu(gpu: FakeGpu, told: int) -> None:
    """Values are meaningless here, so what comes of the photos is too; a tensor on the wrong device would raise."""
    models = team()
    gpu.told = told
    context = Context(models[0], tuple(models[1:]), Budget(8 / 255), make_recipe("default", steps=2, repair_steps=3))
    sources = [PhotoSource(to_png(render(1, 1, index, 64))) for index in range(2)]
    gpu.clear()
    results = protect_photos(sources, context)
    assert [record.status for _, record in results] == ["unchanged"] * 2
    assert set(gpu.copies) <= {"device_copy.constant_on"}  # once in a process
