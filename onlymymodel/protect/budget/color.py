"""The color of a change: how far each channel's change is from the mean of the three. Gray photos have none."""

import torch
from torch import Tensor

from onlymymodel.data.strips import map_rows
from onlymymodel.protect.budget.luma import luma

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


def clamp_color(change: Tensor, limit: Tensor, low: Tensor, high: Tensor, luma_limit: Tensor | None = None) -> Tensor:
    """Shrink the color of each pixel's change to a limit, inside [low, high].

    Where a channel cannot change as the others do, at black or white, the change of the pixel is shrunk as a whole.

    Args:
        change: (B,C,H,W), in [low, high].
        limit: (B,1,H,W), or a shape that broadcasts to it; not negative.
        low, high: (B,C,H,W), low <= 0 <= high.
        luma_limit: largest magnitude of the change's luma, as `limit`; None for no limit. A change that keeps it may
            not do so with less color.
    """
    if change.shape[1] == 1:
        return change
    gray = change.mean(1, keepdim=True)
    change = gray + _scale(change - gray, limit) * (change - gray)
    if luma_limit is not None:  # all channels move by as much, which leaves the color as it is
        value = luma(change)
        change = change - (value - torch.minimum(torch.maximum(value, -luma_limit), luma_limit))
    change = torch.minimum(torch.maximum(change, low), high)
    change = _scale(change - change.mean(1, keepdim=True), limit) * change
    return change if luma_limit is None else _scale(luma(change), luma_limit) * change


def _scale(values: Tensor, limit: Tensor) -> Tensor:
    """Return the factor, at most 1, by which all channels of (B,C,H,W) values are inside the limit: (B,1,H,W)."""
    return ((limit + FLOAT_ERROR) / values.abs().amax(1, keepdim=True).clamp_min(FLOAT_ERROR)).clamp_max(1.0)
