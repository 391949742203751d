"""Defenses of a gradient, which a client applies before it sends it, and their imitation by an informed adversary."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.evaluate.audits.gradients.client_gradient import Gradient, flatten_gradient
from onlymymodel.evaluate.audits.options import NO_DEFENSE


class Defense(Protocol):
    """A change of a gradient before it is sent."""

    @property
    def name(self) -> str: ...

    def release(self, gradient: Gradient, generator: Generator) -> Gradient:
        """Return the gradient that is sent; noise comes from the generator, on the CPU."""
        ...

    def imitate(self, gradient: Gradient, sent: Sequence[Tensor]) -> Gradient:
        """Apply to a candidate's gradient what an adversary can who knows the defense and what was sent.

        Differentiable by the gradient.
        """
        ...


def _add_noise(gradient: Gradient, deviation: Tensor | float, generator: Generator) -> Gradient:
    """Add Gaussian noise of one standard deviation to every entry."""
    return tuple(
        part + deviation * torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)
        for part in gradient
    )


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of standard deviation `share` * ||g|| / sqrt(number of entries), the same for every entry.

    The norm of the noise is about `share` of the gradient's own, so that a setting means the same for every picture.
    This is not differential privacy, for which the scale must not depend on the picture.
    """

    share: float

    @property
    def name(self) -> str:
        return f"noise:{self.share:g}"

    def release(self, gradient: Gradient, generator: Generator) -> Gradient:
        flat = flatten_gradient(gradient)
        return _add_noise(gradient, self.share * flat.norm() / flat.numel() ** 0.5, generator)

    def imitate(self, gradient: Gradient, sent: Sequence[Tensor]) -> Gradient:  # noqa: ARG002
        return gradient


@dataclass(frozen=True)
class Clip:
    """Scaling to a norm of at most `norm`, over all parameters together (Abadi et al., CCS 2016, without the noise)."""

    norm: float

    @property
    def name(self) -> str:
        return f"clip:{self.norm:g}"

    def release(self, gradient: Gradient, generator: Generator) -> Gradient:  # noqa: ARG002
        return self.imitate(gradient, gradient)

    def imitate(self, gradient: Gradient, sent: Sequence[Tensor]) -> Gradient:  # noqa: ARG002
        norm = flatten_gradient(gradient).norm()
        scale = self.norm / norm if norm > self.norm else torch.ones_like(norm)
        return tuple(part * scale for part in gradient)


@dataclass(frozen=True)
class GaussianMechanism:
    """Gaussian noise of standard deviation `multiplier` * `norm` on every entry, where `norm` bounds the gradient.

    After clipping to `norm` this is the Gaussian mechanism of differential privacy (Abadi et al., CCS 2016), for what
    is clipped as a whole: one picture in batches of one, otherwise one client's batch.
    """

    multiplier: float
    norm: float

    @property
    def name(self) -> str:
        return f"dp:{self.multiplier:g}"

    def release(self, gradient: Gradient, generator: Generator) -> Gradient:
        return _add_noise(gradient, self.multiplier * self.norm, generator)

    def imitate(self, gradient: Gradient, sent: Sequence[Tensor]) -> Gradient:  # noqa: ARG002
        return gradient


@dataclass(frozen=True)
class TopK:
    """Sparsification to the `share` of all entries with the largest magnitude, at least one; the others become 0.

    An adversary sees which entries were dropped, and compares only the others.
    """

    share: float

    @property
    def name(self) -> str:
        return f"topk:{self.share:g}"

    def release(self, gradient: Gradient, generator: Generator) -> Gradient:  # noqa: ARG002
        flat = flatten_gradient(gradient)
        kept = flat.abs().topk(max(1, round(self.share * flat.numel()))).indices
        sparse = torch.zeros_like(flat).index_copy(0, kept, flat[kept])
        parts = torch.split(sparse, [part.numel() for part in gradient])
        return tuple(part.view_as(like) for part, like in zip(parts, gradient, strict=True))

    def imitate(self, gradient: Gradient, sent: Sequence[Tensor]) -> Gradient:
        return tuple(part * (sent_part != 0) for part, sent_part in zip(gradient, sent, strict=True))


@dataclass(frozen=True)
class Chain:
    """Several defenses, applied in order; no defense if it is empty."""

    links: tuple[Defense, ...] = ()

    @property
    def name(self) -> str:
        return "+".join(link.name for link in self.links) or NO_DEFENSE

    def release(self, gradient: Gradient, generator: Generator) -> Gradient:
        for link in self.links:
            gradient = link.release(gradient, generator)
        return gradient

    @property
    def multiplier(self) -> float | None:
        """The noise multiplier of a Gaussian mechanism; None without one. What follows it cannot weaken it."""
        return next((link.multiplier for link in self.links if isinstance(link, GaussianMechanism)), None)

    def noise_deviation(self, norm: float, entries: int) -> float | None:
        """Return the deviation of the noise on each entry of a gradient, as if it were added before the clipping.

        None without noise, or if entries are dropped. Noise that is added before clipping is clipped with the gradient;
        its own share of the norm is left out.

        Args:
            norm: norm of the gradient.
            entries: number of its entries.
        """
        scale, variance = 1.0, 0.0
        for link in self.links:
            if isinstance(link, TopK):
                return None
            if isinstance(link, Clip):
                factor = min(1.0, link.norm / (norm * scale))
                scale, variance = scale * factor, variance * factor**2
            if isinstance(link, GaussianMechanism):
                variance += (link.multiplier * link.norm) ** 2
            if isinstance(link, Noise):
                variance += (link.share * norm * scale) ** 2 / entries
        return variance**0.5 / scale if variance else None

    def imitate(self, gradient: Gradient, sent: Sequence[Tensor]) -> Gradient:
        for link in self.links:
            gradient = link.imitate(gradient, sent)
        return gradient


NONE = Chain()

DEFENSES: dict[str, tuple[Callable[[float], Defense], float]] = {  # with the largest valid value
    "noise": (Noise, float("inf")),
    "clip": (Clip, float("inf")),
    "topk": (TopK, 1.0),
    "dp": (lambda multiplier: GaussianMechanism(multiplier, 1.0), float("inf")),  # the norm is that of the clipping
}
DP = "dp"


def parse_defense(text: str) -> Chain:
    """Return the defense of a text: `none`, `noise:SHARE`, `clip:NORM`, `topk:SHARE`, or several joined with `+`.

    Several defenses are applied in the order in which they are written; `dp:MULTIPLIER` comes right after `clip:NORM`.

    Raises:
        UserError: an unknown defense, an invalid value, or `dp` without the norm that it needs.
    """
    if text == NO_DEFENSE:
        return NONE
    links: list[Defense] = []
    for part in text.split("+"):
        links.append(_parse_link(part, links[-1] if links else None))
    return Chain(tuple(links))


def _parse_link(text: str, previous: Defense | None) -> Defense:
    kind, _, number = text.partition(":")
    if kind == DP and not isinstance(previous, Clip):
        raise UserError(f"defense {text!r} needs a norm right before it, such as clip:1+dp:1")
    if kind not in DEFENSES:
        raise UserError(f"unknown defense of gradients {kind!r}{did_you_mean(kind, [*DEFENSES, NO_DEFENSE])}")
    make, upper_bound = DEFENSES[kind]
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not 0 < value <= upper_bound or value == float("inf"):
        limit = "" if upper_bound > 1 else ", at most 1"
        raise UserError(f"defense {text!r} needs a number above 0{limit}, such as {kind}:0.1")
    return GaussianMechanism(value, previous.norm) if isinstance(previous, Clip) and kind == DP else make(value)
