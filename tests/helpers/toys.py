"""Small models whose behavior is known in closed form, for tests that need no trained weights."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onlymymodel.data.portraits import render
from onlymymodel.surrogates.black_box import CallableBlackBox
from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess

SIZE = 16
PLAIN = Preprocess(height=SIZE, width=SIZE, fit="squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def classifier(net: nn.Module, classes: int, name: str, task: str = "toy") -> Classifier:
    """Wrap a network that takes (B,3,16,16) pixels as they are."""
    return Classifier(net, ModelCard(name, sha256=name, classes=classes, preprocess=PLAIN, task=task))


class Linear(nn.Module):
    """logits = pixels . weights + bias; weights (classes, 3*16*16)."""

    def __init__(self, weights: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(weights), nn.Parameter(bias)

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.flatten(1) @ self.weights.T + self.bias


def linear(seed: int, classes: int = 2, scale: float = 1.0, name: str | None = None) -> Classifier:
    """A random linear classifier that answers about evenly around mid-gray."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(classes, 3 * SIZE * SIZE, generator=generator) * scale
    return classifier(Linear(weights, -weights.sum(1) / 2), classes, name or f"linear-{seed}")


def small_cnn(seed: int, classes: int = 4, name: str | None = None) -> Classifier:
    """A random two-layer network with smooth activations."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.GELU(), nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.GELU(),
        nn.Flatten(), nn.Linear(12 * 16, classes),
    )  # fmt: skip
    return classifier(net, classes, name or f"cnn-{seed}")


def photos(count: int, seed: int = 0, channels: int = 3, size: int = SIZE) -> Tensor:
    """(count, channels, size, size) uint8 of middling values, so that a budget of 16 never meets black or white."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(40, 216, (count, channels, size, size), generator=generator, dtype=torch.uint8)


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    """One stream for each photo."""
    return [torch.Generator().manual_seed(seed * 1000 + row) for row in range(count)]


# portraits of 40 pixels that `mine` and `theirs` read alike, so that there is something to mislead; `others` too reads
# the second and the fourth
READ_SEEDS = (2, 6, 7, 40, 8, 11)


def read_portrait(index: int) -> NDArray[np.uint8]:
    """Return (40, 40, 3), one of the portraits that `mine` and `theirs` read alike."""
    seed = READ_SEEDS[index]
    return render(seed % 16, seed % 7, seed, 40)


def mine() -> Classifier:
    """The authorized model of the command line's tests, as `python:toys:mine`."""
    return linear(seed=11, classes=3, scale=0.1)


def theirs() -> Classifier:
    """A surrogate, as `python:toys:theirs`."""
    return linear(seed=12, classes=3, scale=0.1)


def others() -> Classifier:
    """A second surrogate, as `python:toys:others`."""
    return linear(seed=13, classes=3, scale=0.1)


def chatty() -> Classifier:
    """`theirs`, by a factory that prints, as `python:toys:chatty`."""
    print("hello from a factory")
    return theirs()


def features() -> nn.Module:
    """A network that gives six numbers, as `python:toys:features?task=embedding`."""
    return linear(seed=21, classes=6, scale=0.1).net


def choosy() -> Classifier:
    """`mine` with a further class that it gives no photo, as `python:toys:choosy`."""
    net = mine().net
    assert isinstance(net, Linear)
    weights = torch.cat([net.weights.data, torch.zeros_like(net.weights.data[:1])])
    return classifier(Linear(weights, torch.cat([net.bias.data, torch.tensor([-1000.0])])), 4, "choosy")


def bare() -> nn.Module:
    """The network of `mine` without any record of its preprocessing, as `python:toys:bare`."""
    return mine().net


def slow() -> Classifier:
    """A surrogate that takes its time, so that a test can interrupt it."""

    class Slow(Linear):
        def forward(self, pixels: Tensor) -> Tensor:
            time.sleep(0.02)
            return super().forward(pixels)

    quick = linear(seed=12, classes=3, scale=0.1)
    assert isinstance(quick.net, Linear)
    return classifier(Slow(quick.net.weights.data, quick.net.bias.data), 3, "slow")


@dataclass(frozen=True)
class BatchBlackBox:
    """A black box whose answers to a batch are those of a function of the batch's size, unchecked."""

    card: ModelCard
    answer: Callable[[int], Any]

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> Any:
        """Return the function's answer."""
        return self.answer(len(images))


def moody() -> CallableBlackBox:
    """A judge that fails once, on the first photo that it is asked about, as `python:toys:moody`."""
    asked: list[bool] = []

    def answer(image: NDArray[np.uint8]) -> int:
        asked.append(True)
        if len(asked) == 1:
            raise RuntimeError("the first question is too much for me")
        return int(image[0, 0, 0]) % 3

    return CallableBlackBox(answer, ModelCard("moody", sha256="moody", classes=3, preprocess=PLAIN, task="toy"))


def blind() -> nn.Module:
    """Gives NaN."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2), _Times(float("nan")))


class _Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Buffer(torch.tensor(factor))  # part of the hash of the weights

    def forward(self, values: Tensor) -> Tensor:
        return values * self.factor


class Smooth(nn.Module):
    """Class 0 where the left of the photo is brighter than its right."""

    def forward(self, pixels: Tensor) -> Tensor:
        score = (pixels[..., :8].mean((1, 2, 3)) - pixels[..., 8:].mean((1, 2, 3))) * 40
        return torch.stack([score, -score], dim=1)


class SmoothAndFragile(Smooth):
    """The same, and a checkerboard of single pixels counts for more: shifted by a pixel it is its opposite."""

    def forward(self, pixels: Tensor) -> Tensor:
        side = torch.arange(16)
        board = ((side[:, None] + side[None]) % 2 * 2.0 - 1).to(pixels)
        score = (pixels * board).mean((1, 2, 3)) * 100
        return super().forward(pixels) + torch.stack([score, -score], dim=1)


def left_is_brighter() -> Classifier:
    """Class 0 where the left of the photo is brighter than its right."""
    return classifier(Smooth(), 2, "left-is-brighter")


def fragile() -> Classifier:
    """The same where compression leaves no checkerboard, as `python:toys:fragile`."""
    return classifier(nn.Sequential(SmoothAndFragile(), _Times(1.0)), 2, "fragile")


def left_is_much_brighter() -> Classifier:
    """`left_is_brighter` with other weights, so that it may judge, as `python:toys:left_is_much_brighter`."""
    return classifier(nn.Sequential(Smooth(), _Times(2.0)), 2, "left-is-much-brighter")
