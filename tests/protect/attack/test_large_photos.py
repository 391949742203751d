"""Large photos are worked on in strips and channel by channel: the results are those of whole photos, bit for bit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from batches import rows
from PIL import Image
from torch import Tensor
from toys import PLAIN, small_cnn

from onlymymodel.data import strips
from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.protect.attack.deployed_margins import BATCH, DeployedMargins
from onlymymodel.protect.attack.differentiable_channels import differentiable_step
from onlymymodel.protect.attack.guard import Guard
from onlymymodel.protect.attack.model_inputs import ModelInputs, WrittenInputs
from onlymymodel.protect.attack.quantize import project_to_uint8, quantize_and_repair
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.attack.uint8 import to_float, to_uint8
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.measure import measure
from onlymymodel.surrogates.answers import margin
from onlymymodel.surrogates.deployments import DEPLOYMENTS, get_deployments
from onlymymodel.surrogates.readings import read_pixels

AVAILABLE = [deployment.name for deployment in get_deployments([])]
SIZES = [(409, 613, 3), (613, 401, 1), (333, 800, 3)]
IN_STRIPS = 1 << 15  # pixels of a strip: these photos have about eight
WHOLE = 1 << 30


def photo(height: int, width: int, channels: int) -> Tensor:
    picture = Image.fromarray(render(4, 1, 9, 128)).resize((width, height), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).integers(-12, 13, (height, width, 3))
    pixels = (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)
    return to_tensor(pixels[..., :channels])


def both_ways(monkeypatch: pytest.MonkeyPatch, compute: Any) -> tuple[Any, Any]:
    monkeypatch.setattr(strips, "STRIP_PIXELS", WHOLE)
    whole = compute()
    monkeypatch.setattr(strips, "STRIP_PIXELS", IN_STRIPS)
    return compute(), whole


@pytest.mark.parametrize("size", SIZES)
def test_rounding_is_that_of_the_whole_photo(size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", IN_STRIPS)
    original = photo(*size)[None]
    delta = (torch.rand(original.shape, generator=torch.Generator().manual_seed(1)) - 0.5) * 40 / 255
    mask = (torch.arange(size[1]) % 50 > 7).float().view(1, 1, 1, -1).expand(1, 1, size[0], -1)
    start = to_float(original)
    change = torch.clamp(delta * mask, -start, 1 - start).clamp(-8 / 255, 8 / 255)
    assert torch.equal(project_to_uint8(original, delta, Budget(8 / 255), mask), to_uint8(start + change))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"shape": "texture"},
        {"luma": 3 / 255},
        {"shape": "texture", "luma": 3 / 255, "psnr": 36.0},
        {"ssim": 0.95},
        {"shape": "texture", "ssim": 0.97, "flip": 0.06},
    ],
)
def test_repair_gives_the_pixels_of_the_whole_photo(
    size: tuple[int, int, int], limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width, channels = size
    model, original, budget = small_cnn(seed=3), photo(*size), Budget(8 / 255, **limits)
    delta = (torch.rand(channels, height // 3, width // 3, generator=torch.Generator().manual_seed(1)) - 0.5) * 30 / 255
    label = int(model(original[None]).argmax())
    recipe = make_recipe("exact", kappa=1.0, repair_steps=3)  # more than the toy's margin, so that it has to be raised

    def compute() -> tuple[Any, ...]:
        made = quantize_and_repair(original, delta, label, authorized=model, budget=budget, recipe=recipe)
        distortion = measure(made.pixels, original)
        # a mean in another order
        return *made, distortion.flip, replace(distortion, flip=None), budget.violations(made.pixels, original)

    (pixels, *figures), (whole_pixels, *whole_figures) = both_ways(monkeypatch, compute)
    assert torch.equal(pixels, whole_pixels)
    assert figures.pop(2) == pytest.approx(whole_figures.pop(2), abs=1e-9)
    assert figures == whole_figures
    assert not torch.equal(pixels, original)


@pytest.mark.parametrize("size", SIZES)
def test_the_gradient_of_the_margin_is_that_of_a_graph_of_the_whole_photo(
    size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", IN_STRIPS)
    model, pixels = small_cnn(seed=3), photo(*size)[None]
    guard, every = Guard(model, torch.tensor([2])), torch.tensor([True])
    margins, gradient = guard.margin(WrittenInputs(pixels, model), rows(0))
    whole_margins, whole_gradient = guard.margin(ModelInputs(to_float(pixels), [model]), rows(0))
    assert torch.equal(margins, whole_margins)
    assert torch.equal(gradient(every), whole_gradient(every))


def gradient_of_whole(model: Any, pixels: Tensor, label: int, names: list[str]) -> Tensor:
    """The gradient of the sum of the margins by one graph of the whole photo."""
    leaf = to_float(pixels)[None].requires_grad_()
    deployments = [DEPLOYMENTS[name] for name in names]
    crops = [
        read_pixels(differentiable_step(deployment.step, deployment.options)(leaf), PLAIN, deployment.reading)
        for deployment in deployments
    ]
    margins = margin(model.logits(torch.cat(crops)), torch.full((len(crops),), label))
    return torch.autograd.grad(margins.sum(), leaf)[0][0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("names", [[name] for name in AVAILABLE if name != "bfloat16"] + [AVAILABLE[1:11]])
def test_gradients_through_deployments_are_those_of_a_graph_of_the_whole_photo(
    size: tuple[int, int, int], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", IN_STRIPS)
    assert len(names) <= BATCH
    model, pixels = small_cnn(seed=3), photo(*size)
    gradient = torch.zeros(1, *pixels.shape)
    DeployedMargins(model, names).add_gradient(pixels, 2, names, gradient)
    assert torch.equal(gradient[0], gradient_of_whole(model, pixels, 2, names))
    assert gradient.abs().sum() > 0
