"""What a photo's budget allows on the smaller photo that is worked on in its place."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from onlymymodel.protect.budget import Budget


def scale_to(delta: Tensor, originals: Tensor) -> Tensor:
    """A change at working size, (B,C,h,w), at the size of the originals, (B,C,H,W)."""
    size = originals.shape[-2:]
    if delta.shape[-2:] == size:
        return delta
    return F.interpolate(delta, size=size, mode="bilinear", align_corners=False)


def at_working_size(budget: Budget, original: Tensor, working: Tensor, mask: Tensor, working_mask: Tensor) -> Budget:
    """The budget under which a change of the smaller photo spends, once it is scaled up, about what the photo may.

    Scaled up a change is smoother, so that it costs less than the same change of a photo of that size; how much less is
    found by noise as large as linf allows. No limit gets tighter than the photo's own. The written photo is held to the
    photo's own limits later, by `lattice.inside`.

    Args:
        original: (C,H,W) in [0,1].
        working: (C,h,w) in [0,1], the same photo, smaller.
        mask, working_mask: (1,H,W) and (1,h,w), where the photo may change.
    """
    signs = torch.randint(2, working.shape, generator=Generator().manual_seed(0)).to(working) * 2 - 1
    noise = budget.ball.project(budget.linf * signs[None], working[None], working_mask[None])
    scaled = (scale_to(noise, original[None]) * mask)[0]
    limits: dict[str, Any] = {}
    for bound in budget.bounds:
        found = bound.along(noise[0], working)(bound.scale(scaled, original))
        limits[bound.name] = found if bound.excess(found) else bound.limit
    return replace(budget, **limits)
