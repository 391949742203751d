"""Brightness: what the eye sees best of a change, and how a change is kept from it."""

from functools import cache

import torch
from torch import Tensor

LUMA = (299, 587, 114)  # thousandths of red, green and blue in the luma of ITU-R BT.601, which is that of JPEG
DEFINITION = "largest change of the luma 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) of any pixel, in 1/255"


@cache
def _weights(channels: int) -> Tensor:
    """(1,C,1,1), in sum 1; a gray photo is its own luma."""
    weights = torch.tensor(LUMA, dtype=torch.float32) / 1000 if channels == 3 else torch.ones(1)
    return weights.view(1, -1, 1, 1)


def luma(pixels: Tensor) -> Tensor:
    """(B,1,H,W) from (B,C,H,W) of C 3 (RGB) or 1 (gray), of a photo or of a change."""
    if pixels.shape[1] == 1:
        return pixels
    return (pixels * _weights(3).to(pixels)).sum(1, keepdim=True)


def luma_levels(change: Tensor) -> Tensor:
    """(H,W) absolute change of the luma, in 8-bit steps, from a (C,H,W) change in whole steps; exact."""
    if change.shape[0] == 1:
        return change[0].abs().double()
    weights = torch.tensor(LUMA, device=change.device).view(3, 1, 1)
    return (change.long() * weights).sum(0).abs().double() / 1000


def hold_luma(change: Tensor, limit: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The nearest (B,C,H,W) change, pixel by pixel, whose luma is at most `limit` and that lies in [low, high].

    Args:
        change: in [low, high].
        limit: (B,1,H,W) or a shape that fits, not negative.
        low, high: (B,C,H,W), low <= 0 <= high.
    """
    weights = _weights(change.shape[1]).to(change)
    # all channels go one way, so that one that has met its edge stays there: after as many rounds as there are
    # channels the luma is held exactly
    for _ in range(change.shape[1]):
        value = luma(change)
        excess = value - torch.minimum(torch.maximum(value, -limit), limit)
        free = torch.where(excess > 0, change > low, change < high) * weights
        change = change - excess * free / (free * weights).sum(1, keepdim=True).clamp_min(1e-12)
        change = torch.minimum(torch.maximum(change, low), high)
    return change
