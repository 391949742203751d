"""Networks of the representation defense: encoder, task head, decoder, and perceptual features."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.layers.layers import Layer, layer_outputs
from onlymymodel.surrogates import zoo

MIN_SIDE = 4  # of the map that the encoder ends with and the decoder begins with
FEATURE_NETWORK = "identity-plain"  # the bundled network whose features are compared in training
FEATURE_BLOCKS = 6  # its first modules: 64 channels at an eighth of the picture's side
TASK_WIDTH = 64


class Encoder(nn.Module):
    """Encoder from pictures (B,channels,size,size) in [0,1] to representations (B,dimension).

    Each representation has mean 0 and variance 1. Strided convolutions down to a side of 4 are followed by a 1x1
    convolution to `dimension` / 16 channels, and by normalization over the whole representation without a learned
    scale, so that noise has a defined strength and nothing can be hidden by scaling. Group norm is used, since batch
    statistics would make a picture's representation depend on the others.

    Raises:
        UserError: the size is not 4 times a power of two, 8 or more, or 16 does not divide the dimension.
    """

    def __init__(self, channels: int, size: int, dimension: int) -> None:
        super().__init__()
        _check_size(size)
        if dimension < MIN_SIDE**2 or dimension % MIN_SIDE**2:
            raise UserError(f"the dimension of a representation must be a multiple of {MIN_SIDE**2}, not {dimension}")
        widths = _widths(size)
        layers: list[nn.Module] = []
        for inputs, outputs in zip([channels, *widths], widths, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.GroupNorm(4, outputs), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], dimension // MIN_SIDE**2, 1), nn.Flatten())
        self.norm = nn.LayerNorm(dimension, elementwise_affine=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the (B,dimension) representations of (B,channels,size,size) pictures in [0,1]."""
        representations: Tensor = self.norm(self.body(2 * pixels - 1))
        return representations


class BackboneEncoder(nn.Module):
    """Encoder from pictures (B,C,S,S) in [0,1] to representations (B,dimension) that begins with a model of the user's.

    The model up to one layer is frozen, in eval mode; a linear layer from its output, normalized over all numbers of a
    picture, is trained, and its result is normalized as that of `Encoder`.

    Args:
        network: (B,C,S,S) in [0,1] -> anything; it is copied.
        layer: the layer at which it is cut.
        pixels: (N,C,S,S), any pictures, which tell the size of the layer's output.
        dimension: length of a representation.
    """

    def __init__(self, network: nn.Module, layer: Layer, pixels: Tensor, dimension: int) -> None:
        super().__init__()
        self.backbone, self.layer = copy.deepcopy(network).float().eval().requires_grad_(False), layer
        features = layer_outputs(self.backbone, layer, pixels[:1])[0].numel()
        self.entry = nn.LayerNorm(features, elementwise_affine=False)
        self.linear = nn.Linear(features, dimension)
        self.norm = nn.LayerNorm(dimension, elementwise_affine=False)

    def train(self, mode: bool = True) -> "BackboneEncoder":
        """Set the mode of all but the backbone, which stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the (B,dimension) representations of (B,C,S,S) pictures in [0,1]."""
        features = layer_outputs(self.backbone, self.layer, pixels).flatten(1)
        representations: Tensor = self.norm(self.linear(self.entry(features)))
        return representations


class Decoder(nn.Module):
    """The adversary in training: representations (B,dimension) -> pictures (B,channels,size,size) in [0,1]."""

    def __init__(self, channels: int, size: int, dimension: int) -> None:
        super().__init__()
        _check_size(size)
        widths = _widths(size)[::-1]
        unfold = nn.Unflatten(1, (widths[0], MIN_SIDE, MIN_SIDE))
        layers: list[nn.Module] = [nn.Linear(dimension, widths[0] * MIN_SIDE**2), nn.ReLU(), unfold]
        for inputs, outputs in zip(widths, [*widths[1:], channels], strict=True):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1], nn.Sigmoid())

    def forward(self, representations: Tensor) -> Tensor:
        """Return the (B,channels,size,size) reconstructions in [0,1] of (B,dimension) representations."""
        pixels: Tensor = self.body(representations)
        return pixels


def task_head(dimension: int, classes: int) -> nn.Module:
    """Return a network from representations (B,dimension) to (B,classes) logits."""
    return nn.Sequential(nn.Linear(dimension, TASK_WIDTH), nn.ReLU(), nn.Linear(TASK_WIDTH, classes))


class PerceptualFeatures(nn.Module):
    """The first layers of a bundled network, frozen, for pictures (B,C,S,S) in [0,1] at their own size, C 1 or 3.

    They replace the VGG of the published perceptual loss, whose weights would have to be downloaded.

    Args:
        name: one of `onlymymodel.surrogates.zoo.NAMES`, of a family that begins with a sequence of convolutions.
        blocks: number of its modules.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str = FEATURE_NETWORK, blocks: int = FEATURE_BLOCKS) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and overwritten
            net, card = zoo.read(name)
        if not isinstance(net, nn.Sequential):
            raise UserError(f"zoo:{name} is not a sequence of layers, so its first {blocks} cannot be used")
        self.net = net[:blocks].eval().requires_grad_(False)
        self.name = f"zoo:{name}, first {blocks} modules"
        self.register_buffer("mean", torch.tensor(card["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(card["std"]).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the (B,c,s,s) features of (B,C,S,S) pictures, of length 1 along the channels."""
        features: Tensor = self.net((pixels.expand(-1, 3, -1, -1) - self.mean) / self.std)
        unit: Tensor = F.normalize(features, dim=1)
        return unit

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the (B,) squared distances of the unit features, mean over positions, in [0,4].

        This is LPIPS without learned weights.
        """
        squared: Tensor = (self(first) - self(second)).square().sum(1)
        return squared.flatten(1).mean(1)


def _widths(size: int) -> list[int]:
    """Return the channels after each halving of the side down to 4."""
    return [16 * (step + 1) for step in range(int(math.log2(size // MIN_SIDE)))]


def _check_size(size: int) -> None:
    factor = size // MIN_SIDE
    if size % MIN_SIDE or factor < 2 or factor & (factor - 1):
        raise UserError(f"a representation needs pictures with a side of 8, 16, 32, 64, ...; got {size}")
