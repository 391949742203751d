import io

import numpy as np
import pytest
import torch
from PIL import Image

from onlymymodel.data.portraits import render
from onlymymodel.protect.jpeg import through_jpeg


def test_quality_zero_is_no_layer() -> None:
    assert through_jpeg(0, [torch.Generator()]) is None


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_the_layer_does_what_pillows_codec_does(quality: int) -> None:
    image = render(identity=1, emotion=2, seed=3, size=128)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    layer = through_jpeg(quality, [_FirstDrawIsZero()])
    assert layer is not None
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    codec = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)[None].float() / 255
    coded = layer(pixels)
    # far nearer to the codec than to the photo: kornia rounds softly and averages color differently
    assert (coded - codec).abs().mean() < 0.5 * (pixels - codec).abs().mean() + 0.5 / 255


def test_gradients_pass_and_gray_becomes_three_channels() -> None:
    pixels = torch.rand(2, 1, 24, 40, requires_grad=True)
    layer = through_jpeg(75, [torch.Generator().manual_seed(row) for row in range(2)])
    assert layer is not None
    coded = layer(pixels)
    assert coded.shape == (2, 3, 24, 40)
    (gradient,) = torch.autograd.grad(coded.square().sum(), pixels)
    assert (gradient.flatten(1).abs().amax(1) > 0).all()


def _FirstDrawIsZero() -> torch.Generator:
    """A generator whose first number is nearly 0, so that the quality drawn is the worst allowed."""
    for seed in range(10_000):
        if torch.rand(1, generator=torch.Generator().manual_seed(seed)) < 1e-3:
            return torch.Generator().manual_seed(seed)
    raise AssertionError("no such seed")
