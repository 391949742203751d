"""Intervals of means."""

import pytest

from onlymymodel.evaluate.audits.intervals import Interval, mean_interval


def test_interval_is_students() -> None:
    """scipy.stats.t.ppf(0.975, 4) = 2.776445."""
    found = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776445 * 2.5**0.5 / 5**0.5
    assert found == pytest.approx(Interval(3.0, 3 - half, 3 + half, 5), rel=1e-6)


def test_one_value_has_no_interval() -> None:
    assert mean_interval([2.0]) == Interval(2.0, None, None, 1)
    with pytest.raises(ValueError, match="needs a value"):
        mean_interval([])
