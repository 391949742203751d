"""The purifier: the weights of the recorded results, which remove noise and keep clean pictures."""

import hashlib
import json
import subprocess
import sys

import dead_leaves
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from paths import ROOT
from safetensors.torch import load_file

from onlymymodel.data import portraits
from onlymymodel.surrogates.purifier import RECEPTIVE_RADIUS, STRIP_ROWS, WEIGHTS, Purifier, purify, purify_pixels

RESULTS = ROOT / "results" / "purifier.json"
UNSEEN = 9_000_000  # benchmarks/train_purifier.py stays far below


def psnr(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.square(first.astype(float) - second).mean()))


def noisy(image: NDArray[np.uint8], epsilon: int) -> NDArray[np.uint8]:
    signs = np.random.default_rng(1).choice([-epsilon, epsilon], image.shape)
    spoiled: NDArray[np.uint8] = (image + signs).clip(0, 255).astype(np.uint8)
    return spoiled


def test_results_are_of_these_weights() -> None:
    content, results = WEIGHTS.read_bytes(), json.loads(RESULTS.read_text())
    assert hashlib.sha256(content).hexdigest() == results["sha256"]
    assert len(content) == results["bytes"] < 400_000
    weights = load_file(WEIGHTS)
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert sum(weight.numel() for weight in weights.values()) == results["parameters"]


def test_results_show_gain_against_every_strong_change() -> None:
    figures = json.loads(RESULTS.read_text())["psnr_db"]
    assert figures.pop("clean")["after"] > 40
    assert len(figures) == 12
    for name, row in figures.items():
        assert row["after"] > row["before"] + (-1.0 if name.endswith("-4") else 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(UNSEEN, UNSEEN + 4))
def test_noise_is_reduced(seed: int) -> None:
    image = dead_leaves.render(seed)
    spoiled = noisy(image, 16)
    assert psnr(purify(spoiled), image) > psnr(spoiled, image) + 4


def test_portraits_improve_and_gray_pictures_do_not_worsen() -> None:
    image = portraits.render(3, 1, UNSEEN)
    assert psnr(purify(noisy(image, 16)), image) > psnr(noisy(image, 16), image) + 4
    gray = image[..., 1:2].copy()
    assert psnr(purify(noisy(gray, 16)), gray) > psnr(noisy(gray, 16), gray)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(UNSEEN, UNSEEN + 4))
def test_clean_pictures_change_little(seed: int) -> None:
    image = dead_leaves.render(seed)
    assert psnr(purify(image), image) > 35


def test_strips_leave_no_seam() -> None:
    """A tall picture, cut into strips, is what the network gives for the whole of it."""
    image = np.concatenate([dead_leaves.render(UNSEEN + k, 96) for k in range(6)])[:, :40]
    assert len(image) > 2 * STRIP_ROWS
    net = Purifier()
    net.load_state_dict(load_file(WEIGHTS))
    with torch.no_grad():
        whole = net(torch.tensor(image).permute(2, 0, 1)[None].float() / 255)[0]
    expected = (whole * 255).clamp(0, 255).permute(1, 2, 0).numpy()
    assert np.abs(purify(image) - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("size", [(48, 40), (33, 21)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_differentiable_form_is_the_channel_but_for_its_rounding(size: tuple[int, int], channels: int) -> None:
    image = noisy(portraits.render(3, 1, UNSEEN)[: size[0], : size[1], :channels].copy(), 8)
    pixels = (torch.tensor(image).permute(2, 0, 1)[None].float() / 255).requires_grad_()
    purified = purify_pixels(pixels)
    assert purified.shape == (1, 3, *size)
    expected = torch.tensor(purify(image)).permute(2, 0, 1)
    shown = purified[0] if channels == 3 else purified[0].mean(0, keepdim=True)
    assert (255 * shown - expected).abs().max() <= 0.5 + 1e-3
    (gradient,) = torch.autograd.grad(purified.square().sum(), pixels)
    assert (gradient != 0).float().mean() > 0.99


def test_receptive_radius_bounds_the_gradient() -> None:
    net = Purifier()
    net.load_state_dict(load_file(WEIGHTS))
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(net(pixels)[0, :, 32].sum(), pixels)
    felt = gradient.abs().sum((0, 1, 3)).nonzero()[:, 0]
    assert felt.min() >= 32 - RECEPTIVE_RADIUS
    assert felt.max() <= 33 + RECEPTIVE_RADIUS


@pytest.mark.slow
def test_weights_are_not_read_before_they_are_needed() -> None:
    code = (
        "from onlymymodel.evaluate import channels\n"
        "from onlymymodel.surrogates import purifier\n"
        "print(purifier._trained_purifier.cache_info().currsize)\n"
        "import numpy as np\n"
        "[channels.CHANNELS['purifier'].apply(np.zeros((2, 2, 3), np.uint8)) for _ in range(3)]\n"
        "print(purifier._trained_purifier.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]
