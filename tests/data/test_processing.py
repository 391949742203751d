"""Processing of pixels by real codecs and filters."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onlymymodel.data.pixels import Pixels
from onlymymodel.data.processing import add_noise, recompress, reduce_colors, upload


def test_our_own_pixels_are_no_decompression_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    expected = recompress(pixels, codec="JPEG", quality=90)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow fails above twice as many
    assert np.array_equal(recompress(pixels, codec="JPEG", quality=90), expected)
    assert recompress(pixels, codec="WEBP", quality=90).shape == pixels.shape
    assert upload(pixels, longest=32, quality=80, progressive=True).shape == (32, 24, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_and_fewer_colors_are_those_of_the_whole_photo_at_once(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 31, channels), dtype=np.uint8)
    noise = np.random.default_rng(0).normal(0, 2.0, pixels.shape)
    assert np.array_equal(add_noise(pixels, deviation=2.0), (pixels + noise).round().clip(0, 255).astype(np.uint8))
    for bits in range(1, 8):
        steps = 2**bits - 1
        expected = ((pixels / 255 * steps).round() / steps * 255).round().astype(np.uint8)
        assert np.array_equal(reduce_colors(pixels, bits=bits), expected)


@pytest.mark.parametrize(("change", "options"), [(add_noise, {"deviation": 2.0}), (reduce_colors, {"bits": 5})])
def test_a_large_photo_is_not_copied_as_floats(change: Callable[..., Pixels], options: dict[str, Any]) -> None:
    pixels = np.zeros((2_000, 1_000, 3), np.uint8)
    tracemalloc.start()
    try:
        change(pixels, **options)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * pixels.size  # bytes; floats of the whole photo have eight a value
