"""Round a change to 8-bit pixels, and repair the authorized model's margins on them."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from onlymymodel.data.strips import map_rows, strips
from onlymymodel.protect.attack.batch import Locate, Rows
from onlymymodel.protect.attack.deployed_margins import SHARE_OF_KAPPA, DeployedMargins
from onlymymodel.protect.attack.dither import DitherNoise
from onlymymodel.protect.attack.guard import Guard
from onlymymodel.protect.attack.model_inputs import WrittenInputs
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.uint8 import to_float, to_uint8
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.working_size import resize_change
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.detector import Detections
from onlymymodel.surrogates.device_copy import to_device

REPAIR_LEVELS = 2  # how far a repair step moves a pixel, in 8-bit levels
BISECTIONS = 24  # of the threshold above which a pixel is moved
# fractions of a change that are tried in turn until the rounded photo is inside its bounds
FRACTIONS = (1.0, 0.995, 0.99, 0.98, 0.97, 0.96, 0.95, 0.93, 0.91, 0.88, 0.84, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


class Quantized(NamedTuple):
    """A photo on 8-bit levels.

    Attributes:
        pixels: (C,H,W) uint8.
        margin: of the authorized model on exactly these pixels, in logits.
        admissible: whether the label is kept with a margin of kappa or more, and through every deployment that was
            asked for, inside the budget.
    """

    pixels: Tensor
    margin: float
    admissible: bool


def project_to_uint8(original: Tensor, delta: Tensor, budget: Budget, mask: Tensor | None = None) -> Tensor:
    """Round original + delta to (B,C,H,W) uint8 photos that the budget admits.

    Args:
        original: (B,C,H,W) uint8.
        delta: (B,C,H,W) float, in pixels of [0,1]; it is overwritten.
        mask: (B,1,H,W), see `Budget.project`.
    """
    if budget.bounds:
        change = budget.project(delta, original, mask, whole=True, overwrite=True)
        return torch.stack([_dither_inside(*row, budget) for row in zip(original, change, strict=True)])

    def round_rows(photos: Tensor, delta: Tensor, mask: Tensor | None) -> Tensor:
        start = to_float(photos)
        change = budget.project(delta, start, mask, whole=True)
        if budget.luma is None and budget.color is None:
            return to_uint8(start + change)
        half = torch.full_like(change[0], 0.5)
        return torch.stack([_round_inside(*row, half, budget) for row in zip(photos, change, strict=True)])

    return map_rows(round_rows, original, delta, mask, halo=budget.reach)


def _dither_inside(photo: Tensor, change: Tensor, budget: Budget) -> Tensor:
    """Return (C,H,W) uint8 with as much of a change as the budget's bounds admit after rounding.

    Dithered: sign steps end as far from the photo as its bounds let them, equally far everywhere, and plain rounding
    would take a change of one and a half levels to one or to two levels all over the photo.
    """
    channels, height, width = photo.shape
    # channels that change alike are rounded alike, where their color is bounded
    noise = DitherNoise(channels if budget.color is None else 1, height, width)
    numbers = torch.arange(height)[:, None]  # of the rows
    for fraction in FRACTIONS:

        def round_rows(photo: Tensor, change: Tensor, numbers: Tensor, fraction: float = fraction) -> Tensor:
            threshold = to_device(noise.rows(int(numbers[0]), len(numbers)).to(change.dtype), change.device)
            return _round_inside(photo, fraction * change, threshold, budget)

        pixels = map_rows(round_rows, photo, change, numbers, halo=budget.reach)
        if not budget.violations(pixels, photo):
            return pixels
    return photo.clone()


def _round_inside(photo: Tensor, change: Tensor, threshold: Tensor, budget: Budget) -> Tensor:
    """Return (C,H,W) uint8, rounded up where the fractional part of a level is above 1 - threshold.

    Pixels whose luma or color rounding changed too much take a smaller fraction of their change.
    """
    limits = budget.pixel_limits(photo)
    pixels = _round(photo, change, threshold)
    if not limits.given:
        return pixels
    for fraction in (*FRACTIONS[1:], 0.0):
        over = limits.exceeded(pixels.int() - photo.int())
        if not over.any():
            break
        pixels = torch.where(over, _round(photo, fraction * change, threshold) if fraction else photo, pixels)
    return pixels


def _round(photo: Tensor, change: Tensor, threshold: Tensor) -> Tensor:
    return (photo + 255 * change + threshold).floor().clamp(0, 255).to(torch.uint8)


def quantize_and_repair(
    original: Tensor,
    delta: Tensor,
    label: int,
    *,
    authorized: Classifier,
    budget: Budget,
    recipe: Recipe,
    mask: Tensor | None = None,
    locate: Locate | None = None,
    deployments: Sequence[str] = (),
    objects: Detections | None = None,
) -> Quantized:
    """Round original + delta to 8 bits; where an authorized margin is too small, raise it on the 8-bit pixels.

    Margins through deployments are those of the real codecs; their gradients are of differentiable versions.

    Args:
        original: (C,H,W) uint8.
        delta: (C,h,w) float, in pixels of [0,1]; resized to the photo's size.
        recipe: its `kappa` and `repair_steps`.
        mask: (1,H,W) of 0 and 1; where it is 0 nothing changes.
        locate: finds the face at every step, if the authorized model aligns faces, as the written file will be read:
            the change may have moved it, or lost it. None for the largest one.
        deployments: names of those through which the label has to be kept, with `SHARE_OF_KAPPA` of kappa.
        objects: those of the photo that a detector has to keep.

    Returns:
        The first version all of whose margins are large enough, or else the one that lacks the least.
    """
    originals, masks = original[None], None if mask is None else mask[None]
    deployed = DeployedMargins(authorized, deployments, objects)
    required = _RequiredMargins(deployed, label, recipe.kappa, locate)
    current = project_to_uint8(originals, resize_change(delta[None], originals), budget, masks)
    shortfall = required.measure(current)
    best, least = current, shortfall
    for _ in range(recipe.repair_steps):
        if not 0 < shortfall.missing < math.inf:
            break
        current = _repaired(current, shortfall, originals, budget, masks)
        shortfall = required.measure(current)
        if shortfall.missing < least.missing:
            best, least = current, shortfall
    admissible = least.missing <= 0 and least.margin > 0 and bool(budget.admits(best, originals)[0])
    return Quantized(best[0], least.margin, admissible)


class _Shortfall(NamedTuple):
    """Distance of a photo's margins from their required values.

    Attributes:
        margin: of the authorized model on the pixels themselves, in logits.
        missing: sum of what the margins that are too small lack, in logits; 0 if there are none, infinite where the
            face is not found, which no step repairs.
        gradient: computes the (1,C,H,W) gradient of the sum of these margins.
    """

    margin: float
    missing: float
    gradient: Callable[[], Tensor]


class _RequiredMargins:
    """The margins that a photo has to have: kappa on its pixels, and a share of kappa through each deployment.

    Deployments that were too small once are measured first, and the others only where these suffice.
    """

    def __init__(self, deployed: DeployedMargins, label: int, kappa: float, locate: Locate | None) -> None:
        self.deployed, self.label, self.kappa, self.locate = deployed, label, kappa, locate
        self.difficult: set[str] = set()

    def measure(self, pixels: Tensor) -> _Shortfall:
        """Measure (1,C,H,W) uint8 pixels."""
        authorized, objects = self.deployed.authorized, self.deployed.objects
        labels = torch.tensor([self.label], device=pixels.device)
        guard = Guard(authorized, labels, None if objects is None else [objects])
        landmarks = None if self.locate is None else self.locate(pixels[0])
        if self.locate is not None and landmarks is None:
            return _Shortfall(-math.inf, math.inf, lambda: torch.zeros(pixels.shape, device=pixels.device))
        inputs = WrittenInputs(pixels, authorized, None if landmarks is None else landmarks[None])
        margins, margin_gradient = guard.margin(inputs, Rows.of([0], pixels.device))
        margin, lacking = float(margins[0]), self._lacking(pixels[0], landmarks)
        low = not margin >= self.kappa

        def gradient() -> Tensor:
            # one sum from the start, since a large photo's gradient takes much memory
            if low:
                total = margin_gradient(torch.ones_like(margins, dtype=torch.bool))
            else:
                total = torch.zeros(pixels.shape, device=pixels.device)
            if lacking:
                self.deployed.add_gradient(pixels[0], self.label, lacking, total, landmarks)
            return total

        return _Shortfall(margin, (self.kappa - margin if low else 0.0) + sum(lacking.values()), gradient)

    def _lacking(self, pixels: Tensor, landmarks: Tensor | None) -> dict[str, float]:
        """Return what the margin through each deployment lacks, without those whose margin suffices."""
        for names in (self.difficult, self.deployed.deployments.keys() - self.difficult):
            ordered = [name for name in self.deployed.deployments if name in names]
            margins = self.deployed.measure(pixels, self.label, ordered, landmarks)
            required = SHARE_OF_KAPPA * self.kappa
            lacking = {name: required - margin for name, margin in margins.items() if not margin >= required}
            if lacking:
                self.difficult |= lacking.keys()
                return lacking
        return {}


def _repaired(current: Tensor, shortfall: _Shortfall, original: Tensor, budget: Budget, mask: Tensor | None) -> Tensor:
    """Return (B,C,H,W) uint8 photos after one step that raises the margins that are too small; see `_smallest_step`."""
    missing = torch.tensor([shortfall.missing], device=original.device)
    step = _smallest_step(current, shortfall.gradient(), missing, original, budget, mask)
    wanted = map_rows(
        lambda photo, step, clean: to_float(photo) + step / 255 - to_float(clean), current, step, original
    )
    del step  # a large photo's temporaries are freed as soon as they were used
    return project_to_uint8(original, wanted, budget, mask)


def _smallest_step(
    current: Tensor, gradient: Tensor, missing: Tensor, original: Tensor, budget: Budget, mask: Tensor | None
) -> Tensor:
    """Choose the fewest pixels whose step of whole levels raises the margin, to first order, by twice what is missing.

    Few, since every pixel that moves here undoes a part of what misleads the surrogates.

    Args:
        current: (B,C,H,W) uint8.
        gradient: (B,C,H,W) of the margin, with respect to pixels in [0,1]; it is overwritten.
        missing: (B,) logits.
        original, budget, mask: as in `project_to_uint8`.

    Returns:
        (B,C,H,W) whole levels, int8, zero for pixels that stay.
    """

    def largest_step(current: Tensor, gradient: Tensor, original: Tensor, mask: Tensor | None) -> Tensor:
        start = to_float(original)
        wanted = to_float(current) + gradient.sign() * (REPAIR_LEVELS / 255) - start
        moved = to_uint8(start + budget.per_pixel.project(wanted, start, mask, whole=True))
        return (moved.int() - current.int()).to(torch.int8)  # at most REPAIR_LEVELS

    def gained(threshold: Tensor) -> Tensor:
        total = torch.zeros(len(gain), dtype=torch.double, device=gain.device)
        for rows in strips(*gain.shape[-2:]):
            part = gain[..., rows, :]
            total += torch.where(part >= threshold.view(-1, 1, 1, 1), part, 0).double().flatten(1).sum(1)
        return total

    step = map_rows(largest_step, current, gradient, original, mask, halo=budget.reach)
    gain = gradient
    for rows in strips(*gradient.shape[-2:]):
        gain[..., rows, :] = (gradient[..., rows, :] * step[..., rows, :] / 255).clamp_min(0)
    low, high = torch.zeros_like(missing), gain.flatten(1).amax(1)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        enough = gained(middle) >= 2 * missing
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return map_rows(lambda gain, step: torch.where(gain >= low.view(-1, 1, 1, 1), step, 0), gain, step)
