"""The networks of the representation defence: who sends, who reads, who tries to draw the picture, who looks at it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.surrogates import zoo

LEAST_SIDE = 4  # of the map that the encoder ends with and the decoder begins with
FEATURES = "identity-plain"  # the bundled network whose features are compared while training
FEATURE_BLOCKS = 6  # of it: 64 channels at an eighth of the picture's side
TASK_WIDTH = 64


class Encoder(nn.Module):
    """Pictures (B,channels,size,size) in [0,1] -> representations (B,dimension) of mean 0 and variance 1 each.

    Strided convolutions down to a side of 4, a 1x1 convolution to `dimension` / 16 channels, and normalization over
    the whole representation without learned scale, so that noise on it has a meaning and no scale hides anything.
    Group norm, since batch statistics would tie a picture's representation to its neighbors.

    Raises:
        UserError: a size that is not 4 times a power of two, 8 or more; a dimension that 16 does not divide.
    """

    def __init__(self, channels: int, size: int, dimension: int) -> None:
        super().__init__()
        _check_size(size)
        if dimension < LEAST_SIDE**2 or dimension % LEAST_SIDE**2:
            raise UserError(f"the dimension of a representation is a multiple of {LEAST_SIDE**2}, not {dimension}")
        widths = _widths(size)
        layers: list[nn.Module] = []
        for before, after in zip([channels, *widths], widths, strict=False):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.GroupNorm(4, after), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], dimension // LEAST_SIDE**2, 1), nn.Flatten())
        self.norm = nn.LayerNorm(dimension, elementwise_affine=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B,channels,size,size) in [0,1] -> (B,dimension)."""
        out: Tensor = self.norm(self.body(2 * pixels - 1))
        return out


class Decoder(nn.Module):
    """The adversary of the training: representations (B,dimension) -> pictures (B,channels,size,size) in [0,1]."""

    def __init__(self, channels: int, size: int, dimension: int) -> None:
        super().__init__()
        _check_size(size)
        widths = _widths(size)[::-1]
        unfold = nn.Unflatten(1, (widths[0], LEAST_SIDE, LEAST_SIDE))
        layers: list[nn.Module] = [nn.Linear(dimension, widths[0] * LEAST_SIDE**2), nn.ReLU(), unfold]
        for before, after in zip(widths, [*widths[1:], channels], strict=True):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1], nn.Sigmoid())

    def forward(self, representations: Tensor) -> Tensor:
        """(B,dimension) -> (B,channels,size,size) in [0,1]."""
        out: Tensor = self.body(representations)
        return out


def task_head(dimension: int, classes: int) -> nn.Module:
    """Representations (B,dimension) -> (B,classes) logits."""
    return nn.Sequential(nn.Linear(dimension, TASK_WIDTH), nn.ReLU(), nn.Linear(TASK_WIDTH, classes))


class Features(nn.Module):
    """The first layers of a bundled network, frozen, on pictures (B,C,S,S) in [0,1], C 1 or 3, at their own size.

    They stand in for the VGG of the published perceptual loss, whose weights do not come without a download.

    Args:
        name: of `onlymymodel.surrogates.zoo.NAMES`, of a family that is a chain of convolutions first.
        blocks: how many of its modules.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str = FEATURES, blocks: int = FEATURE_BLOCKS) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and overwritten
            net, card = zoo.read(name)
        if not isinstance(net, nn.Sequential):
            raise UserError(f"zoo:{name} is no chain of layers, its first {blocks} cannot be taken")
        self.net = net[:blocks].eval().requires_grad_(False)
        self.name = f"zoo:{name}, first {blocks} modules"
        self.register_buffer("mean", torch.tensor(card["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(card["std"]).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B,C,S,S) -> (B,c,s,s), of length 1 along the channels."""
        out: Tensor = self.net((pixels.expand(-1, 3, -1, -1) - self.mean) / self.std)
        unit: Tensor = F.normalize(out, dim=1)
        return unit

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """(B,) squared distance of the unit features, mean over places: LPIPS without learned weights, in [0,4]."""
        apart: Tensor = (self(first) - self(second)).square().sum(1)
        return apart.flatten(1).mean(1)


def _widths(size: int) -> list[int]:
    """Channels after each halving of the side down to 4."""
    return [16 * (step + 1) for step in range(int(math.log2(size // LEAST_SIDE)))]


def _check_size(size: int) -> None:
    times = size // LEAST_SIDE
    if size % LEAST_SIDE or times < 2 or times & (times - 1):
        raise UserError(f"a representation is of pictures with a side of 8, 16, 32, 64, ...; got {size}")
