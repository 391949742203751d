"""Bounds on the distance of a whole photo from its original: l2, PSNR, SSIM, FLIP, LPIPS.

A bound measures the distance of two photos and shrinks a change until it is inside. It shrinks the change as a whole,
so that the change stays inside every other bound.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pkgutil import resolve_name
from typing import ClassVar, Self

import torch
from torch import Tensor

from onlymymodel.data.pixels import as_floats
from onlymymodel.protect.budget import distortion, flip, ssim
from onlymymodel.protect.budget import lpips as perceptual
from onlymymodel.protect.budget.kinds import BOUNDS


@dataclass(frozen=True)
class Bound(ABC):
    """A limit on the distance of two photos, measured on their 8-bit pixels at their own size.

    A new bound derives from this class and has a row in `kinds.BOUNDS`.

    Args:
        limit: in the unit of the definition.

    Attributes:
        name: key of its row in `BOUNDS`.
        min_side: height and width in pixels of the smallest photo that it can measure.
        halvings: steps of the bisection by which a change is shrunk.
    """

    limit: float
    name: ClassVar[str]
    min_side: ClassVar[int] = 1
    halvings: ClassVar[int] = 10

    @property
    @abstractmethod
    def definition(self) -> object:
        """Definition of the distance, as a JSON value."""

    @abstractmethod
    def distance(self, protected: Tensor, original: Tensor) -> float:
        """Return the distance of two (C,H,W) uint8 photos."""

    @abstractmethod
    def distance_along(self, delta: Tensor, original: Tensor) -> Callable[[float], float]:
        """Return the distance of `original` and `original + scale * delta` as a function of scale.

        Args:
            delta: (C,H,W) change.
            original: (C,H,W) photo in [0,1], or uint8.
        """

    def prepared(self, original: Tensor) -> Self:  # noqa: ARG002 - most bounds compute little of the photo alone
        """Return a bound that has computed what it needs of a photo, for many changes of this photo alone.

        Args:
            original: (C,H,W) photo in [0,1].
        """
        return self

    def max_scale(self, delta: Tensor, original: Tensor) -> float:
        """Return the largest factor from 0 to 1 by which delta may be multiplied so that the photo stays inside.

        By bisection; a bound with a closed form overrides this.

        Args:
            delta: (C,H,W) change.
            original: (C,H,W) photo in [0,1], or uint8.
        """
        distance = self.distance_along(delta, original)
        return max_fitting_scale(lambda scale: self.admits(distance(scale)), halvings=self.halvings)

    def admits(self, distance: float, tolerance: float = 0.0) -> bool:
        """Return whether a distance is inside the limit, or outside by no more than a tolerance."""
        if BOUNDS[self.name].at_least:
            return distance >= self.limit - tolerance
        return distance <= self.limit + tolerance

    def violation(self, distance: float, tolerance: float = 0.0) -> str | None:
        """Return a sentence about a distance that `admits` refuses, else None."""
        if self.admits(distance, tolerance):
            return None
        kind = BOUNDS[self.name]
        measured, limit = kind.violation.format(kind.written(distance)), kind.written(self.limit)
        return f"{measured}, {'less' if kind.at_least else 'more'} than {limit:g}"

    def check_available(self) -> None:  # noqa: B027 - most bounds need nothing
        """Raise UserError if what the bound needs is not installed."""


def bound_class(name: str) -> type[Bound]:
    """Import the class of a bound that `kinds.BOUNDS` lists."""
    reference = BOUNDS[name].bound
    assert reference is not None
    bound: type[Bound] = resolve_name(reference)
    return bound


@dataclass(frozen=True)
class L2(Bound):
    """Largest Euclidean norm of the change."""

    name: ClassVar[str] = "l2"

    @property
    def definition(self) -> str:
        """See `Bound`."""
        return "Euclidean norm of the change over all channels and pixels, in pixels of [0, 1]"

    def distance(self, protected: Tensor, original: Tensor) -> float:
        """Return the norm of the change."""
        return math.sqrt(distortion.squared_change(protected, original)) / 255

    def distance_along(self, delta: Tensor, original: Tensor) -> Callable[[float], float]:  # noqa: ARG002
        """Return scale * norm."""
        norm = float(delta.norm())
        return lambda scale: scale * norm

    def max_scale(self, delta: Tensor, original: Tensor) -> float:  # noqa: ARG002
        """Return limit / norm."""
        norm = float(delta.norm())
        return min(1.0, self.limit / norm) if norm else 1.0


@dataclass(frozen=True)
class Psnr(Bound):
    """Least peak signal-to-noise ratio: an l2 ball whose radius grows with the size of the photo."""

    name: ClassVar[str] = "psnr"

    @property
    def definition(self) -> str:
        """See `Bound`."""
        return "10 log10(1 / mean squared change over all channels and pixels of [0, 1]), in dB"

    def distance(self, protected: Tensor, original: Tensor) -> float:
        """Return the ratio in dB; infinite where nothing changed."""
        ratio = distortion.psnr(protected, original)
        return math.inf if ratio is None else ratio

    def distance_along(self, delta: Tensor, original: Tensor) -> Callable[[float], float]:  # noqa: ARG002
        """Return the ratio in closed form, in dB."""
        size = math.sqrt(float(delta.square().mean()))
        return lambda scale: -20 * math.log10(scale * size) if scale * size else math.inf

    def max_scale(self, delta: Tensor, original: Tensor) -> float:
        """Return that of the l2 ball of the same photo."""
        return L2(10 ** (-self.limit / 20) * math.sqrt(delta.numel())).max_scale(delta, original)


@dataclass(frozen=True)
class Ssim(Bound):
    """Least structural similarity; see `distortion.SSIM_DEFINITION`.

    Args:
        moments: of the photo for which the bound is `prepared`.
    """

    moments: ssim.Reference | None = field(default=None, repr=False, compare=False)
    name: ClassVar[str] = "ssim"

    @property
    def definition(self) -> dict[str, object]:
        """See `Bound`."""
        return distortion.SSIM_DEFINITION

    def distance(self, protected: Tensor, original: Tensor) -> float:
        """Return the similarity."""
        return distortion.ssim(protected, original)

    def distance_along(self, delta: Tensor, original: Tensor) -> Callable[[float], float]:
        """See `ssim.similarity_along`."""
        return ssim.similarity_along(delta, self.moments or ssim.Reference(original))

    def prepared(self, original: Tensor) -> Self:
        """See `Bound`."""
        return replace(self, moments=ssim.Reference(original))

    def max_scale(self, delta: Tensor, original: Tensor) -> float:
        """Return what the bisection finds, in fewer measurements: what is lost grows about as the square of the scale.

        See `Bound`.
        """
        similarity = self.distance_along(delta, original)
        return largest_fitting_step(lambda scale: 1 - similarity(scale), 1 - self.limit, 1 << self.halvings)


@dataclass(frozen=True)
class Flip(Bound):
    """Largest FLIP; see `onlymymodel.protect.budget.flip`.

    Args:
        measure: measures the distance from the photo for which the bound is `prepared`, see `flip.distance_from`.
    """

    measure: Callable[[Tensor, float], float] | None = field(default=None, repr=False, compare=False)
    name: ClassVar[str] = "flip"
    halvings: ClassVar[int] = 6
    power: ClassVar[float] = 0.8  # FLIP grows about as this power of the change
    close: ClassVar[float] = 0.98  # fraction of the limit that is close enough to it

    @property
    def definition(self) -> str:
        """See `Bound`."""
        return flip.DEFINITION

    def distance(self, protected: Tensor, original: Tensor) -> float:
        """Return the FLIP of the two photos."""
        return flip.flip(original, protected)

    def distance_along(self, delta: Tensor, original: Tensor) -> Callable[[float], float]:
        """See `Bound`; each call filters the photo again."""
        distance = self.measure or flip.distance_from(original)
        return lambda scale: distance(delta, scale)

    def prepared(self, original: Tensor) -> Self:
        """See `Bound`."""
        return replace(self, measure=flip.distance_from(original))

    def max_scale(self, delta: Tensor, original: Tensor) -> float:
        """Return a factor at which FLIP is close to the limit, found from the power by which it grows.

        This takes two or three measurements, where a bisection takes ten.
        """
        distance = self.distance_along(delta, original)
        inside, outside, guess = 0.0, 1.0, 1.0
        for _ in range(self.halvings):
            measured = distance(guess)
            if self.admits(measured):
                inside = guess
                if guess == 1.0 or measured >= self.close * self.limit:
                    break
            else:
                outside = guess
            aim = (self.close + 1) / 2 * self.limit
            guess *= (aim / measured) ** (1 / self.power) if measured else 1.0
            if not inside < guess < outside:
                guess = (inside + outside) / 2
        return inside


@dataclass(frozen=True)
class Lpips(Bound):
    """Largest LPIPS; see `onlymymodel.protect.budget.lpips`."""

    name: ClassVar[str] = "lpips"
    min_side: ClassVar[int] = perceptual.MIN_SIDE
    halvings: ClassVar[int] = 6  # each step is a forward pass of the network

    @property
    def definition(self) -> str:
        """See `Bound`; with the version of the package, which is known only where it is installed."""
        return f"{perceptual.DEFINITION}, lpips {version('lpips')}"

    def distance(self, protected: Tensor, original: Tensor) -> float:
        """Return the LPIPS of the two photos."""
        return perceptual.distance_from(as_floats(original))(as_floats(protected))

    def distance_along(self, delta: Tensor, original: Tensor) -> Callable[[float], float]:
        """See `Bound`; each call is a forward pass of the network."""
        original = as_floats(original)
        distance = perceptual.distance_from(original)
        return lambda scale: distance(original + scale * delta)

    def check_available(self) -> None:
        """Raise UserError if the extra or AlexNet's weights are missing."""
        photo = torch.zeros(3, self.min_side, self.min_side)
        perceptual.distance_from(photo)(photo)


def max_fitting_scale(fits: Callable[[float], bool], *, halvings: int) -> float:
    """Return the largest factor from 0 to 1 that fits, found by bisection.

    Args:
        fits: whether a factor fits; monotone. 0 is taken to fit without a call.
        halvings: steps of the bisection; the result fits and is within 2^-halvings of the largest factor.
    """
    if fits(1.0):
        return 1.0
    inside, outside = 0.0, 1.0
    for _ in range(halvings):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if fits(middle) else (inside, middle)
    return inside


def largest_fitting_step(loss: Callable[[float], float], limit: float, steps: int) -> float:
    """Return the largest of the factors 1/steps, 2/steps, ..., 1 at which a loss is within a limit; 0 if none is.

    Args:
        loss: grows with the factor, about as its square.
        limit: of the loss.
        steps: number of factors.
    """
    inside, outside, power, guesses = 0, steps, 2.0, 4
    measured = loss(1.0)
    if measured <= limit:
        return 1.0
    at, guess = 1.0, (limit / measured) ** (1 / power) if measured > 0 else 0.0
    while outside - inside > 1:
        # guesses that do not close in are followed by a bisection
        step = min(max(int(guess * steps), inside + 1), outside - 1) if guesses > 0 else (inside + outside) // 2
        guesses -= 1
        before, at, previous = measured, step / steps, at
        measured = loss(at)
        inside, outside = (step, outside) if measured <= limit else (inside, step)
        if measured > 0 and before > 0 and at != previous and measured != before:
            power = math.log(measured / before) / math.log(at / previous)
        if measured > 0 and limit > 0 and power > 0:
            guess = at * (limit / measured) ** (1 / power)
    return inside / steps
