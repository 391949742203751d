"""Rank correlation of two measurements, with its p-value and the number of pairs."""

from collections.abc import Sequence
from typing import NamedTuple

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.report import AuditRow, Value


class Correlation(NamedTuple):
    """Spearman's rank correlation.

    Attributes:
        rho: between -1 and 1; its sign says whether the two measurements rise together.
        p: two-sided p-value of no correlation, by SciPy's t approximation, which is rough below about ten pairs.
        n: number of pairs.
    """

    rho: float
    p: float
    n: int


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Correlation | None:
    """Return Spearman's rho, with mean ranks for ties; None for fewer than three pairs or if one side is constant.

    Raises:
        UserError: SciPy is not installed.
    """
    if len(first) < 3 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    try:
        from scipy.stats import spearmanr
    except ImportError as error:
        raise UserError("a rank correlation needs SciPy: pip install 'onlymymodel[audit]'") from error
    result = spearmanr(first, second)
    return Correlation(float(result.statistic), float(result.pvalue), len(first))


def correlate_rows(rows: Sequence[AuditRow], first: str, second: str) -> dict[str, Value]:
    """Return rho, p and n of two measurements over the rows that have both, by the names of a summary."""
    pairs = [(row.values.get(first), row.values.get(second)) for row in rows]
    complete = [(float(a), float(b)) for a, b in pairs if a is not None and b is not None]
    found = rank_correlation([a for a, _ in complete], [b for _, b in complete])
    names = f"{first}_{second}"
    return {
        f"rho_{names}": found.rho if found else None,
        f"p_{names}": found.p if found else None,
        f"n_{names}": len(complete),
    }
