"""How visible a change may be: a distance that carries its own projection, so optimizer and judge cannot disagree."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from onlymymodel.errors import UserError


@dataclass(frozen=True)
class Budget:
    """The l-infinity ball around the original, in pixels of [0, 1].

    Attributes:
        linf: the most that any channel of any pixel may change; 8/255 is eight of an 8-bit pixel's 255 steps.
    """

    linf: float = 8 / 255

    def __post_init__(self) -> None:
        if not (math.isfinite(self.linf) and 0 <= self.linf <= 1):
            raise UserError(f"the budget must lie between 0 and 255 steps, not {self.linf * 255:g}")

    @property
    def levels(self) -> int:
        """The whole steps of the 8-bit lattice that fit into the ball."""
        return math.floor(self.linf * 255 + 1e-6)

    def project(self, delta: Tensor, original: Tensor, mask: Tensor | None = None) -> Tensor:
        """The nearest admissible change.

        Args:
            delta: (B,C,H,W), any values.
            original: (B,C,H,W) in [0,1].
            mask: (B,1,H,W) of 0 and 1; where it is 0 nothing may change.

        Returns:
            delta within [-linf, linf] such that original + delta lies in [0,1].
        """
        if mask is not None:
            delta = delta * mask
        return torch.clamp(delta, -original, 1 - original).clamp(-self.linf, self.linf)

    def spent(self, protected: Tensor, original: Tensor) -> Tensor:
        """(B,) largest change of each photo, in whole 8-bit steps, from (B,C,H,W) uint8."""
        return (protected.int() - original.int()).abs().flatten(1).amax(1)

    def admits(self, protected: Tensor, original: Tensor) -> Tensor:
        """(B,) bool: whether each (C,H,W) uint8 photo stays inside the budget."""
        return self.spent(protected, original) <= self.levels
