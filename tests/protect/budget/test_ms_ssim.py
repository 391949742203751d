"""MS-SSIM, compared to the package pytorch-msssim."""

import pytest
import pytorch_msssim
import torch
from torch import Tensor

from onlymymodel.data import strips
from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.protect.budget.ms_ssim import MIN_SIDE, ms_ssim


def pair(levels: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    """Two (channels,208,224) uint8; both sides can be halved four times."""
    original = to_tensor(render(identity=0, emotion=1, seed=2, size=224))[:channels, :208]
    steps = torch.randint(-levels, levels + 1, original.shape, generator=torch.Generator().manual_seed(0))
    return original, (original.int() + steps).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(("levels", "channels"), [(2, 3), (16, 1), (255, 3)])
def test_it_is_that_of_another_package(levels: int, channels: int) -> None:
    first, second = pair(levels, channels)
    expected = pytorch_msssim.ms_ssim(first[None].double(), second[None].double(), data_range=255)
    assert ms_ssim(first, second) == pytest.approx(float(expected), abs=2e-5)


def test_a_large_photo_is_measured_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pair(8)
    whole = ms_ssim(first, second)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 32 * 224)
    assert ms_ssim(first, second) == pytest.approx(whole, abs=1e-6)


def test_a_photo_too_small_for_five_resolutions_has_none() -> None:
    photo = torch.zeros(3, MIN_SIDE, MIN_SIDE - 1, dtype=torch.uint8)
    assert ms_ssim(photo, photo) is None
    larger = torch.zeros(3, MIN_SIDE, MIN_SIDE, dtype=torch.uint8)
    assert ms_ssim(larger, larger) == 1
