from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.protect.budget.distortion import (
    Distortion,
    batch_mse,
    batch_psnr,
    batch_ssim,
    largest_change,
    psnr,
    ssim,
)
from onlymymodel.protect.budget.flip import flip
from onlymymodel.protect.budget.measure import measure
from onlymymodel.protect.budget.ms_ssim import ms_ssim

WINDOW = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def pair(noise: int, channels: int = 3, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    first = render(identity=0, emotion=1, seed=2, size=size)[..., :channels]
    steps = np.random.default_rng(0).integers(-noise, noise + 1, first.shape)
    second = np.clip(first.astype(int) + steps, 0, 255).astype(np.uint8)
    return to_tensor(first), to_tensor(second)


@pytest.mark.parametrize("noise", [1, 8, 60])
@pytest.mark.parametrize("channels", [1, 3])
def test_distances_equal_those_of_scikit_image(noise: int, channels: int) -> None:
    first, second = pair(noise, channels)
    assert psnr(first, second) == pytest.approx(peak_signal_noise_ratio(first.numpy(), second.numpy()), abs=1e-4)
    maps = [
        structural_similarity(a, b, full=True, data_range=255, **WINDOW)[1]
        for a, b in zip(first.numpy(), second.numpy(), strict=True)
    ]
    inside = np.mean([plane[5:-5, 5:-5].mean() for plane in maps])
    assert ssim(first, second) == pytest.approx(inside, abs=1e-4)


def test_distances_of_a_batch_are_those_of_its_photos() -> None:
    pairs = [pair(noise) for noise in (1, 8, 60)]
    first, second = (torch.stack(photos).float() / 255 for photos in zip(*pairs, strict=True))
    assert batch_mse(first, second).tolist() == pytest.approx(
        [float((a.double() - b.double()).square().mean()) / 255**2 for a, b in pairs], rel=1e-6
    )
    assert batch_psnr(first, second).tolist() == pytest.approx([psnr(*photos) for photos in pairs], abs=1e-4)
    assert batch_ssim(first, second).tolist() == pytest.approx([ssim(*photos) for photos in pairs], abs=1e-6)


def test_small_pictures_are_measured_with_a_smaller_window() -> None:
    first, second = (photo[None, :, :8, :8].float() / 255 for photo in pair(8))
    assert 0 < batch_ssim(first, second).item() < 1


def test_equal_photos() -> None:
    first, _ = pair(1)
    assert psnr(first, first) is None
    assert ssim(first, first) == pytest.approx(1.0, abs=1e-6)
    batch = first[None].float() / 255
    assert batch_psnr(batch, batch).item() == float("inf")
    assert batch_ssim(batch, batch).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("size", [64, 200])
def test_the_distances_of_a_photo_that_was_not_changed_are_those_that_are_measured(size: int) -> None:
    photo = to_tensor(render(1, 1, 1, size))
    distortion, similarity = measure(photo, photo.clone()), ms_ssim(photo, photo)
    measured = Distortion(largest_change(photo, photo), 0.0, psnr(photo, photo), ssim(photo, photo))
    assert replace(distortion, flip=None, ms_ssim=None) == measured
    assert distortion.flip == flip(photo, photo)
    assert distortion.ms_ssim == (None if similarity is None else pytest.approx(similarity, abs=1e-8))


@pytest.mark.parametrize("distance", [ssim, flip])
def test_a_pair_of_photos_is_measured_once(
    distance: Callable[[torch.Tensor, torch.Tensor], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its content: a changed pixel, another order and another shape are other pairs."""
    first, second = torch.randint(256, (2, 3, 40, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    value, swapped = distance(first, second), distance(second, first)
    assert value == pytest.approx(swapped, abs=1e-3)
    again = first.clone()
    again[0, 20, 15] ^= 128
    assert distance(again, second) != value
    for name in ("distortion._mean_ssim", "flip._see"):
        monkeypatch.setattr(f"onlymymodel.protect.budget.{name}", lambda *_: pytest.fail("measured again"))
    assert distance(first.clone(), second.clone()) == value
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        distance(first.transpose(1, 2), second.transpose(1, 2))
