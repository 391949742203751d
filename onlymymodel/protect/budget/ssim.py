"""SSIM of a photo and a growing change of it (Wang et al., TIP 2004, eq. 13).

All local moments of original + scale * delta are polynomials in scale, so the filters run only once for a change.
"""

from collections.abc import Callable
from statistics import fmean
from typing import NamedTuple

from torch import Tensor

from onlymymodel.protect.budget.distortion import SSIM_SIGMA
from onlymymodel.protect.budget.filters import gaussian_weights, separable

C1, C2 = 0.01**2, 0.03**2
WEIGHTS = gaussian_weights(SSIM_SIGMA)


class Moments(NamedTuple):
    """What SSIM needs of one channel of a photo.

    Attributes:
        plane: (H,W) the channel.
        mean: (H-10,W-10) mean in each window inside.
        variance: (H-10,W-10) variance in each window inside.
    """

    plane: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, plane: Tensor) -> "Moments":
        """Return the moments of an (H,W) channel."""
        mean = _local_mean(plane)
        return cls(plane, mean, _local_mean(plane.square()) - mean.square())


def moments_of(original: Tensor) -> list[Moments]:
    """Return the moments of each channel of a (C,H,W) photo in [0,1]."""
    return [Moments.of(channel) for channel in original]


def similarity_along(delta: Tensor, originals: list[Moments]) -> Callable[[float], float]:
    """Return the SSIM of a photo and the photo + scale * delta as a function of scale.

    Args:
        delta: (C,H,W) change.
        originals: the moments of the photo.
    """
    channels = [_channel_along(*pair) for pair in zip(delta, originals, strict=True)]
    return lambda scale: fmean(similarity(scale) for similarity in channels)


def _local_mean(plane: Tensor) -> Tensor:
    return separable(plane, WEIGHTS, WEIGHTS)


def _channel_along(delta: Tensor, original: Moments) -> Callable[[float], float]:
    mean, variance, delta_mean = original.mean, original.variance, _local_mean(delta)
    covariance = _local_mean(original.plane * delta) - mean * delta_mean
    delta_variance = _local_mean(delta.square()) - delta_mean.square()

    def similarity(scale: float) -> float:
        moved_mean = mean + scale * delta_mean
        moved_covariance = variance + scale * covariance
        moved_variance = variance + 2 * scale * covariance + scale**2 * delta_variance
        numerator = (2 * mean * moved_mean + C1) * (2 * moved_covariance + C2)
        denominator = (mean.square() + moved_mean.square() + C1) * (variance + moved_variance + C2)
        return float((numerator / denominator).mean())

    return similarity
