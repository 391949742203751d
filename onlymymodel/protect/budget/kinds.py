"""The bounds that a budget may have, one row each, and the shapes that a budget may take.

`Budget`, the command line, run files, reports and manifests follow from this table. To add a bound, write a class that
derives from `bounds.Bound`, a row here, and a field of `Budget`. This module does not import torch, so that the
command line starts quickly.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from onlymymodel.errors import UserError

Shape = Literal["even", "texture"]
SHAPES: dict[Shape, str] = {
    "even": "every pixel may change by epsilon",
    "texture": "pixels beside texture by epsilon, others by less (down to a tenth)",
}
EVEN: Shape = "even"  # the shape of a budget that gives none
SHAPE_PHRASE = "spent beside {}"  # how reports word a shape that is not even
LINF = "linf"  # the one bound that every budget has; its flag and TOML key is epsilon


@dataclass(frozen=True)
class BoundKind:
    """One row of `BOUNDS`: the description of a bound, without its computation.

    Attributes:
        help: help text of its command-line flag, `--NAME` with dashes (`--epsilon` for linf).
        phrase: how reports word a limit.
        violation: how a violated limit is reported, with the measured distance in 1/denominator.
        bound: "module:Class" of the `Bound` that measures it and shrinks a change to it; None for limits on each single
            pixel, which `Budget` itself holds.
        at_least: whether the limit is the least value that is allowed, not the largest.
        maximum: the largest limit; the smallest is 0.
        denominator: flags, TOML and JSON give the limit in 1/denominator.
        for_fraction: from (limit, fraction) the limit for a region with that fraction of the photo's pixels, such that
            regions inside their limits leave the photo inside its own.
    """

    help: str
    phrase: str
    violation: str
    bound: str | None = None
    at_least: bool = False
    maximum: float = math.inf
    denominator: int = 1
    for_fraction: Callable[[float, float], float] = lambda limit, _fraction: limit

    def in_range(self, limit: float) -> bool:
        """Return whether a limit makes sense."""
        return math.isfinite(limit) and 0 <= limit <= self.maximum

    @property
    def range(self) -> str:
        """Return the limits that make sense, in words."""
        if self.denominator != 1:
            return f"must lie between 0 and {self.maximum * self.denominator:g} steps"
        if self.maximum == math.inf:
            return "must be a finite number that is not negative"
        return f"must be between 0 and {self.maximum:g}"

    def written(self, limit: float) -> float:
        """Return a limit as flags, TOML and JSON give it."""
        return limit if self.denominator == 1 else limit * self.denominator

    def read(self, value: float) -> float:
        """Return the limit that flags, TOML or JSON give; the reverse of `written`."""
        return value if self.denominator == 1 else value / self.denominator


BOUNDS: dict[str, BoundKind] = {
    LINF: BoundKind(
        help="largest change of any color channel of any pixel, in 1/255; instead of --strength",
        phrase="epsilon {:g}/255",
        violation="it differs from its original by {:g}/255",
        maximum=1,
        denominator=255,
    ),
    "luma": BoundKind(
        help="largest change of the brightness of any pixel, in 1/255; the rest of epsilon goes into color",
        phrase="brightness within {:g}/255",
        violation="its brightness differs by up to {:.1f}/255",
        maximum=1,
        denominator=255,
    ),
    "color": BoundKind(
        help="largest change of the color of any pixel, in 1/255; the rest of epsilon goes into brightness",
        phrase="color within {:g}/255",
        violation="its color differs by up to {:.1f}/255",
        maximum=1,
        denominator=255,
    ),
    "l2": BoundKind(
        help="largest Euclidean norm of the change, with pixels in [0, 1]",
        phrase="L2 at most {:g}",
        violation="its change has l2 norm {:.4f}",
        bound="onlymymodel.protect.budget.bounds:L2",
        for_fraction=lambda limit, fraction: limit * math.sqrt(fraction),
    ),
    "psnr": BoundKind(
        help="least peak signal-to-noise ratio, in dB",
        phrase="PSNR at least {:g} dB",
        violation="its PSNR is {:.3f} dB",
        bound="onlymymodel.protect.budget.bounds:Psnr",
        at_least=True,
        for_fraction=lambda limit, fraction: limit - 10 * math.log10(fraction),
    ),
    "ssim": BoundKind(
        help="least structural similarity, from 0 to 1",
        phrase="SSIM at least {:g}",
        violation="its SSIM is {:.5f}",
        bound="onlymymodel.protect.budget.bounds:Ssim",
        at_least=True,
        maximum=1,
        for_fraction=lambda limit, fraction: 1 - (1 - limit) * fraction,
    ),
    "flip": BoundKind(
        help="largest FLIP, from 0 to 1: the difference that people see when the two photos take turns on a screen",
        phrase="FLIP at most {:g}",
        violation="its FLIP is {:.5f}",
        bound="onlymymodel.protect.budget.bounds:Flip",
        maximum=1,
        for_fraction=lambda limit, fraction: limit * fraction,
    ),
    "lpips": BoundKind(
        help="largest LPIPS (pip install 'onlymymodel[lpips]')",
        phrase="LPIPS at most {:g}",
        violation="its LPIPS is {:.5f}",
        bound="onlymymodel.protect.budget.bounds:Lpips",
        for_fraction=lambda limit, fraction: limit * fraction,
    ),
}


def optional_bounds() -> dict[str, BoundKind]:
    """Return the rows of the bounds that a budget may do without: all but linf."""
    return {name: kind for name, kind in BOUNDS.items() if name != LINF}


def check_limits(limits: Mapping[str, float], shape: str) -> None:
    """Refuse a limit that makes no sense, and an unknown shape.

    Args:
        limits: limit of each bound that is given, by its name.
        shape: the shape of the budget.

    Raises:
        UserError: a limit is out of its range, or the shape is unknown.
    """
    for name, limit in limits.items():
        kind = BOUNDS[name]
        if not kind.in_range(limit):
            owner = "the budget" if name == LINF else f"the budget's {name}"
            raise UserError(f"{owner} {kind.range}, not {kind.written(limit):g}")
    if shape not in SHAPES:
        raise UserError(f"the budget's shape is one of {', '.join(SHAPES)}, not {shape!r}")


def as_recorded(budget: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a budget as `Budget.to_json` writes it, from one as flags and TOML give it."""
    written = {name: kind.written(kind.read(budget[name])) for name, kind in BOUNDS.items() if name in budget}
    return {**written, **({"shape": budget["shape"]} if budget.get("shape", EVEN) != EVEN else {})}


def describe(limits: dict[str, float | str]) -> str:
    """Return the optional bounds and the shape of a budget's JSON in words; "" where linf is the only bound."""
    words = [kind.phrase.format(limits[name]) for name, kind in optional_bounds().items() if name in limits]
    return ", ".join([*words, SHAPE_PHRASE.format(limits["shape"])] if "shape" in limits else words)
