"""The representation defense: send a representation that serves a task and cannot be inverted to the picture.

After "Adversarial Learning of Privacy-Preserving and Task-Oriented Representations" (Xiao, Tsai, Sohn, Chandraker and
Yang, AAAI 2020). The full text was not available. Published idea: an encoder and a task head are trained against a
decoder that minimizes a pixel and a perceptual loss, and the encoder maximizes that loss. Our reading: the decoder gets
one step for each step of the encoder, on the same pictures; the negative term is capped at the loss of the mean
picture, divided by it, and increased from 0 once the task is learned (`WEIGHT_RAMP`). Two things are ours: noise on the
representation, see `RepresentationSettings.noise`, and a second adversary that is always optimal, since it is the
closed-form solution for every batch, see `leave_one_out_ridge`; the better of the two counts for each picture.

The training guarantees nothing against another decoder: `audit.py` in this folder trains new ones and evaluates.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.noise import noise_generator
from onlymymodel.evaluate.audits.options import RepresentationSettings
from onlymymodel.evaluate.audits.representation.networks import Decoder, Encoder, PerceptualFeatures, task_head
from onlymymodel.evaluate.audits.representation.task import Task
from onlymymodel.progress import track
from onlymymodel.surrogates.device_copy import to_device

PERCEPTUAL_WEIGHT = 1.0  # of the perceptual loss beside the mean squared error
RIDGE_PENALTY = 0.1  # of `leave_one_out_ridge`, times the dimension
WEIGHT_RAMP = (0.3, 0.6)  # share of the steps before which the weight is 0, and after which it is in full effect
MIN_CAP = 1e-8  # smaller losses of the mean picture mean that all pictures are equal
MakeEncoder = Callable[[], nn.Module]
AVERAGED_STEPS = 20  # last steps over which the loss of the adversary is averaged


@dataclass(frozen=True)
class Representation:
    """A trained defense, frozen and in eval mode.

    Attributes:
        encoder: pictures (B,channels,size,size) in [0,1] -> (B,dimension), without the noise; stays with the sender.
        head: (B,dimension) -> (B,classes) logits; on the receiver's side.
        settings: how it was trained.
        channels, size: of the pictures.
        task: what the head answers.
        cap: loss of the mean picture of the training, pixel and perceptual.
        adversary_loss: loss of the decoder in the last training steps, as a share of `cap`; None if unknown.
    """

    encoder: nn.Module
    head: nn.Module
    settings: RepresentationSettings
    channels: int
    size: int
    task: Task
    cap: float
    adversary_loss: float | None = None

    @property
    def device(self) -> torch.device:
        """Return the device on which encoder and head compute."""
        return next(self.head.parameters()).device

    @torch.no_grad()
    def release(self, pixels: Tensor, *, seed: int = 0) -> Tensor:
        """Return what leaves the sender: (N,channels,size,size) in [0,1] -> (N,dimension), with noise by `seed`.

        Both are on the CPU.
        """
        clean = torch.cat([self.encoder(part.to(self.device)).cpu() for part in torch.split(pixels, 256)])
        return _add_noise(clean, self.settings.noise, noise_generator(seed))

    @torch.no_grad()
    def classify(self, released: Tensor) -> Tensor:
        """Return the (N,) labels that the head reads in (N,dimension) representations, on the CPU."""
        return self.task.answers(self.head(released.to(self.device))).cpu()


def capped_loss(task: Tensor, reconstruction: Tensor, weight: float, cap: float) -> Tensor:
    """Return the loss of the encoder: task - weight * mean(min(reconstruction, cap)) / cap, never below -weight.

    A decoder that is worse than the mean picture brings the encoder no further gain, so that neither of the two
    diverges.

    Args:
        task: (), cross-entropy, 0 or more.
        reconstruction: (B,), loss of the decoder for each picture, 0 or more.
        weight: weight of hiding the pictures.
        cap: above 0.
    """
    return task - weight * (reconstruction.clamp(max=cap) / cap).mean()


def train_representation(
    pixels: Tensor,
    labels: Tensor,
    *,
    task: Task,
    settings: RepresentationSettings | None = None,
    features: PerceptualFeatures | None = None,
    make_encoder: MakeEncoder | None = None,
    device: torch.device | None = None,
    progress: bool = True,
) -> Representation:
    """Train encoder and task head against a decoder.

    Args:
        pixels: (N,C,S,S) in [0,1], C 1 or 3, public pictures; S 8, 16, 32, 64, ...
        labels: (N,) long, see `Task`.
        task: what the head is to answer.
        settings: `RepresentationSettings()` by default.
        make_encoder: returns the untrained encoder, such as a `BackboneEncoder`; an `Encoder` by default.
        features: features of the perceptual loss; those of the bundled zoo:identity-plain by default.
        device: where to train; the CPU by default.

    Raises:
        UserError: no pictures, labels that do not fit, equal pictures, an unsupported size, or a training that
            diverged.
    """
    settings, device = settings or RepresentationSettings(), device or torch.device("cpu")
    _check(pixels, labels, task)
    pixels, labels, features = pixels.to(device), labels.to(device), (features or PerceptualFeatures()).to(device)
    cap = reconstruction_loss(pixels.mean(0, keepdim=True).expand_as(pixels), pixels, features).mean().item()
    if not cap > MIN_CAP:
        raise UserError("all training pictures are the same: there is nothing to hide")
    channels, size = pixels.shape[1], pixels.shape[2]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        encoder = make_encoder() if make_encoder else Encoder(channels, size, settings.dimension)
        training = _AdversarialTraining(encoder.to(device), channels, size, task, settings, features, cap)
    generator, losses = Generator().manual_seed(settings.seed), []
    steps = track(range(settings.steps), f"training with lambda {settings.weight:g}", unit="step", progress=progress)
    for step in steps:
        rows = torch.randperm(len(pixels), generator=generator)[: settings.batch].to(device)
        weight = settings.weight * _weight_share(step / settings.steps)
        losses.append(training.step(pixels[rows], labels[rows], weight) / cap)
    last = sum(losses[-AVERAGED_STEPS:]) / len(losses[-AVERAGED_STEPS:])
    if not math.isfinite(last) or any(not value.isfinite().all() for value in training.encoder.parameters()):
        raise UserError("the training of the representation diverged: choose a smaller rate")
    for net in (training.encoder, training.head):
        net.eval().requires_grad_(False)
    return Representation(training.encoder, training.head, settings, channels, size, task, cap, last)


def _weight_share(progress: float) -> float:
    """Return the share of the weight by the share of the steps done: the encoder must learn the task first."""
    start, end = WEIGHT_RAMP
    return min(max((progress - start) / (end - start), 0.0), 1.0)


def reconstruction_loss(reconstructions: Tensor, pixels: Tensor, features: PerceptualFeatures) -> Tensor:
    """Return the (B,) loss of a decoder: mean squared error plus perceptual loss of (B,C,S,S) batches in [0,1]."""
    squared: Tensor = (reconstructions - pixels).square().flatten(1).mean(1)
    return squared + PERCEPTUAL_WEIGHT * features.distance(reconstructions, pixels)


def leave_one_out_ridge(released: Tensor, pixels: Tensor) -> Tensor:
    """Return the (B,C,S,S) reconstruction of each picture by ridge regression on all the others of the batch.

    In closed form (leave-one-out residual: residual / (1 - leverage)), differentiable by `released`. The pictures are
    centered by the mean of all.

    Args:
        released: (B,dimension) representations.
        pixels: (B,C,S,S) pictures.
    """
    gram = released @ released.T
    penalty = RIDGE_PENALTY * released.shape[1] * torch.eye(len(gram), device=gram.device)
    hat = torch.linalg.solve(gram + penalty, gram)  # symmetric: both factors are functions of one matrix
    centered = (pixels - pixels.mean(0)).flatten(1)
    residual = (centered - hat @ centered) / (1 - hat.diagonal())[:, None]
    reconstructions: Tensor = pixels - residual.view_as(pixels)
    return reconstructions


class _AdversarialTraining:
    """Encoder and head against a decoder, each side with its own optimizer."""

    def __init__(
        self,
        encoder: nn.Module,
        channels: int,
        size: int,
        task: Task,
        settings: RepresentationSettings,
        features: PerceptualFeatures,
        cap: float,
    ) -> None:
        self.encoder, self.task = encoder, task
        self.head = task_head(settings.dimension, task.outputs).to(features.mean.device)
        self.decoder = Decoder(channels, size, settings.dimension).to(features.mean.device)
        self.features, self.cap, self.settings = features, cap, settings
        # its own random stream: the order of the pictures does not depend on the noise
        self.noise_generator = Generator().manual_seed(settings.seed + 1)
        both = [*self.encoder.parameters(), *self.head.parameters()]
        parameters = [parameter for parameter in both if parameter.requires_grad]
        self.sender_optimizer = torch.optim.Adam(parameters, settings.rate)
        self.decoder_optimizer = torch.optim.Adam(self.decoder.parameters(), settings.rate)

    def step(self, pixels: Tensor, labels: Tensor, weight: float) -> float:
        """Make one step of the decoder, then one of encoder and head; return the decoder's loss before its step."""
        released = _add_noise(self.encoder(pixels), self.settings.noise, self.noise_generator)
        decoder_loss = reconstruction_loss(self.decoder(released.detach()), pixels, self.features).mean()
        self.decoder_optimizer.zero_grad()
        torch.autograd.backward(decoder_loss)
        self.decoder_optimizer.step()
        task = self.task.loss(self.head(released), labels)
        reconstruction = reconstruction_loss(self.decoder(released), pixels, self.features)
        if self.settings.best_linear and weight > 0:
            linear = reconstruction_loss(leave_one_out_ridge(released, pixels), pixels, self.features)
            reconstruction = torch.minimum(reconstruction, linear)
        self.sender_optimizer.zero_grad()
        torch.autograd.backward(capped_loss(task, reconstruction, weight, self.cap))
        self.sender_optimizer.step()
        return decoder_loss.item()


def _add_noise(representations: Tensor, noise: float, generator: Generator) -> Tensor:
    if noise == 0:
        return representations
    drawn = torch.randn(representations.shape, generator=generator)
    return representations + noise * to_device(drawn, representations.device)


def _check(pixels: Tensor, labels: Tensor, task: Task) -> None:
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or pixels.shape[2] != pixels.shape[3]:
        raise UserError(f"a representation needs square gray or RGB pictures (N,C,S,S), not {tuple(pixels.shape)}")
    if len(labels) != len(pixels) or not len(labels):
        raise UserError(f"{len(pixels)} pictures have {len(labels)} labels: give one for each, and one picture or more")
    if not (int(labels.min()) >= 0 and int(labels.max()) <= task.largest_label):
        raise UserError(
            f"labels must be from 0 to {task.largest_label}, but are from {int(labels.min())} to {int(labels.max())}"
        )
