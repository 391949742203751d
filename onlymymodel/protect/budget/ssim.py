"""SSIM of a photo and a growing change of it (Wang et al., TIP 2004, eq. 13), in strips of rows.

All local moments of original + scale * delta are polynomials in scale, so the filters run only once for a change of a
photo of ordinary size. Of a large photo, the moments of most strips are computed again for each measurement, since
those of all take twenty times the memory of the photo.
"""

from collections.abc import Callable
from statistics import fmean
from typing import NamedTuple

from torch import Tensor

from onlymymodel.data.pixels import as_floats
from onlymymodel.data.strips import strips
from onlymymodel.protect.budget.distortion import SSIM_SIGMA, SSIM_WINDOW
from onlymymodel.protect.budget.filters import gaussian_weights, separable

C1, C2 = 0.01**2, 0.03**2
WEIGHTS = gaussian_weights(SSIM_SIGMA)
KEPT = 2  # strips of a channel whose moments are kept


class Moments(NamedTuple):
    """Precomputed local statistics of some rows of one channel of a photo.

    Attributes:
        plane: (H,W) the rows.
        mean: (H-10,W-10) mean in each window inside.
        variance: (H-10,W-10) variance in each window inside.
    """

    plane: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, plane: Tensor) -> "Moments":
        """Return the moments of (H,W) rows in [0,1]."""
        mean = _local_mean(plane)
        return cls(plane, mean, _local_mean(plane.square()) - mean.square())


class Reference:
    """Precomputed local statistics of a photo.

    Args:
        original: (C,H,W) in [0,1], or uint8.

    Attributes:
        parts: the rows of each strip, with those around them on which it depends.
        windows: number of windows inside the photo.
    """

    def __init__(self, original: Tensor) -> None:
        self.original = original
        beside = SSIM_WINDOW - 1
        height, width = int(original.shape[-2]), int(original.shape[-1])
        self.parts = [slice(rows.start, rows.stop + beside) for rows in strips(height - beside, width)]
        self.windows = (height - beside) * (width - beside)
        self._kept = [
            [self._moments(channel, rows) for rows in self.parts[:KEPT]] for channel in range(original.shape[0])
        ]

    def moments(self, channel: int, part: int) -> Moments:
        """Return the moments of one strip of a channel."""
        kept = self._kept[channel]
        return kept[part] if part < len(kept) else self._moments(channel, self.parts[part])

    def _moments(self, channel: int, rows: slice) -> Moments:
        return Moments.of(as_floats(self.original[channel, rows]))


class _Change(NamedTuple):
    """Moments of a change, beside those of the photo."""

    original: Moments
    mean: Tensor
    covariance: Tensor
    variance: Tensor

    @classmethod
    def of(cls, delta: Tensor, original: Moments) -> "_Change":
        mean = _local_mean(delta)
        covariance = _local_mean(original.plane * delta) - original.mean * mean
        return cls(original, mean, covariance, _local_mean(delta.square()) - mean.square())

    def sum_of_similarities(self, scale: float) -> float:
        (_, mean, variance), delta_mean, covariance, delta_variance = self
        moved_mean = mean + scale * delta_mean
        moved_covariance = variance + scale * covariance
        moved_variance = variance + 2 * scale * covariance + scale**2 * delta_variance
        numerator = (2 * mean * moved_mean + C1) * (2 * moved_covariance + C2)
        denominator = (mean.square() + moved_mean.square() + C1) * (variance + moved_variance + C2)
        return float((numerator / denominator).double().sum())


def similarity_along(delta: Tensor, original: Reference) -> Callable[[float], float]:
    """Return the SSIM of a photo and the photo + scale * delta as a function of scale.

    Args:
        delta: (C,H,W) change.
        original: the photo.
    """
    channels = [_channel_along(number, channel, original) for number, channel in enumerate(delta)]
    return lambda scale: fmean(similarity(scale) for similarity in channels)


def _local_mean(plane: Tensor) -> Tensor:
    return separable(plane, WEIGHTS, WEIGHTS)


def _channel_along(number: int, delta: Tensor, original: Reference) -> Callable[[float], float]:
    def change(part: int) -> _Change:
        return _Change.of(delta[original.parts[part]], original.moments(number, part))

    kept = [change(part) for part in range(len(original.parts))[:KEPT]]

    def similarity(scale: float) -> float:
        total = sum(part.sum_of_similarities(scale) for part in kept)
        total += sum(change(part).sum_of_similarities(scale) for part in range(KEPT, len(original.parts)))
        return total / original.windows

    return similarity
