"""Order statistics of more values than fit into memory, exactly, in two passes over blocks of them."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

HALF = np.uint32(16)  # bits of a key that a pass counts
HALVES = 1 << 16
SIGN = np.uint32(1 << 31)


def order_statistics(blocks: Callable[[], Iterable[Values]], ranks: Sequence[int]) -> list[float]:
    """Return the values of some ranks, as `np.sort` of all values has them at these indices.

    Radix selection: the first pass counts the upper half of each value's bits, the second the lower half of those that
    share the upper half of a result.

    Args:
        blocks: yields the same float32 values at each call, without NaN.
        ranks: indices among all values in ascending order.
    """
    upper = np.zeros(HALVES, np.int64)
    for block in blocks():
        upper += _count(_keys(block) >> HALF)
    ends = upper.cumsum()
    chosen = [int(ends.searchsorted(rank, side="right")) for rank in ranks]
    lower = {half: np.zeros(HALVES, np.int64) for half in chosen}
    for block in blocks() if ranks else ():
        keys = _keys(block)
        for half, counts in lower.items():
            counts += _count(keys[keys >> HALF == half] & np.uint32(HALVES - 1))
    within = [rank - (ends[half] - upper[half]) for rank, half in zip(ranks, chosen, strict=True)]
    found = [
        half * HALVES + int(lower[half].cumsum().searchsorted(rank, side="right"))
        for rank, half in zip(within, chosen, strict=True)
    ]
    return [float(value) for value in _values(np.array(found, np.uint32))]


def _keys(values: Values) -> NDArray[np.uint32]:
    """Return unsigned integers in the order of the values."""
    bits = np.ascontiguousarray(values).view(np.uint32).ravel()
    return np.where(bits & SIGN, ~bits, bits | SIGN)


def _values(keys: NDArray[np.uint32]) -> Values:
    """Return the values of keys."""
    return np.where(keys & SIGN, keys & ~SIGN, ~keys).view(np.float32)


def _count(halves: NDArray[np.uint32]) -> NDArray[np.int64]:
    return np.bincount(halves, minlength=HALVES)
