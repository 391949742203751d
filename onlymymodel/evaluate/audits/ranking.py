"""Rank correlation of two measurements."""

from collections.abc import Sequence

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.report import AuditRow


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
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
    return float(spearmanr(first, second).statistic)


def correlate_rows(rows: Sequence[AuditRow], first: str, second: str) -> float | None:
    """Return Spearman's rho of two measurements over the rows that have both."""
    pairs = [(row.values.get(first), row.values.get(second)) for row in rows]
    complete = [(float(a), float(b)) for a, b in pairs if a is not None and b is not None]
    return rank_correlation([a for a, _ in complete], [b for _, b in complete])
