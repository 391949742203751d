"""Rank correlation."""

import pytest

from onlymymodel.evaluate.audits.ranking import correlate_rows, rank_correlation
from onlymymodel.evaluate.audits.report import AuditRow


def test_rank_correlation_is_none_without_a_ranking() -> None:
    rising, falling = rank_correlation([1, 2, 3], [1, 8, 27]), rank_correlation([1, 2, 3, 4], [4, 3, 2, 1])
    assert rising is not None
    assert falling is not None
    assert rising.rho == pytest.approx(1)
    assert falling.rho == pytest.approx(-1)
    assert (rising.n, falling.n) == (3, 4)
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None


def test_the_p_value_is_small_for_a_ranking_and_large_without_one() -> None:
    numbers = list(range(30))
    alike, mixed = (
        rank_correlation(numbers, [*numbers[1:], 0]),
        rank_correlation(numbers, [7 * n % 30 for n in numbers]),
    )
    assert alike is not None
    assert mixed is not None
    assert alike.p < 1e-6 < 0.05 < mixed.p


def test_rows_without_a_value_are_left_out_and_counted() -> None:
    rows = [AuditRow(f"{n}", {"a": n, "b": None if n == 2 else n}) for n in range(5)]
    values = correlate_rows(rows, "a", "b")
    assert values["rho_a_b"] == pytest.approx(1)
    assert values["n_a_b"] == 4
    assert correlate_rows(rows[:2], "a", "b") == {"rho_a_b": None, "p_a_b": None, "n_a_b": 2}
