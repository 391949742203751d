"""JPEG as a differentiable layer, so that a protection is found that survives it."""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor


def through_jpeg(quality: int, generators: Sequence[Generator]) -> Callable[[Tensor], Tensor] | None:
    """A layer that codes each (C,H,W) photo in [0,1] at a random quality from `quality` to 100; None for quality 0.

    Args:
        quality: the worst quality, 1 to 100.
        generators: one for each photo, on the CPU; one number is drawn from each.
    """
    if quality == 0:
        return None
    from kornia.enhance import jpeg_codec_differentiable  # seconds to import; only the robust setting needs it

    draws = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    qualities = quality + (100 - quality) * draws

    def coded(pixels: Tensor) -> Tensor:
        out: Tensor = jpeg_codec_differentiable(pixels.expand(-1, 3, -1, -1), qualities.to(pixels))
        return out

    return coded
