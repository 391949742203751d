"""Send a representation instead of the picture: one that serves a task and from which the picture is not drawn again.

After "Adversarial Learning of Privacy-Preserving and Task-Oriented Representations" (Xiao, Tsai, Sohn, Chandraker and
Yang, AAAI 2020). The full text was not at hand. Published idea: an encoder and a task head play against a decoder that
minimizes a pixel and a perceptual loss, and the encoder is paid for that loss by its negative. Our reading: the
decoder gets one step per step of the encoder, on the same pictures; the negative term is capped at what the mean
picture gets, divided by it, and raised from nothing once the task is learned (`RISE`). Two things are ours: noise on
the representation, see `RepresentationSettings.noise`, and a second adversary that cannot be outrun, since it is the
exact answer to every batch, see `best_linear`; what the better of the two gets of a picture counts.

The game says nothing about another decoder. `onlymymodel.evaluate.audits.representation` trains new ones and judges.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from tqdm import tqdm

from onlymymodel.errors import UserError
from onlymymodel.protect.representation_networks import Decoder, Encoder, Features, task_head

PERCEPTUAL = 1.0  # weight of the perceptual loss beside the mean squared error
PENALTY = 0.1  # of the regression of `best_linear`, times the dimension
RISE = (0.3, 0.6)  # share of the steps before which the weight is 0, and after which it is in full
ALIKE = 1e-8  # loss of the mean picture below which all pictures are one
LAST = 20  # steps over which the last loss of the adversary is averaged


@dataclass(frozen=True)
class RepresentationSettings:
    """How a defence is trained.

    Attributes:
        weight: lambda, what hiding the picture counts beside the task's cross-entropy; 0 is no defence.
        noise: standard deviation of the Gaussian noise that the sender adds to each number of a representation, in
            training and in use. Representations have variance 1, so 1 is as much noise as signal. Without noise what
            is made small is still there for whoever enlarges it; with noise it drowns.
        best_linear: whether the second adversary plays too; without it and without noise the game is the published one.
        steps: of the encoder, of the head and of the decoder each.
        seed: of the weights, of the order of the pictures and of the noise.
        dimension: of a representation, a multiple of 16.
        batch: pictures a step.
        rate: of Adam, for everybody.
    """

    weight: float = 1.0
    noise: float = 0.5
    best_linear: bool = True
    steps: int = 400
    seed: int = 0
    dimension: int = 128
    batch: int = 48
    rate: float = 2e-3

    def __post_init__(self) -> None:
        """Raises UserError: a value out of its range."""
        for name in ("weight", "noise"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UserError(f"the {name} of a representation defence is 0 or more, not {getattr(self, name)}")
        for name in ("steps", "batch", "dimension"):
            if getattr(self, name) < 1:
                raise UserError(f"a representation defence needs 1 or more for its {name}, not {getattr(self, name)}")
        if not 0 < self.rate <= 1:
            raise UserError(f"the rate of a representation defence is above 0 and at most 1, not {self.rate}")

    def to_json(self) -> dict[str, Any]:
        """All, as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Representation:
    """A trained defence, frozen and in eval mode.

    Attributes:
        encoder: pictures (B,channels,size,size) in [0,1] -> (B,dimension), without the noise; stays with the sender.
        head: (B,dimension) -> (B,classes) logits; on the side of whoever does the task.
        settings: how it was trained.
        channels, size, classes: of the pictures and of the task.
        cap: what the mean picture of the training loses: pixel and perceptual loss.
        adversary_loss: of the decoder of the training in the last steps, as a share of `cap`; None if not known.
    """

    encoder: nn.Module
    head: nn.Module
    settings: RepresentationSettings
    channels: int
    size: int
    classes: int
    cap: float
    adversary_loss: float | None = None

    @torch.no_grad()
    def release(self, pixels: Tensor, *, seed: int = 0) -> Tensor:
        """What leaves the sender: (N,channels,size,size) in [0,1] -> (N,dimension), with noise drawn from `seed`."""
        clean = torch.cat([self.encoder(part) for part in torch.split(pixels, 256)])
        return _noisy(clean, self.settings.noise, Generator().manual_seed(seed))

    @torch.no_grad()
    def read(self, released: Tensor) -> Tensor:
        """(N,dimension) -> (N,) classes."""
        classes: Tensor = self.head(released).argmax(1)
        return classes


def capped_loss(task: Tensor, reconstruction: Tensor, weight: float, cap: float) -> Tensor:
    """What the encoder minimizes: task - weight * mean(min(reconstruction, cap)) / cap, never below -weight.

    A decoder that is pushed off further than the mean picture would get earns the encoder nothing, so neither of the
    two can run away.

    Args:
        task: (), cross-entropy, 0 or more.
        reconstruction: (B,), loss of the decoder on each picture, 0 or more.
        cap: above 0.
    """
    return task - weight * (reconstruction.clamp(max=cap) / cap).mean()


def train_representation(
    pixels: Tensor,
    labels: Tensor,
    *,
    classes: int,
    settings: RepresentationSettings | None = None,
    features: Features | None = None,
    progress: bool = True,
) -> Representation:
    """Train encoder and task head against a decoder.

    Args:
        pixels: (N,C,S,S) in [0,1], C 1 or 3, pictures that may be known to all; S 8, 16, 32, 64, ...
        labels: (N,) long, the task, below `classes`.
        settings: `RepresentationSettings()` by default.
        features: of the perceptual loss; those of the bundled zoo:identity-plain by default.

    Raises:
        UserError: no pictures, labels that do not fit, pictures that are all alike, a size that is not taken, training
            that left the range of numbers.
    """
    settings, features = settings or RepresentationSettings(), features or Features()
    _check(pixels, labels, classes)
    cap = loss_of(pixels.mean(0, keepdim=True).expand_as(pixels), pixels, features).mean().item()
    if not cap > ALIKE:
        raise UserError("all pictures of the training are alike: there is nothing to hide")
    game = _Game(pixels.shape[1], pixels.shape[2], classes, settings, features, cap)
    generator, losses = Generator().manual_seed(settings.seed), []
    bar = tqdm(range(settings.steps), f"lambda {settings.weight:g}", unit="step", disable=None if progress else True)
    for step in bar:
        rows = torch.randperm(len(pixels), generator=generator)[: settings.batch]
        weight = settings.weight * _share(step / settings.steps)
        losses.append(game.step(pixels[rows], labels[rows], weight) / cap)
    last = sum(losses[-LAST:]) / len(losses[-LAST:])
    if not math.isfinite(last) or any(not value.isfinite().all() for value in game.encoder.parameters()):
        raise UserError("the training of the representation left the range of numbers: choose a smaller rate")
    for net in (game.encoder, game.head):
        net.eval().requires_grad_(False)
    return Representation(game.encoder, game.head, settings, pixels.shape[1], pixels.shape[2], classes, cap, last)


def _share(done: float) -> float:
    """Of the weight, by the share of the steps that are done: a task that is not learned first is given up."""
    start, end = RISE
    return min(max((done - start) / (end - start), 0.0), 1.0)


def loss_of(drawn: Tensor, pixels: Tensor, features: Features) -> Tensor:
    """(B,) what a decoder minimizes: mean squared error and perceptual loss of (B,C,S,S) batches in [0,1]."""
    squared: Tensor = (drawn - pixels).square().flatten(1).mean(1)
    return squared + PERCEPTUAL * features.distance(drawn, pixels)


def best_linear(released: Tensor, pixels: Tensor) -> Tensor:
    """(B,C,S,S) what ridge regression from representations to pictures draws of each when it knows all others.

    In closed form (leave-one-out residual: residual / (1 - leverage)), differentiable in `released`. The mean that is
    taken from the pictures first is that of all.

    Args:
        released: (B,dimension).
        pixels: (B,C,S,S).
    """
    gram = released @ released.T
    penalty = PENALTY * released.shape[1] * torch.eye(len(gram))
    hat = torch.linalg.solve(gram + penalty, gram)  # symmetric: both factors are functions of one matrix
    centered = (pixels - pixels.mean(0)).flatten(1)
    residual = (centered - hat @ centered) / (1 - hat.diagonal())[:, None]
    drawn: Tensor = pixels - residual.view_as(pixels)
    return drawn


class _Game:
    """Encoder and head on one side, decoder on the other, each with its own optimizer."""

    def __init__(
        self, channels: int, size: int, classes: int, settings: RepresentationSettings, features: Features, cap: float
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.encoder = Encoder(channels, size, settings.dimension)
            self.head = task_head(settings.dimension, classes)
            self.decoder = Decoder(channels, size, settings.dimension)
        self.features, self.cap, self.settings = features, cap, settings
        # a stream of its own: the order of the pictures does not depend on the noise
        self.generator = Generator().manual_seed(settings.seed + 1)
        senders = [*self.encoder.parameters(), *self.head.parameters()]
        self.sender = torch.optim.Adam(senders, settings.rate)
        self.adversary = torch.optim.Adam(self.decoder.parameters(), settings.rate)

    def step(self, pixels: Tensor, labels: Tensor, weight: float) -> float:
        """One step of the decoder, then one of encoder and head; returns the decoder's loss before its step."""
        released = _noisy(self.encoder(pixels), self.settings.noise, self.generator)
        loss = loss_of(self.decoder(released.detach()), pixels, self.features).mean()
        self.adversary.zero_grad()
        torch.autograd.backward(loss)
        self.adversary.step()
        task = F.cross_entropy(self.head(released), labels)
        drawn = loss_of(self.decoder(released), pixels, self.features)
        if self.settings.best_linear and weight > 0:
            drawn = torch.minimum(drawn, loss_of(best_linear(released, pixels), pixels, self.features))
        self.sender.zero_grad()
        torch.autograd.backward(capped_loss(task, drawn, weight, self.cap))
        self.sender.step()
        return loss.item()


def _noisy(representations: Tensor, noise: float, generator: Generator) -> Tensor:
    if noise == 0:
        return representations
    return representations + noise * torch.randn(representations.shape, generator=generator)


def _check(pixels: Tensor, labels: Tensor, classes: int) -> None:
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or pixels.shape[2] != pixels.shape[3]:
        raise UserError(f"a representation is of square gray or RGB pictures (N,C,S,S), not {tuple(pixels.shape)}")
    if len(labels) != len(pixels) or not len(labels):
        raise UserError(f"{len(pixels)} pictures have {len(labels)} labels: give one for each, and one picture or more")
    if not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        raise UserError(f"labels run from 0 to {classes - 1}, not from {int(labels.min())} to {int(labels.max())}")
