"""Compare two measured runs on the photos that both have, with a bootstrap interval of the difference."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
from measured import MeasuredRun
from scipy.stats import bootstrap

from onlymymodel.evaluate.results import AS_WRITTEN

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
        mark = "" if self.low <= 0 <= self.high else " *"
        return f"{100 * self.mean:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]{mark}"


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
    differences = np.array([before[photo] - after[photo] for photo in common])
    mean = float(differences.mean())
    ssim = _mean_ssim(first, common), _mean_ssim(second, common)
    if np.ptp(differences) == 0:  # nothing to resample
        return PairedDifference(mean, mean, mean, ssim, len(common))
    interval = bootstrap(
        (differences,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(SEED)
    ).confidence_interval
    return PairedDifference(mean, float(interval.low), float(interval.high), ssim, len(common))


def _mean_ssim(measured: MeasuredRun, photos: Sequence[str]) -> float:
    ssim = dict(zip(measured.results.photos, measured.run.distortion, strict=True))
    return fmean(ssim[photo].ssim for photo in photos)


def read_shares(measured: MeasuredRun, channel: str = AS_WRITTEN) -> dict[str, float]:
    """Return the share of the independent judges that read each photo or gave no answer, of those with its class."""
    answers = [
        (row.truth, row.truths, row.answers[measured.run.name][channel]) for row in measured.results.independent()
    ]
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
