"""How much of a picture an adversary got back: distances of batches of pictures in [0,1]."""

import torch
from torch import Tensor

WINDOW = 11  # of the SSIM; on smaller pictures the largest odd one that fits
SIMILARITY_DEFINITION = {
    "psnr": "10 log10(1 / MSE) over all channels, reconstructions clipped to [0, 1]",
    "ssim": "kornia; Gaussian window 11x11 (on smaller pictures the largest odd one that fits), sigma 1.5, "
    "valid, data range 1, mean over channels",
}


def mse(first: Tensor, second: Tensor) -> Tensor:
    """(B,) mean squared error of two (B,C,H,W) batches in [0,1]."""
    return (first.double() - second.double()).square().flatten(1).mean(1)


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """(B,) peak signal-to-noise ratio in dB; infinite where two pictures are equal."""
    return -10 * mse(first, second).log10()


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """(B,) structural similarity, see `SIMILARITY_DEFINITION`; 1 where two pictures are equal."""
    from kornia.metrics import ssim as ssim_map

    side = min(*first.shape[-2:], WINDOW)
    values: Tensor = ssim_map(first.float(), second.float(), side - (side + 1) % 2, padding="valid")
    return values.flatten(1).mean(1)


def to_picture(pixels: Tensor, least_side: int = 96) -> "torch.Tensor":
    """(C,H,W) in [0,1], C 1 or 3, as an (h,w,C) uint8 tensor, small ones enlarged by whole numbers so that people
    see something; `.numpy()` of it is a `Picture`."""
    times = max(1, least_side // min(pixels.shape[-2:]))
    large = pixels.detach().clamp(0, 1).repeat_interleave(times, -1).repeat_interleave(times, -2)
    return (large * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu()
