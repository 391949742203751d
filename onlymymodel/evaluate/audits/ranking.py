"""Whether two figures put things in the same order."""

from collections.abc import Sequence

from onlymymodel.errors import UserError


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rho, ties given their mean rank; None with fewer than three pairs, or where one side is constant.

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
