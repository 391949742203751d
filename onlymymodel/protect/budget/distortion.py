"""Distances of two photos, with their exact definitions.

`psnr` and `ssim` take two photos as files have them, (C,H,W) uint8; `batch_mse`, `batch_psnr` and
`batch_ssim` take (B,C,H,W) floats in [0,1] and return a value for each picture. The definitions are the same: PSNR is
10 log10(1 / MSE) in dB with the mean over all channels and pixels of [0,1]; SSIM is `SSIM_DEFINITION`.
"""

from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor

from onlymymodel.data.strips import map_rows, strips
from onlymymodel.protect.budget.measure_once import measured_once

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_DEFINITION = {
    "window": f"{SSIM_WINDOW}x{SSIM_WINDOW} Gaussian, sigma {SSIM_SIGMA}",
    "padding": "valid (windows inside the photo only)",
    "data_range": 1.0,
    "channels": "mean over the photo's channels",
    "library": f"kornia {version('kornia')}",
}


@dataclass(frozen=True)
class Distortion:
    """Distances of a protected photo from its original.

    Attributes:
        linf: largest change of any channel of any pixel, in 8-bit levels.
        l2: Euclidean norm of the change over all channels and pixels, in pixels of [0, 1].
        psnr: in dB; None where nothing changed.
        ssim: see `SSIM_DEFINITION`.
        lpips: None where it was not measured.
        flip: see `flip.DEFINITION`; None where it was not measured, as by earlier versions.
        ms_ssim: see `ms_ssim.DEFINITION`; None where it was not measured, as of small photos.
    """

    linf: int
    l2: float
    psnr: float | None
    ssim: float
    lpips: float | None = None
    flip: float | None = None
    ms_ssim: float | None = None


def largest_change(first: Tensor, second: Tensor) -> int:
    """Return the largest difference of two (C,H,W) uint8 photos in 8-bit levels."""
    return int(map_rows(lambda a, b: (a.int() - b.int()).abs().amax(-1, keepdim=True), first, second).max())


def squared_change(first: Tensor, second: Tensor) -> int:
    """Return the sum of the squared differences of two (C,H,W) uint8 photos, in squared 8-bit levels."""
    return int(map_rows(lambda a, b: (a.int() - b.int()).square().sum(-1, keepdim=True), first, second).sum())


def psnr(first: Tensor, second: Tensor) -> float | None:
    """Return the peak signal-to-noise ratio in dB of two (C,H,W) uint8 photos; None where they are equal."""
    error = squared_change(first, second) / first.numel()
    return None if error == 0 else float(10 * torch.log10(torch.tensor(255.0**2 / error, dtype=torch.double)))


@measured_once
def ssim(first: Tensor, second: Tensor) -> float:
    """Return the structural similarity of two (C,H,W) uint8 photos; 1 where they are equal."""
    channels = [_mean_ssim(a, b) for a, b in zip(first, second, strict=True)]
    return float(torch.stack(channels).mean())


def _mean_ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean local similarity of two (H,W) uint8 channels."""
    edge = SSIM_WINDOW // 2
    rows = first.shape[0] - 2 * edge  # of the windows that lie inside
    values = torch.empty(1, 1, rows, first.shape[1] - 2 * edge, device=first.device)
    for part in strips(rows, first.shape[1]):
        a, b = (channel[None, None, part.start : part.stop + 2 * edge].float() / 255 for channel in (first, second))
        values[:, :, part] = _ssim_map(a, b, SSIM_WINDOW)
    return values.mean()


def batch_mse(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean squared error of each pair of pictures, (B,) double.

    Args:
        first: (B,C,H,W) in [0,1].
        second: (B,C,H,W) in [0,1].
    """
    return (first.double() - second.double()).square().flatten(1).mean(1)


def batch_psnr(first: Tensor, second: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each pair of pictures, (B,) in dB; infinite where they are equal.

    Args:
        first: (B,C,H,W) in [0,1].
        second: (B,C,H,W) in [0,1].
    """
    return -10 * batch_mse(first, second).log10()


def batch_ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity of each pair of pictures, (B,); 1 where they are equal. It has a gradient.

    Pictures smaller than the window of `SSIM_DEFINITION` are measured with the largest odd window that fits.

    Args:
        first: (B,C,H,W) in [0,1].
        second: (B,C,H,W) in [0,1].
    """
    side = min(*first.shape[-2:], SSIM_WINDOW)
    return _ssim_map(first.float(), second.float(), side - (side + 1) % 2).flatten(1).mean(1)


def _ssim_map(first: Tensor, second: Tensor, window: int) -> Tensor:
    """Return the local similarities of two (B,C,H,W) batches in [0,1]."""
    from kornia.metrics import ssim  # kornia takes seconds to import, and not every command needs it

    values: Tensor = ssim(first, second, window, padding="valid")
    return values
