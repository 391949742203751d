"""The budget of a protection: how visible a change of a photo may be.

A budget projects changes and judges written photos, so the optimizer and the judge cannot disagree.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Generator, Tensor

from onlymymodel.data.pixels import as_floats
from onlymymodel.data.strips import map_rows
from onlymymodel.protect.budget.bounds import Bound, bound_class
from onlymymodel.protect.budget.color import DEFINITION as COLOR_DEFINITION
from onlymymodel.protect.budget.color import clamp_color, largest_color_change
from onlymymodel.protect.budget.distortion import largest_change
from onlymymodel.protect.budget.kinds import BOUNDS, EVEN, LINF, Shape, check_limits, optional_bounds
from onlymymodel.protect.budget.luma import DEFINITION as LUMA_DEFINITION
from onlymymodel.protect.budget.luma import clamp_luma, largest_luma_change
from onlymymodel.protect.budget.pixel_limits import PixelLimits
from onlymymodel.protect.budget.prepared import Prepared
from onlymymodel.protect.budget.texture import REACH, texture_mask
from onlymymodel.surrogates.device_copy import to_device

LEVEL_TOLERANCE = 1e-2  # in 8-bit levels: a texture mask is computed in floats, which differ between machines


@dataclass(frozen=True)
class Budget:
    """The l-infinity ball around the original photo, cut by any other bounds that are given.

    `kinds.BOUNDS` has a row for each bound.

    Attributes:
        linf: largest change of any channel of any pixel, in pixels of [0, 1]; 8/255 is 8 of the 255 levels of an 8-bit
            pixel.
        l2: largest Euclidean norm of the change, in pixels of [0, 1]; None for no such bound, as below.
        psnr: least peak signal-to-noise ratio, in dB.
        ssim: least structural similarity, see `distortion.SSIM_DEFINITION`.
        flip: largest FLIP, see `onlymymodel.protect.budget.flip`.
        lpips: largest LPIPS, see `onlymymodel.protect.budget.lpips`.
        shape: `even`: each pixel may change by all of linf; `texture`: pixels beside texture by more than those in
            smooth regions, see `texture.texture_mask`.
        luma: largest change of the luma of any pixel, in pixels of [0, 1], see `luma`; what remains of linf goes into
            its color. The shape applies to it as to linf.
        color: largest change of the color of any pixel, in pixels of [0, 1], see `color`; what remains of linf goes
            into its brightness: grain in texture, where colored speckles would be seen. The shape applies to it, too.

    Raises:
        UserError: a limit is out of its range, or the shape is unknown.
    """

    linf: float = 8 / 255
    l2: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    shape: Shape = EVEN
    luma: float | None = None
    flip: float | None = None
    color: float | None = None

    def __post_init__(self) -> None:
        check_limits(self.limits, self.shape)

    @property
    def limits(self) -> dict[str, float]:
        """The limit of each bound that is given, by its name, in the order of `BOUNDS`."""
        limits = {name: getattr(self, name) for name in BOUNDS}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The bounds on the photo as a whole that are given."""
        return tuple(bound_class(name)(limit) for name, limit in self.limits.items() if BOUNDS[name].bound)

    @property
    def levels(self) -> int:
        """The largest change of a pixel in whole 8-bit levels."""
        return math.floor(self.linf * 255 + 1e-6)

    @property
    def definitions(self) -> dict[str, object]:
        """The definition of the distance of each optional bound that is given, as JSON values."""
        single = {"luma": LUMA_DEFINITION, "color": COLOR_DEFINITION}
        given: dict[str, object] = {name: single[name] for name in single if name in self.limits}
        return given | {bound.name: bound.definition for bound in self.bounds}

    @property
    def per_pixel(self) -> Self:
        """The same budget without its bounds on the photo as a whole."""
        removed: dict[str, Any] = dict.fromkeys(bound.name for bound in self.bounds)
        return replace(self, **removed)

    def check_available(self) -> None:
        """Check that every bound can be measured on this machine.

        Raises:
            UserError: LPIPS needs its extra, or AlexNet's weights.
        """
        for bound in self.bounds:
            bound.check_available()

    def to_json(self) -> dict[str, Any]:
        """Return linf and all fields that differ from their default; linf, luma and color in 1/255."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        written = {field.name for field in fields(self) if field.name == LINF or values[field.name] != field.default}
        return {
            name: BOUNDS[name].written(value) if name in BOUNDS else value
            for name, value in values.items()
            if name in written
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return the budget of which `to_json` gives this content."""
        values: dict[str, Any] = {
            name: BOUNDS[name].read(value) if name in BOUNDS else value for name, value in content.items()
        }
        return cls(**values)

    def for_fraction(self, fraction: float) -> Self:
        """Return the budget of a region that has this fraction of the pixels that may change in a photo.

        Limits on single pixels stay as they are. Regions that are each inside their own budget are together about
        inside the photo's; the written photo is judged by the photo's budget.
        """
        optional = {name: limit for name, limit in self.limits.items() if name in optional_bounds()}
        changes: dict[str, Any] = {name: BOUNDS[name].for_fraction(limit, fraction) for name, limit in optional.items()}
        return replace(self, **changes)

    def max_change(self, original: Tensor) -> Tensor:
        """Return how far each pixel of (B,C,H,W) photos in [0,1] may move: (B,1,H,W), or (B,1,1,1) if even."""
        return self.linf * self._fraction(original)

    def prepare(self, original: Tensor) -> Prepared:
        """Return what `project` needs of a (1,C,H,W) photo in [0,1], for many changes of it."""
        return Prepared(self._fraction(original), tuple(bound.prepared(original[0]) for bound in self.bounds))

    def project(
        self,
        delta: Tensor,
        original: Tensor,
        mask: Tensor | None = None,
        *,
        whole: bool = False,
        prepared: Prepared | None = None,
        overwrite: bool = False,
    ) -> Tensor:
        """Project changes into the budget: to the nearest point for linf, l2 and PSNR each, else by shrinking.

        Args:
            delta: (B,C,H,W), any values.
            original: (B,C,H,W) in [0,1], or uint8.
            mask: (B,1,H,W) of 0 and 1; where it is 0 nothing may change.
            whole: count linf in whole 8-bit levels.
            prepared: what `prepare` gives for `original`, where B is 1.
            overwrite: return the result in the memory of `delta`, for large photos.

        Returns:
            delta within `max_change` such that original + delta lies in [0,1] and every bound holds. No row depends on
            another.
        """

        def clamp(delta: Tensor, original: Tensor, mask: Tensor | None, fraction: Tensor | None) -> Tensor:
            delta, original = delta if mask is None else delta * mask, as_floats(original)
            fraction = self._fraction(original) if fraction is None else fraction
            return self._clamp(torch.clamp(delta, -original, 1 - original), original, fraction, whole)

        fraction, bounds = prepared or (None, self.bounds)
        out = delta if overwrite else None
        delta = map_rows(clamp, delta, original, mask, fraction, halo=self.reach, out=out)
        for change, photo in zip(delta, original, strict=True):
            for bound in bounds:  # each has its effect before the next is measured
                if (scale := bound.max_scale(change, photo)) != 1:
                    change *= scale
        return delta

    @property
    def reach(self) -> int:
        """Return the number of rows around a pixel on which its limits depend."""
        return 0 if self.shape == "even" else REACH

    def step_size(self, original: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return how far each pixel moves where all move as far as the budget lets them.

        That is `max_change`, shrunk as noise of that size has to be for the other bounds: a step that is a fraction of
        linf would be too large where another bound is the tighter one.

        Args:
            original: as in `project`.
            mask: as in `project`.

        Returns:
            (B,1,H,W), or (B,1,1,1) if even, in doubles on the CPU.
        """
        if self.shape == "even" and not self.bounds:
            return torch.full((len(original), 1, 1, 1), self.linf, dtype=torch.double)
        max_change = self.max_change(original)
        if not self.bounds:
            return max_change.cpu().double()
        stream = Generator().manual_seed(0)
        signs = (torch.randint(2, original.shape[1:], generator=stream) * 2 - 1).to(original.dtype)
        noise = max_change * to_device(signs, original.device)
        noise = noise if mask is None else noise * mask
        kept = self.project(noise, original).abs().flatten(1).sum(1)
        free = self.per_pixel.project(noise, original)
        fraction = kept / free.abs().flatten(1).sum(1).clamp_min(1e-12)
        return (max_change * fraction.view(-1, 1, 1, 1)).cpu().double()

    def spent(self, protected: Tensor, original: Tensor, bound: str = LINF) -> Tensor:
        """Return how much of a bound each photo has used: (B,), of linf, luma and color in 8-bit levels.

        Args:
            protected: (B,C,H,W) uint8.
            original: (B,C,H,W) uint8.
            bound: a name of `BOUNDS`, whether or not this budget has a limit for it.
        """
        pairs = list(zip(protected, original, strict=True))
        if bound == LINF:
            return torch.tensor([largest_change(*pair) for pair in pairs])
        of_pixels = {"luma": largest_luma_change, "color": largest_color_change}
        distance = of_pixels[bound] if bound in of_pixels else bound_class(bound)(0).distance
        return torch.tensor([distance(*pair) for pair in pairs], dtype=torch.double)

    def admits(self, protected: Tensor, original: Tensor, tolerance: float = 0.0) -> Tensor:
        """Return whether each (C,H,W) uint8 photo is inside the budget: (B,) bool; see `violations`."""
        inside = [not self.violations(*pair, tolerance) for pair in zip(protected, original, strict=True)]
        return torch.tensor(inside, dtype=torch.bool, device=original.device)

    def violations(self, protected: Tensor, original: Tensor, tolerance: float = 0.0) -> list[str]:
        """Return a sentence for each bound that a (C,H,W) uint8 photo violates.

        Args:
            protected: (C,H,W) uint8.
            original: (C,H,W) uint8.
            tolerance: for every distance of the photo as a whole, for machines whose floats differ.
        """
        sentences = []
        if (largest := largest_change(protected, original)) > self.levels:
            sentences.append(f"{BOUNDS[LINF].violation.format(largest)}, more than {self.levels}/255")
        elif self.shape != "even" and map_rows(self._leaves_shape, protected, original, halo=self.reach).any():
            sentences.append("it differs from its original in a smooth region by more than its budget's shape allows")
        for name in ("luma", "color"):
            if name in self.limits and map_rows(self._leaves(name), protected, original, halo=self.reach).any():
                measured = float(self.spent(protected[None], original[None], name))
                limit = BOUNDS[name].written(self.limits[name])
                sentences.append(f"{BOUNDS[name].violation.format(measured)}, more than {limit:g}/255")
        violations = (bound.violation(bound.distance(protected, original), tolerance) for bound in self.bounds)
        return sentences + [violation for violation in violations if violation]

    def pixel_limits(self, original: Tensor) -> PixelLimits:
        """Return the limits on the luma and the color of each pixel of a (C,H,W) uint8 photo, in 8-bit levels."""
        if self.luma is None and self.color is None:
            return PixelLimits(None, None)
        fraction = self._fraction(original[None].float() / 255)[0, 0].double()
        return PixelLimits(*(self._levels_of(limit, fraction) for limit in (self.luma, self.color)))

    def _levels_of(self, limit: float | None, fraction: Tensor) -> Tensor | None:
        """Return a fraction of a limit on single pixels in 8-bit levels, with room for errors of floats."""
        if limit is None:
            return None
        levels = limit * 255 * fraction
        return (levels + LEVEL_TOLERANCE).clamp_max(limit * 255 + 1e-6) if self.shape != "even" else levels + 1e-6

    def _fraction(self, original: Tensor) -> Tensor:
        """Return the fraction of the limits that each pixel may use: (B,1,H,W), or (B,1,1,1) if even, in [0, 1]."""
        if self.shape == "even":
            return original.new_ones(len(original), 1, 1, 1)
        # one by one: a filter may sum a batch in another order
        return torch.cat([texture_mask(photo[None]) for photo in original])

    def _leaves_shape(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return whether each pixel of (C,H,W) uint8 changes by more than the shape allows it."""
        levels = self.max_change(original[None].float() / 255)[0] * 255 + LEVEL_TOLERANCE
        return (protected.int() - original.int()).abs() > levels

    def _leaves(self, name: str) -> Callable[[Tensor, Tensor], Tensor]:
        """Return a function that says whether luma or color of each pixel changes by more than its limit, (H,W)."""

        def leaves(protected: Tensor, original: Tensor) -> Tensor:
            only = PixelLimits(None, None)._replace(**{name: getattr(self.pixel_limits(original), name)})
            return only.exceeded(protected.int() - original.int())

        return leaves

    def _clamp(self, delta: Tensor, original: Tensor, fraction: Tensor, whole: bool) -> Tensor:
        """Clamp each pixel of (B,C,H,W) changes to linf, luma and color."""
        if self.shape == "even" and self.luma is None and self.color is None:
            linf = self.levels / 255 if whole else self.linf
            return delta.clamp(-linf, linf)
        max_change = self.linf * fraction
        max_change = (max_change * 255 + LEVEL_TOLERANCE / 100).floor() / 255 if whole else max_change
        delta = torch.minimum(torch.maximum(delta, -max_change), max_change)
        low, high = torch.maximum(-max_change, -original), torch.minimum(max_change, 1 - original)
        luma_limit = None if self.luma is None else self.luma * fraction
        if luma_limit is not None:
            delta = clamp_luma(delta, luma_limit, low, high)
        if self.color is not None:
            # rounding moves the channels of a pixel apart, but by less than one level
            limit = self.color * fraction
            delta = clamp_color(delta, (limit - 1 / 255).clamp_min(0) if whole else limit, low, high, luma_limit)
        return delta
