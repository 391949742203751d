"""Compute the update of each pixel from the momentum: its sign, or the gradient weighted by local contrast.

Under a bound on the largest change of a pixel, the sign is the steepest ascent. Under a bound on the photo as a whole,
such as SSIM, every update costs something, less where there is texture: there the update is in proportion to the
gradient and to local contrast. Raw-gradient updates are known (Yuan et al., arXiv 2111.13841; Yang et al., arXiv
2312.01260); the choice by the budget, the weight of local contrast and the clipping of outliers are ours.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from onlymymodel.protect.attack.recipe import StepRuleName
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.ssim import C2
from onlymymodel.protect.budget.texture import luma_variance
from onlymymodel.surrogates.device_copy import to_device

LARGEST = 3.0  # clipping threshold, in multiples of the mean: a few outliers would spend the bound alone


class StepRule:
    """Turn momentum into updates, by the rule of each photo of a batch.

    Args:
        name: `recipe.step_rule`.
        budgets: of each photo.
        originals: (B,C,H,W) in [0,1].
    """

    def __init__(self, name: StepRuleName, budgets: Sequence[Budget], originals: Tensor) -> None:
        chosen = [bool(budget.bounds) if name == "auto" else name == "gradient" for budget in budgets]
        self.by_gradient = to_device(torch.tensor(chosen).view(-1, 1, 1, 1), originals.device)
        # SSIM falls by about the square of a change / (2 variance + C2); the root of that weight raises FLIP less
        self.contrast = (2 * luma_variance(originals) + C2).sqrt() if any(chosen) else None

    def update(self, momentum: Tensor, index: Tensor) -> Tensor:
        """Return the updates of some photos, in multiples of the step size.

        Args:
            momentum: (N,C,H,W); where it is zero, so is the update.
            index: (N,) the photos in the batch.

        Returns:
            (N,C,H,W): the sign of the momentum; or the momentum times the local contrast, divided by its mean magnitude
            where it is not zero, and clipped to [-3, 3].
        """
        if self.contrast is None:
            return momentum.sign()
        weighted = momentum * self.contrast[index]
        # a model that aligns faces has no gradient outside the face, which must not lower the mean
        nonzero = weighted.ne(0).flatten(1).sum(1).clamp_min(1)
        mean = (weighted.abs().flatten(1).sum(1) / nonzero).clamp_min(torch.finfo(weighted.dtype).tiny)
        clipped = (weighted / mean.view(-1, 1, 1, 1)).clamp(-LARGEST, LARGEST)
        return torch.where(self.by_gradient[index], clipped, momentum.sign())
