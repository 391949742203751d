"""Rank correlation."""

import pytest

from onlymymodel.evaluate.audits.ranking import rank_correlation


def test_rank_correlation_is_none_without_a_ranking() -> None:
    assert rank_correlation([1, 2, 3], [1, 8, 27]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
