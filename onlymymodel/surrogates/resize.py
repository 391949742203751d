"""Resize photos for networks, antialiased, without a float copy of a whole 8-bit photo."""

import torch
import torch.nn.functional as F
from torch import Tensor

from onlymymodel.data.strips import map_rows

GRAY = 114 / 255  # beside a photo that is not as wide or high as the input of a detector


def resize(pixels: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Resize photos.

    Args:
        pixels: (B,C,H,W) in [0,1], or uint8.
        size: height and width of the result.
        interpolation: `bicubic` or `bilinear`, antialiased, or `nearest`.

    Returns:
        (B,C,height,width) floats, of 8-bit pixels divided by 255; bicubic may leave [0,1]. The result for uint8 equals
        that for floats to the last bit, but has no gradient.
    """
    if pixels.dtype != torch.uint8:
        return _resize(pixels, size, interpolation)

    # the filters are separable, and the first goes along the rows
    def narrow(strip: Tensor) -> Tensor:
        return _resize(strip.float() / 255, (strip.shape[-2], size[1]), interpolation)

    return _resize(map_rows(narrow, pixels), size, interpolation)


def letterbox(pixels: Tensor, height: int, width: int, interpolation: str) -> Tensor:
    """Resize whole photos to fit into (height, width), in the middle of gray, as for the detectors of the YOLO family.

    Args:
        pixels: (B,C,H,W) in [0,1], or uint8.
        height: of the result.
        width: of the result.
        interpolation: see `resize`.

    Returns:
        (B,C,height,width) floats.
    """
    scale = min(height / pixels.shape[-2], width / pixels.shape[-1])
    size = max(round(pixels.shape[-2] * scale), 1), max(round(pixels.shape[-1] * scale), 1)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    margins = (left, width - size[1] - left, top, height - size[0] - top)
    return F.pad(resize(pixels, size, interpolation), margins, value=GRAY)


def _resize(pixels: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    smooth = interpolation != "nearest"
    mode = interpolation if smooth else "nearest-exact"  # Pillow's and scikit-image's nearest
    return F.interpolate(pixels, size=size, mode=mode, antialias=smooth)
