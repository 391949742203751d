"""All distances of two photos at once, for evaluations."""

import math

from torch import Tensor

from onlymymodel.protect.budget.distortion import Distortion, largest_change, psnr, squared_change, ssim
from onlymymodel.protect.budget.flip import flip
from onlymymodel.protect.budget.ms_ssim import ms_ssim


def measure(protected: Tensor, original: Tensor) -> Distortion:
    """Return all distances but LPIPS of two (C,H,W) uint8 photos of one size."""
    return Distortion(
        linf=largest_change(protected, original),
        l2=round(math.sqrt(squared_change(protected, original)) / 255, 6),
        psnr=psnr(protected, original),
        ssim=ssim(protected, original),
        flip=flip(original, protected),
        ms_ssim=ms_ssim(protected, original),
    )
