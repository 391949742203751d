"""95 % intervals of a mean over independent repetitions, such as seeds or people."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from onlymymodel.errors import UserError


class Interval(NamedTuple):
    """A mean with its 95 % interval.

    Attributes:
        mean: mean of the values.
        low, high: ends of the interval; None with fewer than two values.
        n: number of values.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent values and Student's t interval.

    Raises:
        ValueError: no value.
        UserError: SciPy is not installed.
    """
    if not values:
        raise ValueError("a mean needs a value")
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Interval(mean, None, None, count)
    try:
        from scipy.stats import t
    except ImportError as error:
        raise UserError("an interval needs SciPy: pip install 'onlymymodel[audit]'") from error
    half = float(t.ppf(0.975, count - 1)) * float(np.std(values, ddof=1)) / count**0.5
    return Interval(mean, mean - half, mean + half, count)
