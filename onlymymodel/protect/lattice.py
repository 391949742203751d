"""Onto the 8-bit lattice: what is saved is what was judged."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from onlymymodel.protect.brightness import luma_levels
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.canvas import Canvases
from onlymymodel.protect.guard import Guard
from onlymymodel.surrogates.classifier import Classifier

REPAIR_LEVELS = 2
HALVINGS = 24  # of the search for the least gain of a pixel that is taken
# shares of a change that are tried in turn until it is inside its bounds on the lattice too
RETREAT = (1.0, 0.995, 0.99, 0.98, 0.97, 0.96, 0.95, 0.93, 0.91, 0.88, 0.84, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
WHOLE = 1e-3  # of a step: a change in floats that is so near to a whole step is one


class Settled(NamedTuple):
    """Photos on the lattice.

    Attributes:
        pixels: (B,C,H,W) uint8.
        margins: (B,) authorized margins on exactly these pixels, in logits.
        admissible: (B,) bool: label kept, margin at least kappa, budget held.
    """

    pixels: Tensor
    margins: Tensor
    admissible: Tensor


def to_lattice(pixels: Tensor) -> Tensor:
    """[0,1] floats to uint8, rounded, never truncated."""
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8)


def from_lattice(pixels: Tensor) -> Tensor:
    """uint8 to [0,1] float32."""
    return pixels.float() / 255


def inside(original: Tensor, delta: Tensor, budget: Budget, mask: Tensor | None = None) -> Tensor:
    """(B,C,H,W) uint8: original + delta, rounded, such that the budget admits it.

    Args:
        original: (B,C,H,W) uint8.
        delta: (B,C,H,W) float.
        mask: (B,1,H,W), see `Budget.project`.
    """
    start = from_lattice(original)
    change = budget.project(delta, start, mask, whole=True)
    if budget.bounds:
        return torch.stack([_inside_bounds(*row, budget) for row in zip(original, change, strict=True)])
    if budget.luma is not None:
        half = torch.full_like(change[0], 0.5)
        return torch.stack([_rounded(*row, half, budget) for row in zip(original, change, strict=True)])
    return to_lattice(start + change)


def _inside_bounds(photo: Tensor, change: Tensor, budget: Budget) -> Tensor:
    """(C,H,W) uint8: as much of a change as its bounds still admit once it is on the lattice.

    Dithered: sign steps end as far from the photo as its bounds let them, everywhere alike, and a step and a half
    all over a photo would be rounded to one step or to two as a whole.
    """
    stream = Generator().manual_seed(0)
    threshold = WHOLE + (1 - 2 * WHOLE) * torch.rand(photo.shape, generator=stream).to(change)
    for share in RETREAT:
        made = _rounded(photo, share * change, threshold, budget)
        if not budget.excess(made, photo):
            return made
    return photo.clone()


def _rounded(photo: Tensor, change: Tensor, threshold: Tensor, budget: Budget) -> Tensor:
    """(C,H,W) uint8: rounded up where the fraction of a step passes 1 - threshold; pixels that rounding made too bright
    or too dark take less of their change."""
    limit = budget.luma_limit(photo)
    made = _step(photo, change, threshold)
    if limit is None:
        return made
    for share in (*RETREAT[1:], 0.0):
        over = luma_levels(made.int() - photo.int()) > limit
        if not over.any():
            break
        made = torch.where(over, _step(photo, share * change, threshold) if share else photo, made)
    return made


def _step(photo: Tensor, change: Tensor, threshold: Tensor) -> Tensor:
    return (photo + 255 * change + threshold).floor().clamp(0, 255).to(torch.uint8)


def settle(
    original: Tensor,
    delta: Tensor,
    labels: Tensor,
    *,
    authorized: Classifier,
    budget: Budget,
    kappa: float,
    repair_steps: int,
    mask: Tensor | None = None,
    landmarks: Tensor | None = None,
) -> Settled:
    """Round original + delta to 8 bits and repair there, on the authorized margin alone, where it fell below kappa.

    Args:
        original: (B,C,H,W) uint8.
        delta: (B,C,H,W) float.
        labels: (B,) long.
        mask: (B,1,H,W) of 0 and 1, see `Budget.project`.
        landmarks: (B,5,2) of the faces, if the authorized model aligns them; if None it reads the largest face,
            searched anew at every step.

    Returns:
        For each photo the first repaired version with margin >= kappa, or else the one with the largest margin.
    """
    start = from_lattice(original)
    best = inside(original, delta, budget, mask)
    current = best.clone()
    margins = torch.full((len(original),), -torch.inf, device=original.device)
    open_rows = torch.arange(len(original), device=original.device)
    for _ in range(repair_steps + 1):
        # without landmarks as the judge will: the change may have moved the face
        places = None if landmarks is None else landmarks[open_rows]
        canvases = Canvases(from_lattice(current[open_rows]), [authorized], landmarks=places)
        values, raise_it = Guard(authorized, labels).margin(canvases, open_rows)
        better = values > margins[open_rows]
        best[open_rows[better]] = current[open_rows[better]]
        margins[open_rows] = torch.maximum(margins[open_rows], values)
        needy = values < kappa
        if not needy.any():
            break
        gradient = raise_it(needy)[needy]
        missing = kappa - values[needy]
        open_rows = open_rows[needy]
        part = None if mask is None else mask[open_rows]
        step = _least_step(current[open_rows], gradient, missing, original[open_rows], budget, part)
        moved = from_lattice(current[open_rows]) + step / 255 - start[open_rows]
        current[open_rows] = inside(original[open_rows], moved, budget, part)
    admissible = (margins >= kappa) & (margins > 0) & budget.admits(best, original)
    return Settled(best, margins, admissible)


def _least_step(
    current: Tensor, gradient: Tensor, missing: Tensor, original: Tensor, budget: Budget, mask: Tensor | None
) -> Tensor:
    """(B,C,H,W) whole steps of the pixels that raise the margin most, as few as to first order raise it by twice what
    is missing: all that moves here undoes what misleads others.

    Args:
        current: (B,C,H,W) uint8.
        gradient: (B,C,H,W) of the margin, by pixels in [0,1].
        missing: (B,) logits.
        original, budget, mask: as in `settle`.
    """
    start = from_lattice(original)
    wanted = from_lattice(current) + gradient.sign() * (REPAIR_LEVELS / 255) - start
    reach = to_lattice(start + budget.ball.project(wanted, start, mask, whole=True)).int() - current.int()
    gain = (gradient * reach / 255).clamp_min(0).flatten(1)
    low, high = torch.zeros_like(missing), gain.amax(1)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = torch.where(gain >= middle[:, None], gain, 0).sum(1) >= 2 * missing
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return torch.where(gain >= low[:, None], reach.flatten(1), 0).view_as(gradient)
