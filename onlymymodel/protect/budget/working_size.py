"""Convert a photo's budget to the smaller photo that is optimized in its place."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from onlymymodel.protect.budget.budget import Budget
from onlymymodel.surrogates.device_copy import to_device


def resize_change(delta: Tensor, originals: Tensor) -> Tensor:
    """Resize a change from working size to the size of the originals; the result is a new tensor.

    Args:
        delta: (B,C,h,w).
        originals: (B,C,H,W).
    """
    size = originals.shape[-2:]
    if delta.shape[-2:] == size:
        return delta.clone()
    return F.interpolate(delta, size=size, mode="bilinear", align_corners=False)


def budget_at_working_size(
    budget: Budget, original: Tensor, working: Tensor, mask: Tensor, working_mask: Tensor
) -> Budget:
    """Return a budget for the smaller photo that uses about the photo's own budget once the change is scaled up.

    A change is smoother after it is scaled up, so its distances are smaller than those of the same change of a photo of
    that size; by how much is measured with noise as large as linf allows. No limit becomes tighter than the photo's
    own. `quantize.project_to_uint8` later holds the written photo to the photo's own limits.

    Args:
        budget: of the photo.
        original: (C,H,W) uint8.
        working: (C,h,w) in [0,1], the same photo at working size.
        mask: (1,H,W) of 0 and 1, where the photo may change.
        working_mask: (1,h,w), the same at working size.
    """
    drawn = (torch.randint(2, working.shape, generator=Generator().manual_seed(0)) * 2 - 1).to(working.dtype)
    signs = to_device(drawn, working.device)
    noise = budget.per_pixel.project(budget.linf * signs[None], working[None], working_mask[None])
    scaled = resize_change(noise, original[None]).mul_(mask)[0]
    limits: dict[str, Any] = {}
    for bound in budget.bounds:
        distance = bound.distance_along(noise[0], working)(bound.max_scale(scaled, original))
        limits[bound.name] = bound.limit if bound.admits(distance) else distance
    return replace(budget, **limits)
