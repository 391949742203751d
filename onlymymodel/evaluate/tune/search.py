"""Search for the least budget that meets a target, from few measurements on a grid of whole levels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_high

from onlymymodel.errors import UserError
from onlymymodel.evaluate.tune.knob import HIGHEST

LEVELS = range(1, HIGHEST + 1)
ROUNDING = 1e-9  # a mean of shares that equals the target may miss it by this in floating point


@dataclass(frozen=True)
class Target:
    """Target of a search.

    Attributes:
        heldout: largest share, in [0, 1), that held-out models may read.
        kept: least share, in (0, 1], that the authorized model must keep, in the files as written and through each of
            `through`.
        through: names of deployments; the one through which it keeps least decides.

    Raises:
        UserError: a share is out of its range.
    """

    heldout: float = 0.1
    kept: float = 0.99
    through: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.heldout < 1:
            raise UserError(f"--target-heldout must be a share from 0 to below 1, not {self.heldout:g}")
        if not 0 < self.kept <= 1:
            raise UserError(f"--target-kept must be a share above 0 and at most 1, not {self.kept:g}")

    def heldout_met(self, heldout: float) -> bool:
        """Return whether held-out models read at most the target's share."""
        return heldout <= self.heldout + ROUNDING

    def kept_met(self, kept: float) -> bool:
        """Return whether the authorized model keeps at least the target's share."""
        return kept >= self.kept - ROUNDING


@dataclass(frozen=True)
class Measurement:
    """Shares measured at one level.

    Attributes:
        level: of the budget, see `Knob`.
        heldout: share that held-out models read, in [0, 1].
        kept: share that the authorized model keeps, in [0, 1].
    """

    level: int
    heldout: float
    kept: float


class Search:
    """Bisection that is robust to noise: measure `next_level`, `add` the measurement, until it is None.

    Held-out accuracy falls with the budget, but a measurement of it need not. A level therefore qualifies only if both
    its own measurement and the isotonic regression of all measurements meet the target; and the least such level is
    accepted only after its neighbors were measured: the one above, and downward until two in a row fail. The share
    that the authorized model keeps is not smoothed: a small budget may leave no room for its margin, a large one may
    cost its answer, so it is not monotonic.

    No level is asked for twice and every measurement is final, so a search over cached measurements can be resumed.

    Args:
        target: the target to meet.
        first: levels that are measured in any case, in this order, the highest among them; the rest follows from them.
        levels: the grid of levels.
        sampled: False where the measurement is of the very file that is used: then nothing is smoothed, no level
            above the result is measured, and one failing level below is enough.

    Raises:
        ValueError: there are no levels, or `first` is not a subset with the highest.
    """

    def __init__(self, target: Target, first: Sequence[int], levels: range = LEVELS, *, sampled: bool = True) -> None:
        if not levels or levels.step != 1 or max(first, default=None) != levels[-1] or min(first) not in levels:
            raise ValueError(f"a search among {levels} cannot begin with {first}")
        self.target, self.first, self.levels, self.sampled = target, tuple(first), levels, sampled
        self.failures_below = 2 if sampled else 1
        self.measurements: dict[int, Measurement] = {}

    def add(self, measurement: Measurement) -> None:
        """Add the measurement of the next level.

        Raises:
            ValueError: it is of another level, or a share is outside [0, 1].
        """
        if measurement.level != self.next_level:
            raise ValueError(f"level {measurement.level} was measured, but the next level is {self.next_level}")
        if not (0 <= measurement.heldout <= 1 and 0 <= measurement.kept <= 1):
            raise ValueError(f"shares outside [0, 1]: {measurement}")
        self.measurements[measurement.level] = measurement

    @property
    def next_level(self) -> int | None:
        """The level to measure next; None once the search has finished."""
        for level in self.first:
            if level not in self.measurements:
                return level
        both = self._qualified(kept=True)
        # where no level meets both targets, a smaller change may: continue with the least that misleads
        qualified = both or self._qualified(kept=False)
        if qualified:
            low = max((level for level in self.measurements if level < qualified[0]), default=self.levels.start - 1)
            if qualified[0] - low > 1:
                return (qualified[0] + low) // 2
        return self._neighbor(qualified[0] if qualified else self.levels.stop, kept=bool(both))

    @property
    def best(self) -> Measurement | None:
        """The least measured level that meets the target; None where there is none."""
        qualified = self._qualified(kept=True)
        return self.measurements[qualified[0]] if qualified else None

    @property
    def nearest(self) -> Measurement:
        """The measurement that misses the target by the least.

        Where several do, it is at the highest level if models read too much, and else, where the authorized model
        keeps too little, at the lowest.
        """

        def order(point: Measurement) -> tuple[float, int]:
            misled = self.target.heldout_met(point.heldout)
            return round(self._shortfall(point), 9), point.level if misled else -point.level

        return min(self.measurements.values(), key=order)

    def _qualified(self, *, kept: bool) -> list[int]:
        """Return the levels whose measurement meets the target by itself and after smoothing, ascending."""
        ordered = sorted(self.measurements)
        values = [self.measurements[level].heldout for level in ordered]
        if self.sampled:
            values = fit_nonincreasing(values)
        return [
            level
            for level, value in zip(ordered, values, strict=True)
            if self.target.heldout_met(value) and self._meets(self.measurements[level], kept=kept)
        ]

    def _meets(self, measurement: Measurement, *, kept: bool) -> bool:
        return self.target.heldout_met(measurement.heldout) and (not kept or self.target.kept_met(measurement.kept))

    def _neighbor(self, candidate: int, *, kept: bool) -> int | None:
        """Return a level that must be measured before the candidate is accepted; None if there is none."""
        if self.sampled and candidate + 1 in self.levels and candidate + 1 not in self.measurements:
            return candidate + 1
        failed = 0
        for level in range(candidate - 1, self.levels.start - 1, -1):
            if level not in self.measurements:
                return level
            failed = 0 if self._meets(self.measurements[level], kept=kept) else failed + 1
            if failed == self.failures_below:
                break
        return None

    def _shortfall(self, measurement: Measurement) -> float:
        excess = max(0.0, measurement.heldout - self.target.heldout)
        return excess + max(0.0, self.target.kept - measurement.kept)


def fit_nonincreasing(values: Sequence[float]) -> list[float]:
    """Return the nonincreasing sequence nearest to the values by the sum of absolute differences.

    Isotonic regression: pool adjacent violators with medians (Robertson and Wright, Annals of Statistics 1980), so that
    an outlier in a block has no more weight than any other value. Of an even number the higher median is taken (ours).
    """
    blocks: list[list[float]] = []
    for value in values:
        block = [value]
        while blocks and median_high(blocks[-1]) < median_high(block):
            block = blocks.pop() + block
        blocks.append(block)
    return [median_high(block) for block in blocks for _ in block]


def first_levels(highest: int) -> tuple[int, ...]:
    """Return the highest level and its halves, down to an eighth: the points of a coarse frontier."""
    return tuple(dict.fromkeys(max(1, math.ceil(highest / 2**halving)) for halving in range(4)))


def first_levels_of_photo(highest: int) -> tuple[int, ...]:
    """Return the levels with which the search for one photo begins: the highest and its half."""
    return tuple(dict.fromkeys((highest, (highest + 1) // 2)))
