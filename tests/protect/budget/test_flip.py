"""FLIP, compared to the reference implementation, and the bound on it."""

import flip_evaluator
import numpy as np
import pytest
import torch
from torch import Tensor

from onlymymodel.data import strips
from onlymymodel.data.pixels import to_array, to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.protect.attack.quantize import project_to_uint8
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.bounds import Flip
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.flip import distance_from, flip, flip_map


def photo(channels: int = 3) -> Tensor:
    """(channels,64,64) uint8."""
    return to_tensor(render(identity=0, emotion=1, seed=2, size=64)[..., :channels])


def noisy(original: Tensor, levels: int) -> Tensor:
    steps = torch.randint(-levels, levels + 1, original.shape, generator=torch.Generator().manual_seed(0))
    return (original.int() + steps).clamp(0, 255).to(torch.uint8)


def reference_map(first: Tensor, second: Tensor) -> Tensor:
    pixels = (np.repeat(to_array(part), 3 // len(part), axis=2).astype(np.float32) / 255 for part in (first, second))
    return torch.from_numpy(flip_evaluator.evaluate(*pixels, "LDR", applyMagma=False)[0][..., 0])


@pytest.mark.parametrize(("levels", "channels"), [(2, 3), (8, 1), (255, 3)])
def test_every_pixel_is_that_of_the_reference_implementation(levels: int, channels: int) -> None:
    first = photo(channels)
    second = noisy(first, levels)
    expected, made = reference_map(first, second), flip_map(to_float(first), to_float(second))
    torch.testing.assert_close(made, expected, rtol=0, atol=1.5e-3)
    assert flip(first, second) == pytest.approx(float(expected.mean()), rel=1e-3)
    measured = distance_from(first)(to_float(second) - to_float(first), 1.0)
    assert measured == pytest.approx(flip(first, second), rel=1e-5)


def test_equal_photos_do_not_differ() -> None:
    assert flip(photo(), photo()) == 0


def test_a_large_photo_is_measured_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    first = photo()
    second = noisy(first, 8)
    whole = flip(first, second)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 16 * 64)
    assert len(list(strips.strips(64, 64))) == 4
    assert flip(first, second) == pytest.approx(whole, rel=1e-6)
    assert distance_from(first)(to_float(second) - to_float(first), 1.0) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("limit", [0.2, 0.1, 0.02])
def test_a_change_is_shrunk_to_the_limit_and_little_further(limit: float) -> None:
    original = to_float(photo())
    delta = to_float(noisy(photo(), 60)) - original
    shrunk = original + Flip(limit).max_scale(delta, original) * delta
    reached = distance_from(original)(shrunk - original, 1.0)
    assert 0.97 * limit <= reached <= limit
    assert Flip(0.0).max_scale(delta, original) == 0
    assert Flip(1.0).max_scale(delta, original) == 1


def test_written_photos_use_most_of_the_limit() -> None:
    pixels = photo()[None]
    made = project_to_uint8(pixels, to_float(noisy(pixels, 40)) - to_float(pixels), Budget(60 / 255, flip=0.08))
    spent = float(Budget().spent(made, pixels, "flip"))
    assert 0.074 <= spent <= 0.08
