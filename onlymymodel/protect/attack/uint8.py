"""Conversion between 8-bit pixels and floats in [0,1]."""

import torch
from torch import Tensor


def to_uint8(pixels: Tensor) -> Tensor:
    """Convert floats in [0,1] to uint8, rounded to nearest: truncation would darken every photo by half a level."""
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8)


def to_float(pixels: Tensor) -> Tensor:
    """Convert uint8 to float32 in [0,1]."""
    return pixels.float() / 255
