import numpy as np
import pytest
from PIL import Image

from onlymymodel.data.processing import recompress, upload


def test_our_own_pixels_are_no_decompression_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    expected = recompress(pixels, codec="JPEG", quality=90)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow fails above twice as many
    assert np.array_equal(recompress(pixels, codec="JPEG", quality=90), expected)
    assert recompress(pixels, codec="WEBP", quality=90).shape == pixels.shape
    assert upload(pixels, longest=32, quality=80, progressive=True).shape == (32, 24, 3)
    assert Image.MAX_IMAGE_PIXELS == 10
