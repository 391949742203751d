"""A learned inverter: a network from releases back to pictures, trained on the adversary's own pictures."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.progress import track

RATE, BATCH = 3e-3, 32
MIN_SIDE = 4  # of the map into which a vector is unfolded
MIN_WIDTH, MAX_WIDTH = 16, 64  # channels
MIN_DEVIATION = 1e-6  # of the largest deviation of a feature; smaller deviations are not scaled up to 1


class Inverter(nn.Module):
    """Convolutional decoder from releases (B,...) to pictures (B,channels,size,size) in [0,1].

    Maps (B,c,h,w) enter unchanged. Anything else enters as one vector, which a linear layer unfolds to a small map.
    Convolutions follow, between which the side is doubled up to that of the picture. Releases are standardized by the
    mean and the deviation, per channel or per feature, of the training releases.

    Args:
        releases: (N,...), the training releases.
        channels: number of channels of the pictures.
        size: side of the pictures.
        width: factor of the channels of all maps.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, releases: Tensor, channels: int, size: int, width: int = 1) -> None:
        super().__init__()

        def channels_at(side: int) -> int:
            return width * _width(side)

        shape, self.size = releases.shape[1:], size
        self.is_map = len(shape) == 3 and min(shape[1:]) > 1
        inputs = releases.float() if self.is_map else releases.float().flatten(1)
        dims = (0, 2, 3) if self.is_map else (0,)
        deviation = inputs.std(dims, correction=0, keepdim=True)
        self.register_buffer("mean", inputs.mean(dims, keepdim=True))
        # a constant feature carries no information, and its rounding errors must not be amplified
        self.register_buffer("deviation", deviation.clamp_min(max(MIN_DEVIATION * deviation.max().item(), 1e-30)))
        side = min(max(shape[1:]), size) if self.is_map else min(MIN_SIDE, size)
        if self.is_map:
            self.entry: nn.Module = nn.Conv2d(shape[0], channels_at(side), 3, padding=1)
        else:
            unfold = nn.Unflatten(1, (channels_at(side), side, side))
            self.entry = nn.Sequential(nn.Linear(inputs.shape[1], channels_at(side) * side**2), unfold)
        self.sides, layers = [side], []
        while True:
            following = min(2 * self.sides[-1], size)
            layers.append(nn.Conv2d(channels_at(self.sides[-1]), channels_at(following), 3, padding=1))
            if self.sides[-1] == size:
                break
            self.sides.append(following)
        self.layers = nn.ModuleList(layers)
        self.exit = nn.Conv2d(channels_at(size), channels, 3, padding=1)

    def forward(self, releases: Tensor) -> Tensor:
        """Return the (B,channels,size,size) reconstructions in [0,1] of releases (B,...)."""
        inputs = releases.float() if self.is_map else releases.float().flatten(1)
        maps = F.gelu(self.entry((inputs - self.mean) / self.deviation))
        for side, layer in zip(self.sides, self.layers, strict=True):
            if tuple(maps.shape[-2:]) != (side, side):
                shrinks = maps.shape[-1] > side
                maps = F.interpolate(maps, size=(side, side), mode="bilinear", antialias=shrinks)
            maps = F.gelu(layer(maps))
        return torch.sigmoid(self.exit(maps))


def train_inverter(
    releases: Tensor,
    pixels: Tensor,
    *,
    steps: int = 400,
    seed: int = 0,
    progress: bool = True,
    net: nn.Module | None = None,
    loss_of: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
) -> nn.Module:
    """Train a network to reconstruct pictures from their releases, by Adam with a cosine learning rate.

    Args:
        releases: (N,...), one for each picture, detached.
        pixels: (N,C,S,S) in [0,1], on the same device.
        steps: number of training steps, with batches of 32.
        seed: seed of the weights and of the order of the pictures.
        net: network to train instead of an `Inverter` for releases of this shape.
        loss_of: the loss of a batch of reconstructions and the pictures themselves.

    Returns:
        the trained network (B,...) -> (B,C,S,S), in eval mode.
    """
    generator = torch.Generator().manual_seed(seed)
    if net is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = Inverter(releases, pixels.shape[1], pixels.shape[-1])
    net = net.to(pixels.device).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in track(range(steps), "training an inverter", unit="step", progress=progress):
        rows = torch.randperm(len(pixels), generator=generator)[:BATCH].to(pixels.device)
        loss = loss_of(net(releases[rows]), pixels[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def invert(net: nn.Module, releases: Tensor) -> Tensor:
    """Return the (N,C,S,S) reconstructions in [0,1] of releases (N,...), computed in batches."""
    return torch.cat([net(part) for part in torch.split(releases, 256)]).clamp(0, 1)


def _width(side: int) -> int:
    """Return the channels of a map of this side: fewer for a large map, so that every layer costs about the same."""
    return min(max(512 // side, MIN_WIDTH), MAX_WIDTH)
