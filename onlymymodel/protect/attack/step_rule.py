"""How far each pixel moves in a step: all by the same amount (sign), or in proportion to the direction (gradient).

Under a bound on the largest change of a pixel, the sign is the steepest ascent. A bound on the photo as a whole, such
as SSIM, is spent by every pixel that moves, the less the more texture there is around it; so pixels move in proportion
to what they gain and, in part, to how little they cost. Steps along the gradient itself are known (Yuan et al., arXiv
2111.13841; Yang et al., arXiv 2312.01260). The choice by the budget, the weight of local contrast and the limit on
outliers are ours.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from onlymymodel.protect.attack.recipe import StepRule
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.ssim import C2
from onlymymodel.protect.budget.texture import luma_variance
from onlymymodel.surrogates.device_copy import to_device

LARGEST = 3.0  # in multiples of the mean: a few outliers would spend the bound alone


class Moves:
    """The moves of the photos of a batch.

    Args:
        rule: `recipe.step_rule`.
        budgets: of each photo.
        originals: (B,C,H,W) in [0,1].
    """

    def __init__(self, rule: StepRule, budgets: Sequence[Budget], originals: Tensor) -> None:
        chosen = [bool(budget.bounds) if rule == "auto" else rule == "gradient" for budget in budgets]
        self.by_gradient = to_device(torch.tensor(chosen).view(-1, 1, 1, 1), originals.device)
        # SSIM falls by about the square of a change / (2 variance + C2); of that weight the root, as FLIP rises less
        self.contrast = (2 * luma_variance(originals) + C2).sqrt()

    def along(self, direction: Tensor, index: Tensor) -> Tensor:
        """Return how far each pixel of some photos moves, in multiples of the step size.

        Args:
            direction: (N,C,H,W); where it is zero, nothing moves.
            index: (N,) the photos in the batch.

        Returns:
            (N,C,H,W): the sign of the direction; or the direction times the local contrast, in multiples of its mean
            magnitude where it is not zero and at most 3.
        """
        weighted = direction * self.contrast[index]
        # a model that aligns faces has no gradient beside the face, which must not lower the mean
        moving = weighted.ne(0).flatten(1).sum(1).clamp_min(1)
        mean = (weighted.abs().flatten(1).sum(1) / moving).clamp_min(torch.finfo(weighted.dtype).tiny)
        in_proportion = (weighted / mean.view(-1, 1, 1, 1)).clamp(-LARGEST, LARGEST)
        return torch.where(self.by_gradient[index], in_proportion, direction.sign())
