"""A batch whose photos each have a budget of their own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from onlymymodel.protect.budget import Budget


class Spending:
    """Photos of one working size, each inside its own budget; no row depends on another.

    Args:
        budgets: one for each photo, of one shape.
        originals: (B,C,H,W) in [0,1].
        mask: (B,1,H,W), see `Budget.project`.

    Attributes:
        strides: (B,1,H,W), or (B,1,1,1) where the budgets are flat, on the CPU, see `Budget.stride`.
    """

    def __init__(self, budgets: Sequence[Budget], originals: Tensor, mask: Tensor | None = None) -> None:
        self.budgets, self.originals, self.mask = budgets, originals, mask
        self.strides = torch.cat([budgets[row].stride(*self._of(row)) for row in range(len(originals))])

    def project(self, delta: Tensor, rows: Tensor) -> Tensor:
        """Changes (rows,C,H,W) of some photos, each inside its budget."""
        inside = [
            self.budgets[row].project(change[None], *self._of(row))
            for row, change in zip(rows.tolist(), delta, strict=True)
        ]
        return torch.cat(inside)

    def _of(self, row: int) -> tuple[Tensor, Tensor | None]:
        return self.originals[row : row + 1], None if self.mask is None else self.mask[row : row + 1]
