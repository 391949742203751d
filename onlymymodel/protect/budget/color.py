"""The color of a change: how far each channel's change is from the mean of the three. Gray photos have none."""

import torch
from torch import Tensor

from onlymymodel.data.strips import map_rows

FLOAT_ERROR = 1e-6  # of pixels in [0,1]: what the mean of equal channels may differ from them
DEFINITION = "largest difference of a channel's change from the mean change of the three, of any pixel, in 1/255"


def color_change(change: Tensor) -> Tensor:
    """Return the exact color of a change, (H,W) in 8-bit levels, from a (C,H,W) change in whole levels."""
    if change.shape[0] == 1:
        return torch.zeros(change.shape[1:], dtype=torch.double, device=change.device)
    difference = 3 * change.int() - change.int().sum(0, keepdim=True)
    return difference.abs().amax(0).double() / 3


def largest_color_change(protected: Tensor, original: Tensor) -> float:
    """Return the largest `color_change` of two (C,H,W) uint8 photos, in 8-bit levels."""

    def of_rows(first: Tensor, second: Tensor) -> Tensor:
        return color_change(first.int() - second.int()).amax(-1, keepdim=True)

    return float(map_rows(of_rows, protected, original).max())


def clamp_color(change: Tensor, limit: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Shrink the color of each pixel's change to a limit, inside [low, high].

    Where a channel cannot change as the others do, at black or white, the change of the pixel is shrunk as a whole.

    Args:
        change: (B,C,H,W), in [low, high].
        limit: (B,1,H,W), or a shape that broadcasts to it; not negative.
        low, high: (B,C,H,W), low <= 0 <= high.
    """
    if change.shape[1] == 1:
        return change
    gray = change.mean(1, keepdim=True)
    change = torch.minimum(torch.maximum(gray + _scale(change - gray, limit) * (change - gray), low), high)
    return _scale(change - change.mean(1, keepdim=True), limit) * change


def _scale(color: Tensor, limit: Tensor) -> Tensor:
    """Return the factor, at most 1, by which (B,C,H,W) colors are inside the limit: (B,1,H,W)."""
    return ((limit + FLOAT_ERROR) / color.abs().amax(1, keepdim=True).clamp_min(FLOAT_ERROR)).clamp_max(1.0)
