"""Multi-scale SSIM (Wang, Simoncelli and Bovik, Asilomar 2003): structural similarity seen from several distances.

1 is equal. Contrast and structure are compared at five resolutions, each half of the one before, luminance at the last:
eq. 7 with the exponents of the paper. SSIM's window and constants are those of `distortion.SSIM_DEFINITION`. Tests
compare it to the package `pytorch-msssim`.
"""

from math import prod
from statistics import fmean

import torch.nn.functional as F
from torch import Tensor

from onlymymodel.data.strips import strips
from onlymymodel.protect.budget.distortion import SSIM_SIGMA, SSIM_WINDOW
from onlymymodel.protect.budget.filters import gaussian_weights, separable

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from the photo's own resolution to the last
MIN_SIDE = SSIM_WINDOW << (len(EXPONENTS) - 1)  # pixels a side, so that a window fits into the last resolution
DEFINITION = (
    f"{len(EXPONENTS)} scales with exponents {', '.join(map(str, EXPONENTS))}, means of 2x2 pixels between them, "
    f"{SSIM_WINDOW}x{SSIM_WINDOW} Gaussian windows inside the photo, sigma {SSIM_SIGMA}, mean over the channels"
)
WEIGHTS = gaussian_weights(SSIM_SIGMA)
C1, C2 = 0.01**2, 0.03**2


def ms_ssim(first: Tensor, second: Tensor) -> float | None:
    """Return the multi-scale SSIM of two (C,H,W) uint8 photos; None where a side has fewer than `MIN_SIDE` pixels."""
    if min(first.shape[-2:]) < MIN_SIDE:
        return None
    return fmean(_of_channel(a.float() / 255, b.float() / 255) for a, b in zip(first, second, strict=True))


def _of_channel(first: Tensor, second: Tensor) -> float:
    """Return that of two (H,W) channels in [0,1]; factors below 0 count as 0, since their powers are not real."""
    factors = []
    for scale, exponent in enumerate(EXPONENTS, start=1):
        similarity, structure = _means(first, second)
        factors.append(max(similarity if scale == len(EXPONENTS) else structure, 0.0) ** exponent)
        first, second = (F.avg_pool2d(plane[None], 2)[0] for plane in (first, second))
    return float(prod(factors))


def _means(first: Tensor, second: Tensor) -> tuple[float, float]:
    """Return the mean SSIM, and the mean of its factor of contrast and structure, over all windows inside."""
    edge = SSIM_WINDOW // 2
    rows, columns = first.shape[0] - 2 * edge, first.shape[1] - 2 * edge
    sums = [0.0, 0.0]
    for part in strips(rows, first.shape[1]):
        a, b = (plane[part.start : part.stop + 2 * edge] for plane in (first, second))
        mean_a, mean_b, square_a, square_b, product = (
            separable(plane, WEIGHTS, WEIGHTS) for plane in (a, b, a.square(), b.square(), a * b)
        )
        covariance, variances = product - mean_a * mean_b, square_a + square_b - mean_a.square() - mean_b.square()
        structure = (2 * covariance + C2) / (variances + C2)
        luminance = (2 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
        for index, values in enumerate((luminance * structure, structure)):
            sums[index] += float(values.double().sum())
    return sums[0] / (rows * columns), sums[1] / (rows * columns)
