"""Precision of the networks while a photo is optimized."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from onlymymodel.protect.attack.recipe import Precision, Recipe
from onlymymodel.protect.portable import is_portable
from onlymymodel.runtime import native_bfloat16

log = logging.getLogger(__name__)


def resolve_precision(recipe: Recipe, device: torch.device) -> tuple[Recipe, str]:
    """Decide on the precision `auto` before the recipe is hashed: a written file depends on it.

    Args:
        recipe: with any precision.
        device: where the networks run.

    Returns:
        The recipe with another precision than `auto`, and why it was chosen; "" where it was given.
    """
    if recipe.precision != "auto":
        return recipe, ""
    native = native_bfloat16(device)
    precision: Precision = "bfloat16" if native and not is_portable() else "float32"
    if is_portable():
        reason = "--portable computes in it everywhere"
    elif native:
        reason = f"{device.type} has {native}"
    else:
        reason = f"{device.type} is not known to compute in bfloat16"
    log.info("precision: %s, as %s", precision, reason)
    return replace(recipe, precision=precision), reason


@contextmanager
def networks_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Run networks in a precision; on CUDA, what stays in float32 may be multiplied in TF32 (10 bits of mantissa).

    Raises:
        ValueError: the precision is `auto`, see `resolve_precision`.
    """
    if precision == "auto":
        raise ValueError("precision auto is not resolved")
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"), _tf32(device, allowed=True):
        yield


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Compute in float32, also within `networks_in`: a codec in 16 bits is another codec."""
    with torch.autocast(device.type, enabled=False), _tf32(device, allowed=False):
        yield


@contextmanager
def _tf32(device: torch.device, *, allowed: bool) -> Iterator[None]:
    """Allow TF32 or not; other devices than CUDA have none."""
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
