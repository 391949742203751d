"""How far two photos are apart, with the definitions that make the figures mean something."""

from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor

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
    """How far a protected photo is from its original.

    Attributes:
        linf: largest change of any channel of any pixel, in 8-bit steps.
        l2: Euclidean norm of the change over all channels and pixels, in pixels of [0, 1].
        psnr: in dB; None where nothing changed.
        ssim: see `SSIM_DEFINITION`.
        lpips: None where it was not asked for.
    """

    linf: int
    l2: float
    psnr: float | None
    ssim: float
    lpips: float | None = None


def measure(protected: Tensor, original: Tensor) -> Distortion:
    """All distances of two (C,H,W) uint8 photos of one size but LPIPS."""
    change = protected.int() - original.int()
    return Distortion(
        linf=int(change.abs().max()),
        l2=round(float(change.double().square().sum().sqrt() / 255), 6),
        psnr=psnr(protected, original),
        ssim=ssim(protected, original),
    )


def psnr(first: Tensor, second: Tensor) -> float | None:
    """Peak signal-to-noise ratio in dB over all channels of two (C,H,W) uint8 photos; None where they are equal."""
    error = (first.double() - second.double()).square().mean().item()
    return None if error == 0 else float(10 * torch.log10(torch.tensor(255.0**2 / error, dtype=torch.double)))


def ssim(first: Tensor, second: Tensor) -> float:
    """Structural similarity of two (C,H,W) uint8 photos, see `SSIM_DEFINITION`; 1 where they are equal."""
    from kornia.metrics import ssim as ssim_map  # kornia takes seconds to import, and not every command needs it

    # one channel at a time: a 24-megapixel photo needs a tenth of the memory
    planes = [
        ssim_map(a[None, None].float() / 255, b[None, None].float() / 255, SSIM_WINDOW, padding="valid").mean()
        for a, b in zip(first, second, strict=True)
    ]
    return float(torch.stack(planes).mean())
