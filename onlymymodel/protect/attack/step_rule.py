"""How far each pixel moves in a step: all by the same amount (sign), or in proportion to the direction.

Under a bound on the largest change of a pixel, the sign is the steepest ascent. A bound on the photo as a whole, such
as SSIM, is spent by every pixel that moves, so those that matter most should move most. Steps along the gradient itself
are known (Yuan et al., arXiv 2111.13841; Yang et al., arXiv 2312.01260). The choice by the budget and the limit on
outliers are ours.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from onlymymodel.protect.attack.recipe import StepRule
from onlymymodel.protect.budget.budget import Budget

LARGEST = 3.0  # in multiples of the mean: a few outliers would spend the bound alone


def moves_in_proportion(rule: StepRule, budgets: Sequence[Budget]) -> Tensor:
    """Return a (B,1,1,1) bool, on the CPU: which photos take steps in proportion to the direction.

    Args:
        rule: `recipe.step_rule`.
        budgets: of each photo.
    """
    chosen = [bool(budget.bounds) if rule == "auto" else rule == "gradient" for budget in budgets]
    return torch.tensor(chosen).view(-1, 1, 1, 1)


def moves(direction: Tensor, in_proportion: Tensor) -> Tensor:
    """Return how far each pixel moves, in multiples of the step size.

    Args:
        direction: (B,C,H,W); where it is zero, nothing moves.
        in_proportion: (B,1,1,1) bool, see `moves_in_proportion`.

    Returns:
        (B,C,H,W): the sign of the direction, or the direction in multiples of its mean magnitude where it is not zero,
        at most 3.
    """
    # a model that aligns faces has no gradient beside the face, which must not lower the mean
    moving = direction.ne(0).flatten(1).sum(1).clamp_min(1)
    mean = (direction.abs().flatten(1).sum(1) / moving).clamp_min(torch.finfo(direction.dtype).tiny)
    return torch.where(in_proportion, (direction / mean.view(-1, 1, 1, 1)).clamp(-LARGEST, LARGEST), direction.sign())
