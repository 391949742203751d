"""Compare two measured runs on the photos that both have, with a bootstrap interval of the difference."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

import numpy as np
from measured import MeasuredRun
from numpy.typing import NDArray
from scipy.stats import bootstrap

from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN

RESAMPLES, SEED = 10_000, 0


class PairedDifference(NamedTuple):
    """Difference between two runs in the share of the photos that judges read, the second subtracted from the first.

    Attributes:
        mean: of the difference, over the photos.
        low, high: 95 % interval, by the percentile bootstrap over the photos.
        ssim: mean SSIM of the first run and of the second, over the same photos.
        photos: number of photos that both runs have.
    """

    mean: float
    low: float
    high: float
    ssim: tuple[float, float]
    photos: int

    def describe(self) -> str:
        """Return the difference and its interval in points of a percent, marked where the interval excludes 0."""
        return describe_interval(100 * self.mean, 100 * self.low, 100 * self.high, digits=1)


def describe_interval(mean: float, low: float, high: float, *, digits: int) -> str:
    """Return a mean and its interval in words, marked where the interval excludes 0."""
    mark = "" if low <= 0 <= high else " *"
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]{mark}"


def paired_difference(first: MeasuredRun, second: MeasuredRun, channel: str = AS_WRITTEN) -> PairedDifference:
    """Return what judges read after the first run, less what they read after the second.

    Each independent judge counts alike; a missing answer counts as read, as in every mean.

    Raises:
        ValueError: the runs have no photo in common.
    """
    before, after = read_shares(first, channel), read_shares(second, channel)
    common = sorted(before.keys() & after.keys())
    if not common:
        raise ValueError(f"{first.run.name} and {second.run.name} have no photo in common")
    ssim = _mean(first, common, "ssim"), _mean(second, common, "ssim")
    differences = np.array([before[photo] - after[photo] for photo in common])
    return PairedDifference(*mean_with_interval(differences), ssim, len(common))


def difference_at_flip(measured: MeasuredRun, levels: Sequence[MeasuredRun]) -> PairedDifference | None:
    """Return what judges read after a run, less what they read after a mixture of other runs with the same mean FLIP.

    The mixture takes each photo from the level with the next larger FLIP with some probability, and otherwise from the
    one with the next smaller FLIP, or the original; what judges read of it is the mean over both.

    Args:
        measured: the run.
        levels: the other runs, such as one recipe at several budgets.

    Returns:
        The difference over the photos that all runs have; None where FLIP is larger than that of every level.
    """
    of_run, of_levels = read_shares(measured), [read_shares(level) for level in levels]
    common = sorted(of_run.keys() & set.intersection(*(set(shares) for shares in of_levels)))
    flip = _mean(measured, common, "flip")
    curve = [(0.0, 1.0, read_shares(measured, version=CLEAN))]
    curve += [
        (_mean(level, common, "flip"), _mean(level, common, "ssim"), shares)
        for level, shares in zip(levels, of_levels, strict=True)
    ]
    for (less, less_ssim, before), (more, more_ssim, after) in pairwise(sorted(curve, key=lambda point: point[0])):
        if flip <= more:
            share = (flip - less) / (more - less)
            mixed = [share * after[photo] + (1 - share) * before[photo] for photo in common]
            ssim = _mean(measured, common, "ssim"), share * more_ssim + (1 - share) * less_ssim
            differences = np.array([of_run[photo] for photo in common]) - mixed
            return PairedDifference(*mean_with_interval(differences), ssim, len(common))
    return None


def mean_with_interval(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of (N,) differences, and the ends of its 95 % interval by the percentile bootstrap."""
    mean = float(differences.mean())
    if np.ptp(differences) == 0:  # nothing to resample
        return mean, mean, mean
    interval = bootstrap(
        (differences,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(SEED)
    ).confidence_interval
    return mean, float(interval.low), float(interval.high)


def _mean(measured: MeasuredRun, photos: Sequence[str], measure: str) -> float:
    """Return the mean of a measure of visibility, `ssim` or `flip`, over some photos."""
    of_photo = dict(zip(measured.results.photos, measured.run.distortion, strict=True))
    return fmean(getattr(of_photo[photo], measure) for photo in photos)


def read_shares(measured: MeasuredRun, channel: str = AS_WRITTEN, version: str | None = None) -> dict[str, float]:
    """Return the share of the independent judges that read each photo or gave no answer, of those with its class.

    The photos are those of the run, unless another version of them is given.
    """
    version = version or measured.run.name
    answers = [(row.truth, row.truths, row.answers[version][channel]) for row in measured.results.independent()]
    shares = {}
    for index, photo in enumerate(measured.results.photos):
        read = [
            truths[index] is None or given[index] is None or given[index] == truths[index]
            for truth, truths, given in answers
            if truth == "own" or truths[index] is not None
        ]
        if read:
            shares[photo] = fmean(read)
    return shares
