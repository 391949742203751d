"""Convert images between (H,W,C) uint8 arrays, Pillow images and (C,H,W) uint8 tensors.

Files and black boxes use arrays, models and the optimizer use tensors. `torch` is imported in the functions, so that
importing this module is quick.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8]


def to_tensor(pixels: Pixels) -> Tensor:
    """Return a contiguous (C,H,W) uint8 tensor, on the CPU, of an (H,W,C) uint8 array.

    The tensor has a copy of the pixels: an array may be a view that cannot be written.
    """
    import torch

    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def to_array(pixels: Tensor) -> Pixels:
    """Return a contiguous (H,W,C) uint8 array of a (C,H,W) uint8 tensor on any device."""
    return np.ascontiguousarray(pixels.detach().permute(1, 2, 0).cpu().numpy())


def as_floats(pixels: Tensor) -> Tensor:
    """Return a tensor in [0,1] of one that is uint8, or in [0,1] already."""
    import torch

    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def to_image(pixels: Pixels) -> Image.Image:
    """Return an (H,W,3) or (H,W,1) uint8 photo as a Pillow image."""
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def to_png(pixels: Pixels) -> bytes:
    """Return an (H,W,3) or (H,W,1) uint8 photo as the bytes of a PNG file."""
    out = BytesIO()
    to_image(pixels).save(out, "PNG")
    return out.getvalue()
