"""The differentiable JPEG against kornia's, and against the real codec."""

import io

import numpy as np
import pytest
import torch
from kornia.enhance import jpeg_codec_differentiable
from PIL import Image
from skimage import data
from torch import Tensor

from onlymymodel.protect.attack.jpeg import _basis, _RoundedBlocks, jpeg


def photo(size: tuple[int, int]) -> Tensor:
    """(1,3,H,W) in [0,1]: scikit-image's cat."""
    image = Image.fromarray(data.chelsea()).resize(size[::-1])
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255


def pillow(pixels: Tensor, quality: int) -> Tensor:
    image = Image.fromarray((pixels[0] * 255).round().byte().permute(1, 2, 0).numpy())
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return torch.from_numpy(np.asarray(Image.open(buffer)).copy()).permute(2, 0, 1)[None].float() / 255


def rms(first: Tensor, second: Tensor) -> float:
    """In 8-bit levels."""
    return float((first - second).square().mean().sqrt() * 255)


def test_the_basis_is_orthonormal() -> None:
    basis = _basis().double()
    torch.testing.assert_close(basis @ basis.T, torch.eye(64, dtype=torch.double), atol=1e-6, rtol=0)


@pytest.mark.parametrize("quality", [30, 50, 75, 90])
@pytest.mark.parametrize("size", [(160, 224), (97, 131)])
def test_it_is_nearly_the_real_codec(quality: int, size: tuple[int, int]) -> None:
    pixels = photo(size)
    real, ours = pillow(pixels, quality), jpeg(pixels, torch.tensor([float(quality)]))
    assert ours.shape == pixels.shape
    # what the smooth rounding and libjpeg's integer arithmetic leave, beside what the codec itself loses
    assert rms(ours, real) < 0.45 * rms(pixels, real)
    theirs = jpeg_codec_differentiable(pixels, torch.tensor([float(quality)]))
    assert rms(ours, real) < rms(theirs, real) + 0.05


def test_every_photo_has_its_own_quality() -> None:
    pixels, qualities = photo((64, 64)).repeat(2, 1, 1, 1), torch.tensor([20.0, 95.0])
    together = jpeg(pixels, qualities)
    for row in range(2):
        torch.testing.assert_close(jpeg(pixels[row : row + 1], qualities[row : row + 1])[0], together[row])
    assert rms(together[0], pixels[0]) > 2 * rms(together[1], pixels[1])


def test_the_gradient_reaches_every_pixel() -> None:
    pixels = photo((50, 40)).requires_grad_()
    target = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((jpeg(pixels, torch.tensor([75.0])) - target).square().sum(), pixels)
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().flatten() > 0).float().mean() > 0.95


def test_the_gradient_is_that_of_the_smooth_rounding() -> None:
    """Automatic differentiation of the formula, block by block, against the gradient that is written out."""
    blocks = (torch.rand(2, 5, 64, generator=torch.Generator().manual_seed(0)) * 255 - 128).double().requires_grad_()
    table, basis = torch.full((2, 1, 64), 7.0, dtype=torch.double), _basis().double()
    coefficients = blocks @ basis.T / table
    nearest = coefficients.detach().round()
    expected = (nearest + (coefficients - nearest) ** 3) * table @ basis
    torch.testing.assert_close(_RoundedBlocks.apply(blocks, table), expected)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).double()
    (wanted,) = torch.autograd.grad((weights * expected).sum(), blocks)
    (found,) = torch.autograd.grad((weights * _RoundedBlocks.apply(blocks, table)).sum(), blocks)
    torch.testing.assert_close(found, wanted)
