"""The bound that a tuning searches: epsilon, or the least structural similarity.

Importing this module does not import torch.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from onlymymodel.errors import UserError

if TYPE_CHECKING:
    from onlymymodel.protect.budget.budget import Budget

Over = Literal["epsilon", "ssim"]
OVER: tuple[Over, ...] = ("epsilon", "ssim")
HIGHEST, LOWEST_SSIM = 32, 0.84
SSIM_STEP = 0.005  # between the bounds of two levels


@dataclass(frozen=True)
class Knob:
    """A bound whose levels are whole numbers from 1; a higher level allows a larger change.

    Level n is epsilon n/255, or an SSIM of at least 1 - n/200.

    Attributes:
        over: what is searched.
    """

    over: Over = "epsilon"

    @property
    def column(self) -> str:
        """Its name in files; `ssim` there is what was measured."""
        return "epsilon" if self.over == "epsilon" else "ssim_bound"

    def value(self, level: int) -> float:
        """Return the bound of a level: epsilon in 1/255, or the least SSIM; level 0 stands for the originals."""
        return level if self.over == "epsilon" else round(1 - level * SSIM_STEP, 6)

    def budget(self, budget: "Budget", level: int) -> "Budget":
        """Return a budget with the bound of a level in place of its own."""
        if self.over == "epsilon":
            return replace(budget, linf=level / 255)
        return replace(budget, ssim=self.value(level))

    def level_of(self, budget: "Budget") -> int:
        """Return the level of a budget; 1 for a budget without this bound."""
        if self.over == "epsilon":
            return budget.levels
        return 1 if budget.ssim is None else round((1 - budget.ssim) / SSIM_STEP)

    def show(self, level: int) -> str:
        """Return the bound of a level for a table."""
        return str(level) if self.over == "epsilon" else f"{self.value(level):.3f}"

    def name(self, level: int) -> str:
        """Return the bound of a level in words."""
        return f"epsilon {level}/255" if self.over == "epsilon" else f"SSIM {self.show(level)}"

    def limit(self, level: int) -> str:
        """Return a level as the largest change of a search, in words."""
        return f"up to {level}/255" if self.over == "epsilon" else f"down to SSIM {self.show(level)}"

    def folder(self, level: int) -> str:
        """Return the name of the folder of a level."""
        return f"{self.over}-{self.show(level)}"


EPSILON = Knob()


def highest_level(over: Over, highest: int | None, lowest_ssim: float | None) -> int:
    """Return the highest level that a search may try.

    Args:
        over: what is searched.
        highest: the largest epsilon in 1/255; None for `HIGHEST`.
        lowest_ssim: the lowest bound on SSIM; None for `LOWEST_SSIM`.

    Raises:
        UserError: a limit is out of its range, or is not one of what is searched.
    """
    if over == "epsilon":
        if lowest_ssim is not None:
            raise UserError("--lowest-ssim limits a search over SSIM: add --over ssim, or use --highest")
        level = HIGHEST if highest is None else highest
        if not 1 <= level <= 255:
            raise UserError(f"--highest must be between 1 and 255, not {level}")
        return level
    if highest is not None:
        raise UserError("--highest limits a search over epsilon: use --lowest-ssim with --over ssim")
    lowest = LOWEST_SSIM if lowest_ssim is None else lowest_ssim
    if not 0.5 <= lowest <= 1 - SSIM_STEP:
        raise UserError(f"--lowest-ssim must be between 0.5 and {1 - SSIM_STEP:g}, not {lowest:g}")
    return math.floor((1 - lowest) / SSIM_STEP + 1e-6)
