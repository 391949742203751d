"""Where a change is hard to see: the share of a budget that each pixel of a photo may take."""

from torch import Tensor

from onlymymodel.protect.brightness import luma
from onlymymodel.protect.filters import gaussian

# chosen with epsilon 16 as the cap on images and a model that no table uses
FLOOR = 0.125  # of a smooth region
FULL = 24 / 255  # standard deviation from which on all of the budget may be taken
SIGMA = 1.5  # of the window, in pixels; that of SSIM


def texture_share(photos: Tensor) -> Tensor:
    """(B,1,H,W) in [FLOOR, 1]: contrast masking, a change beside texture is hard to see.

    share = clip(s / FULL, FLOOR, 1) with s the standard deviation of the luminance in a Gaussian window. Just
    noticeable difference models let the threshold grow with local contrast (Chou and Li, TCSVT 1995: by the mean
    gradient and the background); this is our reading of it by the deviation that SSIM masks with.

    Args:
        photos: (B,C,H,W) in [0,1], C 3 (RGB) or 1 (gray).
    """
    luminance = luma(photos)
    variance = gaussian(luminance.square(), SIGMA) - gaussian(luminance, SIGMA).square()
    return (variance.clamp_min(0).sqrt() / FULL).clamp(FLOOR, 1.0)
