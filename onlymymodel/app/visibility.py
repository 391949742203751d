"""The stops of the page's visibility slider, and the budgets that they stand for."""

from itertools import pairwise
from typing import Any

from onlymymodel.protect.budget.kinds import LINF
from onlymymodel.protect.budget.strengths import CAP, STRENGTHS

# each stop is the structural similarity that may be lost, in hundredths; the named strengths are among them
LAST = 15
STOPS = range(1, LAST + 1)


def stop_of(ssim: float) -> int:
    """Return the stop of a least structural similarity."""
    return round(100 * (1 - ssim))


NAMED = {stop_of(strength.ssim): name for name, strength in STRENGTHS.items()}


def limits_at(stop: int) -> dict[str, Any]:
    """Return the budget of a stop, as `Budget.from_json` takes it.

    FLIP is bounded on the line through the two nearest named strengths.
    """
    if stop in NAMED:
        return STRENGTHS[NAMED[stop]].bounds
    known = sorted((at, STRENGTHS[name].flip) for at, name in NAMED.items())
    low, high = next((pair for pair in pairwise(known) if stop < pair[1][0]), known[-2:])
    share = (stop - low[0]) / (high[0] - low[0])
    flip = round(float(low[1] + share * (high[1] - low[1])), 4)
    return {LINF: CAP, "ssim": round(1 - stop / 100, 2), "flip": flip, "shape": "texture"}
