"""Dead leaves: equal arguments give equal bytes, and the statistics are those of photos."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from dead_leaves import render
from paths import BENCHMARKS

_DIGEST = """
import hashlib
from dead_leaves import render
print(hashlib.sha256(render(3, 48).tobytes()).hexdigest())
"""


@pytest.mark.parametrize("size", [8, 9, 33, 64, 192])
def test_every_size_is_a_picture(size: int) -> None:
    image = render(5, size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert image.std() > 5
    assert image.flags.writeable


def test_size_defaults_to_192() -> None:
    assert render(0).shape == (192, 192, 3)


def test_another_process_gives_the_same_pixels() -> None:
    render(4, 32)  # nothing is left over from one picture to the next
    command = [sys.executable, "-c", _DIGEST]
    elsewhere = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True).stdout.strip()
    assert elsewhere == hashlib.sha256(render(3, 48).tobytes()).hexdigest()


def test_every_seed_is_another_picture() -> None:
    assert len({render(seed, 32).tobytes() for seed in range(20)}) == 20


@pytest.mark.slow
def test_power_falls_with_frequency_as_in_photos() -> None:
    """Photos have spectra of f^-2 to f^-3; white noise has f^0, a blurred picture falls off faster."""
    side = 192
    window = np.hanning(side)[:, None] * np.hanning(side)[None]
    power = np.zeros((side, side))
    for seed in range(24):
        gray = render(seed, side).mean(2)
        power += np.abs(np.fft.fft2((gray - gray.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    band = (frequency > 0.02) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert -3 < slope < -2


@pytest.mark.slow
def test_differences_of_neighbors_have_heavy_tails_as_in_photos() -> None:
    """Edges are rare and strong: the kurtosis of a derivative is far above a Gaussian's 3."""
    kurtosis = []
    for seed in range(12):
        step = np.diff(render(seed).mean(2), axis=1)
        kurtosis.append(float(((step - step.mean()) ** 4).mean() / step.var() ** 2))
    assert np.median(kurtosis) > 6
