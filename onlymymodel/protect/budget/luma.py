"""Luma (brightness), in which changes are most visible, and the projection of a change onto a limit of it."""

import torch
from torch import Tensor

from onlymymodel.data.strips import map_rows
from onlymymodel.surrogates.device_copy import constant_on

LUMA = (299, 587, 114)  # weights of red, green and blue in thousandths: luma of ITU-R BT.601, as in JPEG
RGB_WEIGHTS = torch.tensor(LUMA, dtype=torch.float32).view(1, 3, 1, 1) / 1000
DEFINITION = "largest change of the luma 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) of any pixel, in 1/255"


def _weights(channels: int, like: Tensor) -> Tensor:
    """Return the weights of the channels, (1,C,1,1), with sum 1; a gray photo is its own luma."""
    if channels != 3:
        return like.new_ones(1, 1, 1, 1)
    return constant_on(RGB_WEIGHTS, like.device).to(like.dtype)


def luma(pixels: Tensor) -> Tensor:
    """Return the luma of photos or changes, (B,1,H,W) from (B,C,H,W); C is 3 (RGB) or 1 (gray)."""
    if pixels.shape[1] == 1:
        return pixels
    return (pixels * _weights(3, pixels)).sum(1, keepdim=True)


def luma_change(change: Tensor) -> Tensor:
    """Return the exact absolute change of the luma, (H,W) in 8-bit levels, of a (C,H,W) change in whole levels."""
    if change.shape[0] == 1:
        return change[0].abs().double()
    weights = torch.tensor(LUMA, device=change.device).view(3, 1, 1)
    return (change.long() * weights).sum(0).abs().double() / 1000


def largest_luma_change(protected: Tensor, original: Tensor) -> float:
    """Return the largest `luma_change` of two (C,H,W) uint8 photos, in 8-bit levels."""

    def of_rows(first: Tensor, second: Tensor) -> Tensor:
        return luma_change(first.int() - second.int()).amax(-1, keepdim=True)

    return float(map_rows(of_rows, protected, original).max())


def clamp_luma(change: Tensor, limit: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Project each pixel of a change to the nearest one in [low, high] whose luma is at most `limit` in magnitude.

    Args:
        change: (B,C,H,W), in [low, high].
        limit: (B,1,H,W), or a shape that broadcasts to it; not negative.
        low, high: (B,C,H,W), low <= 0 <= high.
    """
    weights = _weights(change.shape[1], change)
    # all channels move in one direction, so a channel that has reached its edge stays there: after one round for each
    # channel the luma is exactly inside its limit
    for _ in range(change.shape[1]):
        value = luma(change)
        overshoot = value - torch.minimum(torch.maximum(value, -limit), limit)
        free = torch.where(overshoot > 0, change > low, change < high) * weights
        change = change - overshoot * free / (free * weights).sum(1, keepdim=True).clamp_min(1e-12)
        change = torch.minimum(torch.maximum(change, low), high)
    return change
