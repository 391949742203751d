"""The Gaussian filter that SSIM, the shape of a budget and smooth changes share."""

from math import ceil

from torch import Tensor


def gaussian(pixels: Tensor, sigma: float) -> Tensor:
    """(B,C,H,W) filtered by a Gaussian of sigma pixels, cut at 3.3 sigma (11x11 for SSIM's 1.5), edges repeated."""
    from kornia.filters import gaussian_blur2d  # seconds to import; few runs need it

    size = 2 * ceil(3.3 * sigma) + 1
    filtered: Tensor = gaussian_blur2d(pixels, (size, size), (sigma, sigma), border_type="replicate")
    return filtered
