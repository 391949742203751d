"""The Gaussian filter that SSIM, texture masks and smooth changes use."""

from math import ceil

from torch import Tensor


def reach(sigma: float) -> int:
    """Return how many pixels away from a pixel its filtered value still depends on others."""
    return ceil(3.3 * sigma)


def gaussian(pixels: Tensor, sigma: float) -> Tensor:
    """Filter (B,C,H,W) pixels with a Gaussian, truncated at 3.3 sigma (11x11 for SSIM's 1.5), with repeated edges.

    Args:
        pixels: (B,C,H,W).
        sigma: in pixels.
    """
    from kornia.filters import gaussian_blur2d  # seconds to import; few runs need it

    size = 2 * reach(sigma) + 1
    filtered: Tensor = gaussian_blur2d(pixels, (size, size), (sigma, sigma), border_type="replicate")
    return filtered
