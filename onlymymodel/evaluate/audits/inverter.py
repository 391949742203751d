"""A learned inverter: from a release back to the picture, trained on pictures of the adversary's own."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

RATE, BATCH = 3e-3, 32
LEAST_SIDE = 4  # of the map into which a vector is unfolded
LEAST_WIDTH, MOST_WIDTH = 16, 64
DEAD = 1e-6  # of the largest deviation of a feature; smaller ones are not enlarged to unit deviation


class Decoder(nn.Module):
    """Releases (B,...) -> pictures (B,channels,size,size) in [0,1].

    Maps (B,c,h,w) enter as they are, anything else as one vector, unfolded by a linear layer to a small map; then
    convolutions with the side doubled between them up to the picture's. Releases are standardized by the mean and
    the deviation, by channel or by feature, of those it is to be trained on.

    Args:
        releases: (N,...), the ones to be trained on.
        channels, size: of the pictures.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, releases: Tensor, channels: int, size: int) -> None:
        super().__init__()
        shape, self.size = releases.shape[1:], size
        self.is_map = len(shape) == 3 and min(shape[1:]) > 1
        known = releases.float() if self.is_map else releases.float().flatten(1)
        dims = (0, 2, 3) if self.is_map else (0,)
        deviation = known.std(dims, correction=0, keepdim=True)
        self.register_buffer("mean", known.mean(dims, keepdim=True))
        # where nothing varies nothing is to be learned, and rounding errors are not to be enlarged
        self.register_buffer("deviation", deviation.clamp_min(max(DEAD * deviation.max().item(), 1e-30)))
        side = min(max(shape[1:]), size) if self.is_map else min(LEAST_SIDE, size)
        if self.is_map:
            self.entry: nn.Module = nn.Conv2d(shape[0], _width(side), 3, padding=1)
        else:
            unfold = nn.Unflatten(1, (_width(side), side, side))
            self.entry = nn.Sequential(nn.Linear(known.shape[1], _width(side) * side**2), unfold)
        self.sides, layers = [side], []
        while True:
            layers.append(nn.Conv2d(_width(self.sides[-1]), _width(min(2 * self.sides[-1], size)), 3, padding=1))
            if self.sides[-1] == size:
                break
            self.sides.append(min(2 * self.sides[-1], size))
        self.layers = nn.ModuleList(layers)
        self.exit = nn.Conv2d(_width(size), channels, 3, padding=1)

    def forward(self, releases: Tensor) -> Tensor:
        """(B,...) -> (B,channels,size,size) in [0,1]."""
        known = releases.float() if self.is_map else releases.float().flatten(1)
        found = F.gelu(self.entry((known - self.mean) / self.deviation))
        for side, layer in zip(self.sides, self.layers, strict=True):
            if tuple(found.shape[-2:]) != (side, side):
                shrinks = found.shape[-1] > side
                found = F.interpolate(found, size=(side, side), mode="bilinear", antialias=shrinks)
            found = F.gelu(layer(found))
        return torch.sigmoid(self.exit(found))


def train_inverter(
    releases: Tensor,
    pixels: Tensor,
    *,
    steps: int = 400,
    seed: int = 0,
    progress: bool = True,
    net: nn.Module | None = None,
) -> nn.Module:
    """Learn to draw pictures from their releases: mean squared error, Adam, a rate that falls to 0 as a cosine.

    Args:
        releases: (N,...), one a picture, detached.
        pixels: (N,C,S,S) in [0,1], on the same device.
        steps: batches of 32.
        seed: of the weights and the order.
        net: to be trained instead of a `Decoder` for the releases' shape.

    Returns:
        the inverter, (B,...) -> (B,C,S,S), in eval mode.
    """
    generator = torch.Generator().manual_seed(seed)
    if net is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = Decoder(releases, pixels.shape[1], pixels.shape[-1])
    net = net.to(pixels.device).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in tqdm(range(steps), desc="training an inverter", unit="step", disable=None if progress else True):
        rows = torch.randperm(len(pixels), generator=generator)[:BATCH].to(pixels.device)
        loss = F.mse_loss(net(releases[rows]), pixels[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def invert(net: nn.Module, releases: Tensor) -> Tensor:
    """(N,...) -> (N,C,S,S) in [0,1], in batches."""
    return torch.cat([net(part) for part in torch.split(releases, 256)]).clamp(0, 1)


def _width(side: int) -> int:
    """Channels of a map: fewer where it is large, for the same work."""
    return min(max(512 // side, LEAST_WIDTH), MOST_WIDTH)
