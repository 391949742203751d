"""All distances of two photos at once, for evaluations."""

import math

import torch
from torch import Tensor

from onlymymodel.protect.budget.distortion import Distortion, largest_change, psnr, squared_change, ssim
from onlymymodel.protect.budget.flip import flip
from onlymymodel.protect.budget.ms_ssim import MIN_SIDE, ms_ssim


def measure(protected: Tensor, original: Tensor) -> Distortion:
    """Return all distances but LPIPS of two (C,H,W) uint8 photos of one size."""
    if torch.equal(protected, original):  # a photo that was not changed, however large
        large_enough = min(original.shape[-2:]) >= MIN_SIDE
        return Distortion(linf=0, l2=0.0, psnr=None, ssim=1.0, flip=0.0, ms_ssim=1.0 if large_enough else None)
    return Distortion(
        linf=largest_change(protected, original),
        l2=round(math.sqrt(squared_change(protected, original)) / 255, 6),
        psnr=psnr(protected, original),
        ssim=ssim(protected, original),
        flip=flip(original, protected),
        ms_ssim=ms_ssim(protected, original),
    )
