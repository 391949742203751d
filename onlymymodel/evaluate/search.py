"""The least budget that meets a target, from few measurements on a grid of whole levels. It knows no photos."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_high

from onlymymodel.errors import UserError

LEVELS = range(1, 33)  # whole 8-bit steps: between them the lattice has nothing
ROUNDING = 1e-9  # a mean of shares that is meant to be the target may miss it by this


@dataclass(frozen=True)
class Target:
    """What a budget has to reach.

    Attributes:
        heldout: the largest share, in [0, 1), that held-out models may read.
        kept: the least share, in (0, 1], that the authorized model has to keep.

    Raises:
        UserError: a share out of its range.
    """

    heldout: float = 0.1
    kept: float = 0.99

    def __post_init__(self) -> None:
        if not 0 <= self.heldout < 1:
            raise UserError(f"--target-heldout is a share from 0 to below 1, not {self.heldout:g}")
        if not 0 < self.kept <= 1:
            raise UserError(f"--target-kept is a share above 0 and at most 1, not {self.kept:g}")

    def misleads(self, heldout: float) -> bool:
        """Whether held-out models read little enough."""
        return heldout <= self.heldout + ROUNDING

    def keeps(self, kept: float) -> bool:
        """Whether the authorized model keeps enough."""
        return kept >= self.kept - ROUNDING


@dataclass(frozen=True)
class Point:
    """What was measured at one level.

    Attributes:
        heldout: share that held-out models read, in [0, 1].
        kept: share that the authorized model keeps, in [0, 1].
    """

    level: int
    heldout: float
    kept: float


class Search:
    """Bisection that noise neither ends early nor leads astray: ask for `wanted`, measure it, `add` it, until None.

    Held-out accuracy falls with the budget, but a measured one need not. A level therefore counts only if its own
    measurement meets the target and the isotonic regression of all measurements does; and the least such level is
    believed only after its neighbors were measured: the one above, and downward until two in a row fail. What the
    authorized model keeps is taken as it was measured: a small budget may leave no room for its margin, a large one
    may cost its answer, so there is no order to rely on.

    No level is asked for twice, and every answer is final, so that a measure that remembers makes the search resumable.

    Args:
        first: levels that are measured in any case, in this order; the rest follows from them. With the highest.
        sampled: False where the measure is of the very file that is used: then nothing is smoothed, no level
            above the found one is asked for, and one failing level below is enough.

    Raises:
        ValueError: no level, or `first` is not of them or without the highest.
    """

    def __init__(self, target: Target, first: Sequence[int], levels: range = LEVELS, *, sampled: bool = True) -> None:
        if not levels or levels.step != 1 or max(first, default=None) != levels[-1] or min(first) not in levels:
            raise ValueError(f"a search among {levels} cannot begin with {first}")
        self.target, self.first, self.levels, self.sampled = target, tuple(first), levels, sampled
        self.margin = 2 if sampled else 1
        self.points: dict[int, Point] = {}

    def add(self, point: Point) -> None:
        """Take in what was measured at the wanted level.

        Raises:
            ValueError: another level was wanted, or a share lies outside [0, 1].
        """
        if point.level != self.wanted:
            raise ValueError(f"level {point.level} was measured, level {self.wanted} is wanted")
        if not (0 <= point.heldout <= 1 and 0 <= point.kept <= 1):
            raise ValueError(f"no measurement: {point}")
        self.points[point.level] = point

    @property
    def wanted(self) -> int | None:
        """The level to measure next; None once there is nothing left to learn."""
        for level in self.first:
            if level not in self.points:
                return level
        both = self._good(kept=True)
        # where no level meets both, one that changes less may still: the least that misleads is looked for
        good = both or self._good(kept=False)
        if good:
            low = max((level for level in self.points if level < good[0]), default=self.levels.start - 1)
            if good[0] - low > 1:
                return (good[0] + low) // 2
        return self._neighbor(good[0] if good else self.levels.stop, kept=bool(both))

    @property
    def best(self) -> Point | None:
        """The least level that meets the target, of those measured; None where there is none."""
        return self.points[good[0]] if (good := self._good(kept=True)) else None

    @property
    def nearest(self) -> Point:
        """The measured point that misses the target by the least; of equal ones the one that changes less."""
        return min(self.points.values(), key=lambda point: (self._missed(point), point.level))

    def _good(self, *, kept: bool) -> list[int]:
        """Levels whose measurement meets the target by itself and among all others, ascending."""
        ordered = sorted(self.points)
        values = [self.points[level].heldout for level in ordered]
        if self.sampled:
            values = nonincreasing(values)
        return [
            level
            for level, value in zip(ordered, values, strict=True)
            if self.target.misleads(value) and self._meets(self.points[level], kept=kept)
        ]

    def _meets(self, point: Point, *, kept: bool) -> bool:
        return self.target.misleads(point.heldout) and (not kept or self.target.keeps(point.kept))

    def _neighbor(self, found: int, *, kept: bool) -> int | None:
        """A level without which the found one is not to be believed."""
        if self.sampled and found + 1 in self.levels and found + 1 not in self.points:
            return found + 1
        failed = 0
        for level in range(found - 1, self.levels.start - 1, -1):
            if level not in self.points:
                return level
            failed = 0 if self._meets(self.points[level], kept=kept) else failed + 1
            if failed == self.margin:
                break
        return None

    def _missed(self, point: Point) -> float:
        return max(0.0, point.heldout - self.target.heldout) + max(0.0, self.target.kept - point.kept)


def nonincreasing(values: Sequence[float]) -> list[float]:
    """Isotonic regression: the nonincreasing sequence nearest to the values by the sum of absolute differences.

    Pool adjacent violators with medians (Robertson and Wright, Annals of Statistics 1980). In a block each measurement
    has one vote, however far off it is; where votes are even, the higher value holds.
    """
    blocks: list[list[float]] = []
    for value in values:
        block = [value]
        while blocks and median_high(blocks[-1]) < median_high(block):
            block = blocks.pop() + block
        blocks.append(block)
    return [median_high(block) for block in blocks for _ in block]


def first_levels(highest: int) -> tuple[int, ...]:
    """The highest level and its halves, down to a sixteenth: a frontier of a few points, from coarse to fine."""
    return tuple(dict.fromkeys(max(1, math.ceil(highest / 2**halving)) for halving in range(4)))
