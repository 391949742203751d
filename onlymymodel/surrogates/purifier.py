"""A learned denoising filter, as an adversary would use it to remove a protection before reading.

A residual denoiser of convolutions and ReLUs without batch norm, in the manner of DnCNN (Zhang et al., IEEE TIP 2017).
It works on 2x2 blocks of pixels as channels, as FFDNet (Zhang et al., IEEE TIP 2018), for a wider receptive field
at a quarter of the cost, and on the difference from the local mean, where the changes are. It is trained on rendered
pictures only, with random and adversarial changes of 2 to 16 of 255; see `benchmarks/train_purifier.py` and
`results/purifier.json`.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load
from torch import Tensor, nn

WEIGHTS = Path(__file__).parent / "purifier.safetensors"
BLOCKS = 3
LAYERS = 2 + 2 * BLOCKS
WIDTH = 32
MEAN_RADIUS = 4  # pixels to each side over which the local mean is taken
GAIN = 10.0  # scales the difference from the local mean to about 1
RECEPTIVE_RADIUS = 2 * LAYERS + MEAN_RADIUS  # rows beyond this distance do not influence a pixel
STRIP_ROWS = 256  # rows processed at once, so that a picture of any height fits into memory


class _Block(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = self.second(torch.relu(self.first(features)))
        return features + added


class Purifier(nn.Module):
    """Residual denoiser: (B,3,H,W) float32 in [0,1], H and W even -> the same shape, minus the predicted change.

    The output is not clamped.
    """

    def __init__(self) -> None:
        super().__init__()
        head, tail = nn.Conv2d(12, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, 12, 3, padding=1)
        self.body = nn.Sequential(head, *(_Block() for _ in range(BLOCKS)), tail)

    def forward(self, pixels: Tensor) -> Tensor:
        mean = F.avg_pool2d(pixels, 2 * MEAN_RADIUS + 1, 1, MEAN_RADIUS, count_include_pad=False)
        change: Tensor = F.pixel_shuffle(self.body(F.pixel_unshuffle(GAIN * (pixels - mean), 2)), 2)
        return pixels - change / GAIN


def purify(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Apply the trained filter to an HWC uint8 image (C 1 or 3, any size); return an image of the same shape.

    It runs on the CPU. A gray image stays gray, but benefits little: in training the noise differs between colors.
    """
    height, width, channels = image.shape
    pixels = _even(torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255)
    out = np.empty((pixels.shape[2], pixels.shape[3], 3), np.uint8)
    with torch.inference_mode():
        for top in range(0, len(out), STRIP_ROWS):
            first = max(0, top - RECEPTIVE_RADIUS)
            strip = _trained_purifier("cpu")(pixels[:, :, first : top + STRIP_ROWS + RECEPTIVE_RADIUS])[
                0, :, top - first :
            ]
            strip = strip[:, :STRIP_ROWS]
            if channels == 1:
                strip = strip.mean(0, keepdim=True).expand(3, -1, -1)
            out[top : top + STRIP_ROWS] = (strip * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(out[:height, :width, :channels])


def purify_pixels(pixels: Tensor) -> Tensor:
    """Apply the trained filter differentiably to (B,C,H,W) photos in [0,1], C 1 or 3; return (B,3,H,W) in [0,1]."""
    height, width = pixels.shape[-2:]
    net = _trained_purifier(str(pixels.device))
    purified: Tensor = net(_even(pixels))[..., :height, :width]
    return purified.clamp(0, 1)


def _even(pixels: Tensor) -> Tensor:
    """Return (B,3,H,W) photos of even sides: an odd one is continued by its last row or column."""
    height, width = pixels.shape[-2:]
    return F.pad(pixels.expand(-1, 3, -1, -1), (0, width % 2, 0, height % 2), mode="replicate")


@cache
def _trained_purifier(device: str) -> Purifier:
    with torch.inference_mode(False):  # whoever asks first, gradients may pass through it later
        net = Purifier()
        net.load_state_dict(load(WEIGHTS.read_bytes()))  # float16 in the file, float32 here
        return net.eval().requires_grad_(False).to(device)
