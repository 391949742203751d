"""Limits on the brightness and the color of each pixel of a photo, in 8-bit levels."""

from typing import NamedTuple

import torch
from torch import Tensor

from onlymymodel.protect.budget.color import color_change
from onlymymodel.protect.budget.luma import luma_change


class PixelLimits(NamedTuple):
    """Limits on the change of a (C,H,W) photo, (H,W) or (1,1), in 8-bit levels; None where there is none.

    Attributes:
        luma: see `luma.luma_change`.
        color: see `color.color_change`.
    """

    luma: Tensor | None
    color: Tensor | None

    @property
    def given(self) -> bool:
        """Return whether there is any limit."""
        return self.luma is not None or self.color is not None

    def exceeded(self, change: Tensor) -> Tensor:
        """Return (H,W), whether each pixel of a (C,H,W) change in whole levels is beyond a limit."""
        over = torch.zeros(change.shape[1:], dtype=torch.bool, device=change.device)
        if self.luma is not None:
            over |= luma_change(change) > self.luma
        if self.color is not None:
            over |= color_change(change) > self.color
        return over
