"""What a client may do to its gradient before it sends it, and what an adversary who knows of it does in turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.client_gradient import Gradient, flat
from onlymymodel.surrogates.uri import did_you_mean


class Defense(Protocol):
    """A change of a gradient."""

    @property
    def name(self) -> str: ...

    def release(self, gradient: Gradient, generator: Generator) -> Gradient:
        """The gradient that is sent; noise from a generator on the CPU."""
        ...

    def imitate(self, gradient: Gradient, sent: Sequence[Tensor]) -> Gradient:
        """As much of it as an adversary can do to a candidate's gradient, who knows the defence and what was sent;
        differentiable."""
        ...


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of standard deviation `share` * ||g|| / sqrt(number of entries), the same for every entry.

    Its norm is then about `share` of the gradient's own, so that one setting means the same for every picture. It is no
    differential privacy: for that the scale must not depend on the picture.
    """

    share: float

    @property
    def name(self) -> str:
        return f"noise:{self.share:g}"

    def release(self, gradient: Gradient, generator: Generator) -> Gradient:
        whole = flat(gradient)
        deviation = self.share * whole.norm() / whole.numel() ** 0.5
        return tuple(
            part + deviation * torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)
            for part in gradient
        )

    def imitate(self, gradient: Gradient, sent: Sequence[Tensor]) -> Gradient:  # noqa: ARG002
        return gradient


@dataclass(frozen=True)
class Clip:
    """Scaled down to a norm of at most `norm`, all parameters together (Abadi et al., CCS 2016, without the noise)."""

    norm: float

    @property
    def name(self) -> str:
        return f"clip:{self.norm:g}"

    def release(self, gradient: Gradient, generator: Generator) -> Gradient:  # noqa: ARG002
        return self.imitate(gradient, gradient)

    def imitate(self, gradient: Gradient, sent: Sequence[Tensor]) -> Gradient:  # noqa: ARG002
        size = flat(gradient).norm()
        scale = self.norm / size if size > self.norm else torch.ones_like(size)
        return tuple(part * scale for part in gradient)


@dataclass(frozen=True)
class TopK:
    """Only the `share` of all entries that is largest in magnitude, at least one; the others are 0.

    What was dropped is plain to see, so that an adversary compares the other entries only.
    """

    share: float

    @property
    def name(self) -> str:
        return f"topk:{self.share:g}"

    def release(self, gradient: Gradient, generator: Generator) -> Gradient:  # noqa: ARG002
        whole = flat(gradient)
        kept = whole.abs().topk(max(1, round(self.share * whole.numel()))).indices
        sparse = torch.zeros_like(whole).index_copy(0, kept, whole[kept])
        parts = torch.split(sparse, [part.numel() for part in gradient])
        return tuple(part.view_as(like) for part, like in zip(parts, gradient, strict=True))

    def imitate(self, gradient: Gradient, sent: Sequence[Tensor]) -> Gradient:
        return tuple(part * (its != 0) for part, its in zip(gradient, sent, strict=True))


@dataclass(frozen=True)
class Chain:
    """Defences one after the other; `none` without any."""

    links: tuple[Defense, ...] = ()

    @property
    def name(self) -> str:
        return "+".join(link.name for link in self.links) or "none"

    def release(self, gradient: Gradient, generator: Generator) -> Gradient:
        for link in self.links:
            gradient = link.release(gradient, generator)
        return gradient

    def imitate(self, gradient: Gradient, sent: Sequence[Tensor]) -> Gradient:
        for link in self.links:
            gradient = link.imitate(gradient, sent)
        return gradient


NONE = Chain()

DEFENSES: dict[str, tuple[Callable[[float], Defense], float]] = {  # with the largest value that means something
    "noise": (Noise, float("inf")),
    "clip": (Clip, float("inf")),
    "topk": (TopK, 1.0),
}


def parse_defense(text: str) -> Chain:
    """`none`, `noise:SHARE`, `clip:NORM`, `topk:SHARE`, or several joined with `+`, done in that order.

    Raises:
        UserError: no such defence, or a value that is none.
    """
    return NONE if text == "none" else Chain(tuple(_parse_link(part) for part in text.split("+")))


def _parse_link(text: str) -> Defense:
    kind, _, number = text.partition(":")
    if kind not in DEFENSES:
        raise UserError(f"no defence of gradients is called {kind!r}{did_you_mean(kind, [*DEFENSES, 'none'])}")
    make, most = DEFENSES[kind]
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not 0 < value <= most or value == float("inf"):
        raise UserError(f"defence {text!r} needs a number above 0{'' if most > 1 else ', at most 1'}, as {kind}:0.1")
    return make(value)
