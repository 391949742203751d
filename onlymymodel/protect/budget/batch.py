"""Budgets of the photos of a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from onlymymodel.protect.budget.budget import Budget


class BatchBudget:
    """The budgets of photos of one working size; no row depends on another.

    Args:
        budgets: the budget of each photo; all have the same `shape`.
        originals: (B,C,H,W) in [0,1].
        mask: (B,1,H,W) of 0 and 1, see `Budget.project`.

    Attributes:
        step_sizes: (B,1,H,W), or (B,1,1,1) if the budgets are even, on the CPU; see `Budget.step_size`.
    """

    def __init__(self, budgets: Sequence[Budget], originals: Tensor, mask: Tensor | None = None) -> None:
        self.budgets, self.originals, self.mask = budgets, originals, mask
        self._prepared = [budget.prepare(original[None]) for budget, original in zip(budgets, originals, strict=True)]
        self.step_sizes = torch.cat([budgets[row].step_size(*self._photo(row)) for row in range(len(originals))])

    def project(self, delta: Tensor, rows: Sequence[int]) -> Tensor:
        """Project the changes of some photos, each into its own budget.

        Args:
            delta: (N,C,H,W).
            rows: N rows of the photos in the batch.
        """
        inside = [
            self.budgets[row].project(change[None], *self._photo(row), prepared=self._prepared[row])
            for row, change in zip(rows, delta, strict=True)
        ]
        return torch.cat(inside)

    def _photo(self, row: int) -> tuple[Tensor, Tensor | None]:
        return self.originals[row : row + 1], None if self.mask is None else self.mask[row : row + 1]
