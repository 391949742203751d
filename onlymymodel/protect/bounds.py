"""Bounds of a budget beside l-infinity: each knows what a photo has spent, and how a change is brought inside.

All take one photo. A change is brought inside by shrinking it as a whole, so that it stays inside every other bound.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from statistics import fmean
from typing import ClassVar, Protocol

from torch import Tensor

from onlymymodel.protect import distortion, perceptual
from onlymymodel.protect.filters import gaussian


class Bound(Protocol):
    """A hard limit on the distance of two photos, measured on their 8-bit pixels at their own size."""

    name: ClassVar[str]

    @property
    def limit(self) -> float:
        """In the unit of the definition."""

    @property
    def definition(self) -> object:
        """What makes the figure mean something, as a JSON value."""

    def scale(self, delta: Tensor, original: Tensor) -> float:
        """The largest share of (C,H,W) delta, from 0 to 1, with which the (C,H,W) photo in [0,1] stays inside."""

    def along(self, delta: Tensor, original: Tensor) -> Callable[[float], float]:
        """The distance of a (C,H,W) photo in [0,1] and itself with a share of a change, as a function of the share."""

    def spent(self, protected: Tensor, original: Tensor) -> float:
        """The distance of two (C,H,W) uint8 photos."""

    def excess(self, spent: float, tolerance: float = 0.0) -> str | None:
        """A sentence where the limit is passed by more than a tolerance."""


@dataclass(frozen=True)
class L2:
    """Euclidean norm of the change, at most."""

    limit: float
    name: ClassVar[str] = "l2"
    definition: ClassVar[str] = "Euclidean norm of the change over all channels and pixels, in pixels of [0, 1]"

    def scale(self, delta: Tensor, original: Tensor) -> float:  # noqa: ARG002
        """In closed form: limit / norm."""
        norm = float(delta.norm())
        return min(1.0, self.limit / norm) if norm else 1.0

    def along(self, delta: Tensor, original: Tensor) -> Callable[[float], float]:  # noqa: ARG002
        """share * norm."""
        norm = float(delta.norm())
        return lambda share: share * norm

    def spent(self, protected: Tensor, original: Tensor) -> float:
        """The norm."""
        return math.sqrt(int((protected.int() - original.int()).square().sum())) / 255

    def excess(self, spent: float, tolerance: float = 0.0) -> str | None:
        """See `Bound`."""
        inside = spent <= self.limit + tolerance
        return None if inside else f"its change has l2 norm {spent:.4f}, more than {self.limit:g}"


@dataclass(frozen=True)
class Psnr:
    """Peak signal-to-noise ratio, at least: an l2 ball whose radius grows with the photo."""

    limit: float
    name: ClassVar[str] = "psnr"
    definition: ClassVar[str] = "10 log10(1 / mean squared change over all channels and pixels of [0, 1]), in dB"

    def scale(self, delta: Tensor, original: Tensor) -> float:
        """That of the l2 ball of the same photo."""
        return L2(10 ** (-self.limit / 20) * math.sqrt(delta.numel())).scale(delta, original)

    def along(self, delta: Tensor, original: Tensor) -> Callable[[float], float]:  # noqa: ARG002
        """In closed form, in dB."""
        size = math.sqrt(float(delta.square().mean()))
        return lambda share: -20 * math.log10(share * size) if share * size else math.inf

    def spent(self, protected: Tensor, original: Tensor) -> float:
        """In dB; infinite where nothing changed."""
        found = distortion.psnr(protected, original)
        return math.inf if found is None else found

    def excess(self, spent: float, tolerance: float = 0.0) -> str | None:
        """See `Bound`."""
        inside = spent >= self.limit - tolerance
        return None if inside else f"its PSNR is {spent:.3f} dB, less than {self.limit:g}"


@dataclass(frozen=True)
class Ssim:
    """Structural similarity, at least; see `distortion.SSIM_DEFINITION`."""

    limit: float
    name: ClassVar[str] = "ssim"
    definition: ClassVar[dict[str, object]] = distortion.SSIM_DEFINITION

    def scale(self, delta: Tensor, original: Tensor) -> float:
        """By bisection; all local moments of original + s delta are polynomials in s, so that it filters but once."""
        similarity = self.along(delta, original)
        return largest_share(lambda share: similarity(share) >= self.limit, halvings=10)

    def along(self, delta: Tensor, original: Tensor) -> Callable[[float], float]:
        """Wang et al., TIP 2004, eq. 13."""
        # one channel at a time, as in `distortion.ssim`
        planes = [_plane_along(*pair) for pair in zip(delta, original, strict=True)]
        return lambda share: fmean(similarity(share) for similarity in planes)

    def spent(self, protected: Tensor, original: Tensor) -> float:
        """The similarity."""
        return distortion.ssim(protected, original)

    def excess(self, spent: float, tolerance: float = 0.0) -> str | None:
        """See `Bound`."""
        inside = spent >= self.limit - tolerance
        return None if inside else f"its SSIM is {spent:.5f}, less than {self.limit:g}"


@dataclass(frozen=True)
class Lpips:
    """LPIPS, at most; see `perceptual`."""

    limit: float
    name: ClassVar[str] = "lpips"

    @property
    def definition(self) -> str:
        """With the package's version, which is known where it is installed alone."""
        return f"{perceptual.DEFINITION}, lpips {version('lpips')}"

    def scale(self, delta: Tensor, original: Tensor) -> float:
        """By bisection, a look of the network each time."""
        distance = self.along(delta, original)
        return largest_share(lambda share: distance(share) <= self.limit, halvings=6)

    def along(self, delta: Tensor, original: Tensor) -> Callable[[float], float]:
        """A look of the network each time."""
        distance = perceptual.distance_from(original)
        return lambda share: distance(original + share * delta)

    def spent(self, protected: Tensor, original: Tensor) -> float:
        """The distance."""
        return perceptual.distance_from(original.float() / 255)(protected.float() / 255)

    def excess(self, spent: float, tolerance: float = 0.0) -> str | None:
        """See `Bound`."""
        inside = spent <= self.limit + tolerance
        return None if inside else f"its LPIPS is {spent:.5f}, more than {self.limit:g}"


def largest_share(fits: Callable[[float], bool], *, halvings: int) -> float:
    """The largest share of 0 to 1 that fits, to 2^-halvings, always one that fits; 0 is taken to fit unasked."""
    if fits(1.0):
        return 1.0
    inside, outside = 0.0, 1.0
    for _ in range(halvings):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if fits(middle) else (inside, middle)
    return inside


def _plane_along(delta: Tensor, original: Tensor) -> Callable[[float], float]:
    """SSIM of one (H,W) channel x and x + s delta as a function of s."""
    inside = distortion.SSIM_WINDOW // 2

    def local_mean(plane: Tensor) -> Tensor:
        return gaussian(plane[None, None], distortion.SSIM_SIGMA)[0, 0, inside:-inside, inside:-inside]

    mean, drift = local_mean(original), local_mean(delta)
    variance = local_mean(original.square()) - mean.square()
    together = local_mean(original * delta) - mean * drift
    added = local_mean(delta.square()) - drift.square()
    c1, c2 = 0.01**2, 0.03**2

    def similarity(share: float) -> float:
        moved = mean + share * drift
        covariance = variance + share * together
        spread = variance + 2 * share * together + share**2 * added
        above = (2 * mean * moved + c1) * (2 * covariance + c2)
        below = (mean.square() + moved.square() + c1) * (variance + spread + c2)
        return float((above / below).mean())

    return similarity
