"""Filters: a Gaussian for texture masks and smooth changes, and any filter with one factor for each axis."""

from math import ceil

import torch
from torch import Tensor

from onlymymodel.surrogates.device_copy import to_device


def reach(sigma: float) -> int:
    """Return how many pixels away from a pixel its filtered value still depends on others."""
    return ceil(3.3 * sigma)


def gaussian(pixels: Tensor, sigma: float) -> Tensor:
    """Filter (B,C,H,W) pixels with a Gaussian, truncated at 3.3 sigma (11x11 for SSIM's 1.5), with repeated edges.

    Args:
        pixels: (B,C,H,W).
        sigma: in pixels.
    """
    from kornia.filters import filter2d_separable, get_gaussian_kernel1d  # seconds to import; few runs need it

    kernel = to_device(get_gaussian_kernel1d(2 * reach(sigma) + 1, sigma, dtype=pixels.dtype), pixels.device)
    filtered: Tensor = filter2d_separable(pixels, kernel, kernel, border_type="replicate")
    return filtered


def gaussian_weights(sigma: float) -> tuple[float, ...]:
    """Return the weights of the Gaussian of `gaussian`, from one end to the other; their sum is 1."""
    taps = torch.arange(-reach(sigma), reach(sigma) + 1, dtype=torch.double) / sigma
    return tuple((taps.square() / -2).softmax(0).tolist())


def separable(plane: Tensor, across: tuple[float, ...], down: tuple[float, ...]) -> Tensor:
    """Filter (H,W) with one filter along the rows and one along the columns, where both lie inside.

    Sums of shifted planes are several times faster than a convolution of one channel.

    Returns:
        (H - len(down) + 1, W - len(across) + 1).
    """
    return _shifted_sum(_shifted_sum(plane, across, 1), down, 0)


def _shifted_sum(plane: Tensor, weights: tuple[float, ...], axis: int) -> Tensor:
    length = plane.shape[axis] - len(weights) + 1
    total = plane.narrow(axis, 0, length) * weights[0]
    for start, weight in enumerate(weights[1:], start=1):
        total.add_(plane.narrow(axis, start, length), alpha=weight)
    return total
