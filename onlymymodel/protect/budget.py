"""How visible a change may be: a distance that carries its own projection, so optimizer and judge cannot disagree."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
from torch import Generator, Tensor

from onlymymodel.errors import UserError
from onlymymodel.protect.bounds import L2, Bound, Lpips, Psnr, Ssim
from onlymymodel.protect.brightness import DEFINITION as BRIGHTNESS
from onlymymodel.protect.brightness import hold_luma, luma_levels
from onlymymodel.protect.perceptual import SMALLEST
from onlymymodel.protect.visibility import texture_share

Shape = Literal["flat", "texture"]
SHAPES = get_args(Shape)
KINDS: dict[str, type[L2 | Psnr | Ssim | Lpips]] = {kind.name: kind for kind in (L2, Psnr, Ssim, Lpips)}
RANGES = {"l2": (0, math.inf), "psnr": (0, math.inf), "ssim": (0, 1), "lpips": (0, math.inf)}
IN_STEPS = ("linf", "luma")  # people read and write these in 1/255
OF_A_LEVEL = 1e-2  # a shape is computed in floats, which differ between machines


@dataclass(frozen=True)
class Budget:
    """The l-infinity ball around the original, in pixels of [0, 1], cut by any other bounds that are given.

    Attributes:
        linf: the most that any channel of any pixel may change; 8/255 is eight of an 8-bit pixel's 255 steps.
        l2: the largest Euclidean norm of the change; None for no such bound, as below.
        psnr: the least peak signal-to-noise ratio, in dB.
        ssim: the least structural similarity, see `distortion.SSIM_DEFINITION`.
        lpips: the largest LPIPS, see `perceptual`.
        shape: whether each pixel may take all of linf (`flat`), or those beside texture more than those in smooth
            regions (`texture`, see `visibility`).
        luma: the most that the brightness of any pixel may change, in pixels of [0, 1], see `brightness`; what is left
            of linf goes into its color, where eyes miss it. Shaped as linf is; None for no such bound.

    Raises:
        UserError: a number out of its range, or an unknown shape.
    """

    linf: float = 8 / 255
    l2: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    shape: Shape = "flat"
    luma: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.linf) and 0 <= self.linf <= 1):
            raise UserError(f"the budget must lie between 0 and 255 steps, not {self.linf * 255:g}")
        if self.luma is not None and not (math.isfinite(self.luma) and 0 <= self.luma <= 1):
            raise UserError(f"the budget's luma must lie between 0 and 255 steps, not {self.luma * 255:g}")
        for name, (least, most) in RANGES.items():
            limit = getattr(self, name)
            if limit is not None and not (math.isfinite(limit) and least <= limit <= most):
                wanted = f"between {least} and {most}" if math.isfinite(most) else "a number that is not negative"
                raise UserError(f"the budget's {name} must be {wanted}, not {limit:g}")
        if self.shape not in SHAPES:
            raise UserError(f"the budget's shape is one of {', '.join(SHAPES)}, not {self.shape!r}")

    @property
    def levels(self) -> int:
        """The whole steps of the 8-bit lattice that fit into the ball."""
        return math.floor(self.linf * 255 + 1e-6)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Those beside linf."""
        limits = {name: getattr(self, name) for name in KINDS}
        return tuple(KINDS[name](limit) for name, limit in limits.items() if limit is not None)

    @property
    def definitions(self) -> dict[str, object]:
        """What makes each figure of a bound mean something, as JSON values."""
        brightness: dict[str, object] = {} if self.luma is None else {"luma": BRIGHTNESS}
        return brightness | {bound.name: bound.definition for bound in self.bounds}

    @property
    def ball(self) -> "Budget":
        """The same without any bound beside linf."""
        return Budget(self.linf, shape=self.shape, luma=self.luma)

    def check_at_hand(self) -> None:
        """See that every bound can be measured here.

        Raises:
            UserError: LPIPS wants its extra, or AlexNet's weights.
        """
        if self.lpips is not None:
            photo = torch.zeros(3, SMALLEST, SMALLEST)
            Lpips(self.lpips).scale(photo, photo)

    def to_json(self) -> dict[str, Any]:
        """linf, and whatever else differs from the default; linf and luma in 1/255."""
        values = {knob.name: getattr(self, knob.name) for knob in fields(self)}
        said = {knob.name for knob in fields(self) if knob.name == "linf" or values[knob.name] != knob.default}
        return {name: values[name] * 255 if name in IN_STEPS else values[name] for name in values if name in said}

    @staticmethod
    def from_json(content: dict[str, Any]) -> "Budget":
        """The reverse of `to_json`."""
        return Budget(**{name: value / 255 if name in IN_STEPS else value for name, value in content.items()})

    def part(self, share: float) -> "Budget":
        """What `share` of a photo's pixels may spend of a budget that is for all of them: linf whole, of the rest that
        share."""
        return replace(
            self,
            l2=None if self.l2 is None else self.l2 * math.sqrt(share),
            psnr=None if self.psnr is None else self.psnr - 10 * math.log10(share),
            ssim=None if self.ssim is None else 1 - (1 - self.ssim) * share,
            lpips=None if self.lpips is None else self.lpips * share,
        )

    def room(self, original: Tensor) -> Tensor:
        """How far each pixel of (B,C,H,W) photos in [0,1] may move: (B,1,H,W), or (B,1,1,1) if flat."""
        if self.shape == "flat":
            return torch.full((len(original), 1, 1, 1), self.linf).to(original)
        return self.linf * self._share(original)

    def project(self, delta: Tensor, original: Tensor, mask: Tensor | None = None, *, whole: bool = False) -> Tensor:
        """An admissible change: the nearest for linf, l2 and PSNR each, else shrunk toward none until it fits.

        Args:
            delta: (B,C,H,W), any values.
            original: (B,C,H,W) in [0,1].
            mask: (B,1,H,W) of 0 and 1; where it is 0 nothing may change.
            whole: count linf in whole steps of the 8-bit lattice.

        Returns:
            delta within `room` such that original + delta lies in [0,1] and every bound holds. No row depends on
            another.
        """
        if mask is not None:
            delta = delta * mask
        delta = self._into_ball(torch.clamp(delta, -original, 1 - original), original, whole)
        if not self.bounds:
            return delta
        rows = zip(delta, original, strict=True)
        return torch.stack([change * self.share_inside(change, photo) for change, photo in rows])

    def share_inside(self, delta: Tensor, original: Tensor) -> float:
        """The largest share of (C,H,W) delta, from 0 to 1, with which all bounds beside linf hold."""
        share = 1.0
        for bound in self.bounds:
            share *= bound.scale(share * delta, original)
        return share

    def stride(self, original: Tensor, mask: Tensor | None = None) -> Tensor:
        """How far each pixel goes where all go as far as the budget lets them: (B,1,H,W), or (B,1,1,1) if flat, in
        doubles on the CPU.

        That is `room`, shrunk as noise of that size has to be for the other bounds: a step that is a share of linf
        would be too large where another bound is the tighter one.

        Args:
            original: as in `project`.
            mask: as in `project`.
        """
        if self.shape == "flat" and not self.bounds:
            return torch.full((len(original), 1, 1, 1), self.linf, dtype=torch.double)
        room = self.room(original)
        if not self.bounds:
            return room.cpu().double()
        stream = Generator().manual_seed(0)
        signs = torch.randint(2, original.shape[1:], generator=stream).to(original) * 2 - 1
        noise = room * signs
        noise = noise if mask is None else noise * mask
        kept = self.project(noise, original).abs().flatten(1).sum(1)
        free = self.ball.project(noise, original)
        share = kept / free.abs().flatten(1).sum(1).clamp_min(1e-12)
        return (room * share.view(-1, 1, 1, 1)).cpu().double()

    def spent(self, protected: Tensor, original: Tensor, bound: str = "linf") -> Tensor:
        """(B,) what each photo has spent, from (B,C,H,W) uint8: of linf and luma in 8-bit steps, else see `bounds`."""
        change = protected.int() - original.int()
        if bound == "linf":
            return change.abs().flatten(1).amax(1)
        if bound == "luma":
            return torch.stack([luma_levels(row).max() for row in change])
        measure = KINDS[bound](0).spent
        return torch.tensor([measure(*pair) for pair in zip(protected, original, strict=True)], dtype=torch.double)

    def admits(self, protected: Tensor, original: Tensor, tolerance: float = 0.0) -> Tensor:
        """(B,) bool: whether each (C,H,W) uint8 photo stays inside the budget; see `excess`."""
        inside = [not self.excess(*pair, tolerance) for pair in zip(protected, original, strict=True)]
        return torch.tensor(inside, dtype=torch.bool, device=original.device)

    def excess(self, protected: Tensor, original: Tensor, tolerance: float = 0.0) -> list[str]:
        """A sentence for each bound that a (C,H,W) uint8 photo passes.

        Args:
            tolerance: of every figure but linf, for machines that compute otherwise.
        """
        change = (protected.int() - original.int()).abs()
        found = []
        if int(change.max()) > self.levels:
            found.append(f"it differs from its original by {int(change.max())}/255, more than {self.levels}/255")
        elif self.shape != "flat" and (change > self._levels_at(original)).any():
            found.append("it differs from its original in a smooth region by more than the shape of its budget allows")
        limit = self.luma_limit(original)
        if (
            limit is not None
            and self.luma is not None
            and (luma_levels(protected.int() - original.int()) > limit).any()
        ):
            most = float(self.spent(protected[None], original[None], "luma"))
            found.append(
                f"its brightness differs by up to {most:.1f}/255, more than its budget's {self.luma * 255:g}/255"
            )
        said = (bound.excess(bound.spent(protected, original), tolerance) for bound in self.bounds)
        return found + [sentence for sentence in said if sentence]

    def luma_limit(self, original: Tensor) -> Tensor | None:
        """(H,W) or (1,1) 8-bit steps by which the luma of a (C,H,W) uint8 photo may change; None where it is free."""
        if self.luma is None:
            return None
        limit = self.luma * 255 * self._share(original[None].float() / 255)[0, 0].double()
        return (limit + OF_A_LEVEL).clamp_max(self.luma * 255 + 1e-6) if self.shape != "flat" else limit + 1e-6

    def _share(self, original: Tensor) -> Tensor:
        """(B,1,H,W) or (B,1,1,1) in [0, 1]: what each pixel may take of linf and luma."""
        if self.shape == "flat":
            return torch.ones(len(original), 1, 1, 1).to(original)
        # one by one: a filter may sum a batch in another order
        return torch.cat([texture_share(photo[None]) for photo in original])

    def _levels_at(self, original: Tensor) -> Tensor:
        return self.room(original[None].float() / 255)[0] * 255 + OF_A_LEVEL

    def _into_ball(self, delta: Tensor, original: Tensor, whole: bool) -> Tensor:
        if self.shape == "flat" and self.luma is None:
            linf = self.levels / 255 if whole else self.linf
            return delta.clamp(-linf, linf)
        share = self._share(original)
        room = self.linf * share
        room = (room * 255 + OF_A_LEVEL / 100).floor() / 255 if whole else room
        delta = torch.minimum(torch.maximum(delta, -room), room)
        if self.luma is None:
            return delta
        low, high = torch.maximum(-room, -original), torch.minimum(room, 1 - original)
        return hold_luma(delta, self.luma * share, low, high)
