"""Precomputed data of one photo, for checking a budget on many changes of it."""

from typing import NamedTuple

from torch import Tensor

from onlymymodel.protect.budget.bounds import Bound


class Prepared(NamedTuple):
    """A budget's limits for one photo; `Budget.prepare` makes it.

    Attributes:
        fraction: (1,1,H,W), or (1,1,1,1) if even: the fraction of the limits that each pixel may use.
        bounds: the bounds on the photo as a whole, prepared for it.
    """

    fraction: Tensor
    bounds: tuple[Bound, ...]
