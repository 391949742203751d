"""Texture mask: the fraction of a budget that each pixel may use; larger beside texture, which hides changes."""

from torch import Tensor

from onlymymodel.protect.budget.filters import gaussian, reach
from onlymymodel.protect.budget.luma import luma

# chosen at epsilon 16 on images and a model that no table of results uses
MIN_FRACTION = 0.1  # in smooth regions
FULL_STD = 24 / 255  # standard deviation from which the fraction is 1
SIGMA = 1.5  # of the Gaussian window, in pixels, as in SSIM
REACH = reach(SIGMA)  # of the window, in pixels


def texture_mask(photos: Tensor) -> Tensor:
    """Return the fraction of linf and luma that each pixel may use, (B,1,H,W) in [MIN_FRACTION, 1].

    Contrast masking: fraction = clip(s / FULL_STD, MIN_FRACTION, 1), where s is the standard deviation of the luma in a
    Gaussian window. In models of just noticeable differences the threshold grows with local contrast (Chou and Li,
    TCSVT 1995: with the mean gradient and the background). This formula is ours; it uses the deviation that SSIM uses.

    Args:
        photos: (B,C,H,W) in [0,1]; C is 3 (RGB) or 1 (gray).
    """
    return (luma_variance(photos).sqrt() / FULL_STD).clamp(MIN_FRACTION, 1.0)


def luma_variance(photos: Tensor) -> Tensor:
    """Return the variance of the luma in a Gaussian window around each pixel, (B,1,H,W); see `texture_mask`."""
    luminance = luma(photos)
    return (gaussian(luminance.square(), SIGMA) - gaussian(luminance, SIGMA).square()).clamp_min(0)
