import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from onlymymodel.data.portraits import render
from onlymymodel.protect.distortion import psnr, ssim

WINDOW = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def pair(noise: int, channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    first = render(identity=0, emotion=1, seed=2, size=64)[..., :channels]
    steps = np.random.default_rng(0).integers(-noise, noise + 1, first.shape)
    second = np.clip(first.astype(int) + steps, 0, 255).astype(np.uint8)
    return torch.from_numpy(first).permute(2, 0, 1), torch.from_numpy(second).permute(2, 0, 1)


@pytest.mark.parametrize("noise", [1, 8, 60])
@pytest.mark.parametrize("channels", [1, 3])
def test_against_scikit_image(noise: int, channels: int) -> None:
    first, second = pair(noise, channels)
    assert psnr(first, second) == pytest.approx(peak_signal_noise_ratio(first.numpy(), second.numpy()), abs=1e-4)
    maps = [
        structural_similarity(a, b, full=True, data_range=255, **WINDOW)[1]
        for a, b in zip(first.numpy(), second.numpy(), strict=True)
    ]
    inside = np.mean([plane[5:-5, 5:-5].mean() for plane in maps])
    assert ssim(first, second) == pytest.approx(inside, abs=1e-4)


def test_equal_photos() -> None:
    first, _ = pair(1)
    assert psnr(first, first) is None
    assert ssim(first, first) == pytest.approx(1.0, abs=1e-6)
