"""Copy values of the host to a device without waiting for what the device has still to do."""

from functools import cache

import torch
from torch import Tensor

# CUDA's copies from memory that may be swapped out wait until the device has done all that is queued
WITH_PINNED_MEMORY = "cuda"


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return values of the host on a device."""
    if device.type == WITH_PINNED_MEMORY and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


@cache
def constant_on(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor that never changes on a device, to which it is copied once."""
    with torch.inference_mode(mode=False):  # autograd may have to save it later
        return values.to(device)
