"""Differentiable JPEG (ITU-T T.81, baseline, 4:2:0).

The DCT of all 8x8 blocks is one product with a fixed 64x64 matrix, and so is its inverse. Rounding is replaced by
x -> round(x) + (x - round(x))^3 (Shin and Song, NIPS 2017 workshop), whose gradient is not zero. Quantization tables
and their scaling by a quality from 1 to 100 are those of Annex K and of libjpeg, which Pillow uses.
"""

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from onlymymodel.surrogates.device_copy import constant_on

BLOCK = 8
# tables K.1 (luminance) and K.2 (chrominance)
LUMINANCE = torch.tensor((
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
))  # fmt: skip
CHROMINANCE = torch.tensor((
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    *(99,) * 32,
))  # fmt: skip
# RGB in [0,255] to Y, Cb - 128, Cr - 128 (ITU-T T.871), and back
TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]])
TO_RGB = torch.tensor([[1.0, 0.0, 1.402], [1.0, -0.344136286, -0.714136286], [1.0, 1.772, 0.0]])


def jpeg(pixels: Tensor, quality: Tensor) -> Tensor:
    """Compress and decompress photos.

    Args:
        pixels: (B,3,H,W) in [0,1], any H and W.
        quality: (B,) from 1 to 100.

    Returns:
        (B,3,H,W) in [0,1], differentiable in `pixels`.
    """
    height, width = pixels.shape[-2:]
    # whole blocks of 16, as chroma has half the resolution; libjpeg repeats the edge too
    padded = F.pad(255 * pixels, (0, -width % (2 * BLOCK), 0, -height % (2 * BLOCK)), mode="replicate")
    ycc = _mix(padded, TO_YCC)
    luma = _quantize(ycc[:, 0] - 128, _table(LUMINANCE, quality))[:, None] + 128
    chroma = F.avg_pool2d(ycc[:, 1:], 2)
    chroma = _quantize(chroma.flatten(0, 1), _table(CHROMINANCE, quality.repeat_interleave(2))).view_as(chroma)
    # libjpeg's upsampling weighs the nearer sample by 3/4, as bilinear interpolation does
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    rgb = _mix(torch.cat([luma, chroma], dim=1), TO_RGB)
    return (rgb[..., :height, :width] / 255).clamp(0, 1)


def _mix(channels: Tensor, matrix: Tensor) -> Tensor:
    matrix = constant_on(matrix, channels.device).to(channels.dtype)
    return (matrix @ channels.flatten(2)).view_as(channels)


def _quantize(plane: Tensor, table: Tensor) -> Tensor:
    """Quantize the DCT coefficients of the 8x8 blocks of (N,H,W) planes by (N,64) tables."""
    count, height, width = plane.shape
    shape = (count, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    blocks = plane.view(shape).transpose(2, 3).reshape(count, -1, BLOCK * BLOCK)
    rounded: Tensor = _RoundedBlocks.apply(blocks, table[:, None])
    return rounded.view(count, shape[1], shape[3], BLOCK, BLOCK).transpose(2, 3).reshape(plane.shape)


class _RoundedBlocks(torch.autograd.Function):
    """(N,blocks,64) pixels -> the same after rounding their DCT coefficients; the table cancels in the gradient."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, table: Tensor) -> Tensor:
        basis = constant_on(_basis(), blocks.device).to(blocks.dtype)
        coefficients = (blocks @ basis.T) / table
        nearest = coefficients.round()
        rest = coefficients - nearest
        ctx.save_for_backward(rest)
        return ((nearest + rest**3) * table) @ basis

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rest,) = ctx.saved_tensors
        basis = constant_on(_basis(), gradient.device).to(gradient.dtype)
        return (3 * rest.square() * (gradient @ basis.T)) @ basis, None


def _table(base: Tensor, quality: Tensor) -> Tensor:
    """Scale a quantization table as libjpeg does: (N,64) for (N,) qualities."""
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    steps = (constant_on(base, quality.device).to(quality.dtype) * scale[:, None] + 50) / 100
    return steps.floor().clamp(1, 255)


@cache
def _basis() -> Tensor:
    """Return the (64,64) orthonormal matrix of the two-dimensional DCT-II: frequencies by pixels."""
    position = torch.arange(BLOCK, dtype=torch.double)
    basis = torch.cos((2 * position[None] + 1) * position[:, None] * math.pi / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    return torch.einsum("ux,vy->uvxy", basis, basis).reshape(BLOCK**2, BLOCK**2).float()
