"""PSNR and SSIM beside reference implementations."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from onlymymodel.protect.budget import distortion
from onlymymodel.protect.budget.distortion import batch_mse, batch_psnr, batch_ssim


def some(count: int, channels: int, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(count, channels, size, size, generator=generator)
    return first, (first + 0.1 * torch.randn(first.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 16), (1, 11)])
def test_ssim_and_psnr_equal_scikit_image(channels: int, size: int) -> None:
    first, second = some(3, channels, size)
    for index in range(3):
        a, b = (batch[index].double().numpy() for batch in (first, second))
        _, whole = structural_similarity(
            a, b, channel_axis=0, data_range=1, gaussian_weights=True, use_sample_covariance=False, full=True
        )
        inner = whole[:, 5 : size - 5, 5 : size - 5]
        assert batch_ssim(first, second)[index].item() == pytest.approx(inner.mean(), abs=1e-5)
        assert batch_psnr(first, second)[index].item() == pytest.approx(
            peak_signal_noise_ratio(a, b, data_range=1), abs=1e-4
        )


def test_ssim_of_small_pictures_uses_the_largest_odd_window() -> None:
    """8x8: four windows of 7x7 for each channel, written out."""
    first, second = some(1, 2, 8)
    bell = np.exp(-np.square(np.arange(-3, 4)) / (2 * 1.5**2))
    weights = np.outer(bell, bell) / bell.sum() ** 2
    values = []
    for channel, top, left in np.ndindex(2, 2, 2):
        a, b = (batch[0, channel, top : top + 7, left : left + 7].double().numpy() for batch in (first, second))
        mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
        spread_a, spread_b = (weights * a**2).sum() - mean_a**2, (weights * b**2).sum() - mean_b**2
        both = (weights * a * b).sum() - mean_a * mean_b
        luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        values.append(luminance * (2 * both + 0.03**2) / (spread_a + spread_b + 0.03**2))
    assert batch_ssim(first, second).item() == pytest.approx(np.mean(values), abs=1e-5)


def test_ssim_and_psnr_equal_those_of_written_photos() -> None:
    """One definition in the package: batches in [0,1] here, one uint8 photo there."""
    first, second = ((batch * 255).round().to(torch.uint8) for batch in some(3, 3, 24))
    ssims, psnrs = (measure(first / 255, second / 255).tolist() for measure in (batch_ssim, batch_psnr))
    for index, (a, b) in enumerate(zip(first, second, strict=True)):
        assert ssims[index] == pytest.approx(distortion.ssim(a, b), abs=1e-6)
        assert psnrs[index] == pytest.approx(distortion.psnr(a, b), abs=1e-4)


def test_similarity_of_equal_and_of_opposite_pictures() -> None:
    first, _ = some(2, 3, 16)
    assert batch_psnr(first, first).tolist() == [math.inf] * 2
    torch.testing.assert_close(batch_ssim(first, first), torch.ones(2))
    black, white = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    assert batch_mse(black, white).tolist() == [1.0]
    assert batch_psnr(black, white).tolist() == [0.0]
    assert batch_ssim(black, white).item() == pytest.approx(1e-4, rel=1e-2)  # C1 / (1 + C1)
