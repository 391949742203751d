"""Convolutional decoders of several sizes and losses, which judge a representation."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.evaluate.audits.inverter import Inverter, train_inverter
from onlymymodel.evaluate.audits.representation.networks import PerceptualFeatures

PERCEPTUAL_WEIGHT, ADVERSARIAL_WEIGHT = 1.0, 0.01  # beside the mean squared error
CRITIC_RATE, CRITIC_WIDTH = 1e-3, 32


class Judge(NamedTuple):
    """A decoder that is trained on pictures and their representations.

    Attributes:
        width: factor of its channels.
        perceptual: whether its loss has a perceptual part, see `PerceptualFeatures`.
        adversarial: whether its loss has the part of a critic that tells reconstructions from pictures.
    """

    width: int = 1
    perceptual: bool = False
    adversarial: bool = False


# the published audit has pixel, perceptual and adversarial losses (Xiao et al., AAAI 2020); sizes and weights are ours
JUDGES = {
    "convolutional": Judge(),
    "perceptual": Judge(width=2, perceptual=True),
    "adversarial": Judge(width=3, perceptual=True, adversarial=True),
}


def train_judge(
    judge: Judge, releases: Tensor, pixels: Tensor, *, steps: int, seed: int, progress: bool = True
) -> nn.Module:
    """Train a judge; see `train_inverter` for the arguments and the result."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Inverter(releases, pixels.shape[1], pixels.shape[-1], judge.width)
        loss = _loss(judge, pixels)
    return train_inverter(releases, pixels, steps=steps, seed=seed, progress=progress, net=net, loss_of=loss)


def _loss(judge: Judge, pixels: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of a batch of reconstructions beside (N,C,S,S) pictures like these."""
    features = PerceptualFeatures().to(pixels.device) if judge.perceptual else None
    critic = _Critic(pixels.shape[1]).to(pixels.device) if judge.adversarial else None

    def loss(made: Tensor, real: Tensor) -> Tensor:
        value = F.mse_loss(made, real)
        if features:
            value = value + PERCEPTUAL_WEIGHT * features.distance(made, real).mean()
        if critic:
            critic.step(made.detach(), real)
            value = value + ADVERSARIAL_WEIGHT * F.softplus(-critic(made)).mean()
        return value

    return loss


class _Critic(nn.Module):
    """Tells patches of pictures (B,channels,S,S) from those of reconstructions: (B,1,s,s) logits, high for pictures.

    The loss is that of Goodfellow et al. (NIPS 2014) with the generator's non-saturating form.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, CRITIC_WIDTH, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(CRITIC_WIDTH, 2 * CRITIC_WIDTH, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * CRITIC_WIDTH, 1, 3, padding=1),
        )
        self.optimizer = torch.optim.Adam(self.parameters(), CRITIC_RATE, betas=(0.5, 0.999))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.body(2 * pixels - 1)
        return logits

    def step(self, made: Tensor, real: Tensor) -> None:
        """Make one step of the critic's training."""
        loss = F.softplus(-self(real)).mean() + F.softplus(self(made)).mean()
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
