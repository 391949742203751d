"""Priors on natural pictures that gradient inversion and network inversion share."""

from torch import Tensor


def total_variation(pixels: Tensor) -> Tensor:
    """Return the mean absolute difference of neighboring pixels of (N,C,H,W), horizontal plus vertical (anisotropic).

    Natural pictures are smooth, so reconstructions with a small total variation are preferred.
    """
    horizontal, vertical = pixels.diff(dim=-1).abs(), pixels.diff(dim=-2).abs()
    return horizontal.mean() + vertical.mean()
