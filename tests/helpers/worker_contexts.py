"""Contexts that worker processes make; `make_...(device)` are pickled by their names."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import torch
from hostile import CONTEXT
from torch import Tensor
from toys import Linear, classifier, linear, theirs

from onlymymodel.errors import UserError
from onlymymodel.protect.context import Context

POISON = 250  # gray value of a photo that ends the process of the model that sees it


class _Poisoned(Linear):
    def forward(self, pixels: Tensor) -> Tensor:
        if bool((pixels.amin((1, 2, 3)) > 0.9).any()):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(pixels)


def make(device: str) -> Context:  # noqa: ARG001
    """The context of `hostile.protect`."""
    return CONTEXT


def make_poisoned(device: str) -> Context:  # noqa: ARG001
    """A context whose surrogate is `theirs`, and dies of a bright photo."""
    net = theirs().net
    assert isinstance(net, Linear)
    poisoned = classifier(_Poisoned(net.weights.data, net.bias.data), 3, "poisoned")
    return replace(CONTEXT, surrogates=(poisoned,))


def make_other(device: str) -> Context:  # noqa: ARG001
    """A context with another surrogate."""
    return replace(CONTEXT, surrogates=(linear(seed=99, classes=3, scale=0.1),))


def make_none(device: str) -> Context:
    """Fail as a model does that cannot be loaded."""
    raise UserError(f"there is no model on {device}")


def make_broken(device: str) -> Context:  # noqa: ARG001
    """Fail on every photo."""

    class Broken(Linear):
        def forward(self, pixels: Tensor) -> Tensor:
            raise RuntimeError(f"a bug, whatever the {len(pixels)} photos")

    return replace(CONTEXT, surrogates=(classifier(Broken(torch.zeros(3, 768), torch.zeros(3)), 3, "broken"),))


def make_busy(device: str) -> Context:  # noqa: ARG001
    """Print the process's id, and compute for ten minutes."""
    print(os.getpid(), flush=True)
    time.sleep(600)
    return CONTEXT


def make_dead(device: str) -> Context:  # noqa: ARG001
    """Die while the models are loaded."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def make_imprecise(device: str) -> Context:  # noqa: ARG001
    """The context of `hostile.protect` on a machine that computes other last bits."""
    net = theirs().net
    assert isinstance(net, Linear)
    weights = net.weights.data * (1 + 2**-20)
    return replace(CONTEXT, surrogates=(classifier(Linear(weights, net.bias.data), 3, theirs().card.uri),))


def context_named(name: str, device: str) -> Context:
    """The context of `make_NAME`, for executors that take texts; `once:FILE` and `slow` have contexts of their own."""
    kind, _, place = name.partition(":")
    if kind in ("once", "slow"):
        net = theirs().net
        assert isinstance(net, Linear)
        network = _DyingOnce(net, Path(place)) if kind == "once" else _Slow(net.weights.data, net.bias.data)
        return replace(CONTEXT, surrogates=(classifier(network, 3, theirs().card.uri),))
    if name == "usual":
        return CONTEXT
    context: Context = globals()[f"make_{name}"](device)
    return context


class _Slow(Linear):
    def forward(self, pixels: Tensor) -> Tensor:
        time.sleep(0.1)
        return super().forward(pixels)


class _DyingOnce(Linear):
    """Kills its process on the second photo, if no process has done so before."""

    def __init__(self, net: Linear, marker: Path) -> None:
        super().__init__(net.weights.data, net.bias.data)
        self.marker, self.seen = marker, 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen += 1
        if self.seen > 6 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(pixels)
