"""Smooth steps: gradients filtered by a Gaussian, at the scale of the face where models align faces."""

from collections.abc import Sequence

import torch
from torch import Tensor

from onlymymodel.protect.budget.filters import gaussian
from onlymymodel.surrogates.alignment import face_scale


def smoothing_scales(landmarks: Tensor | None, photos: int) -> list[float]:
    """Return for each photo the pixels that one pixel of the aligned face covers; 1 where no model aligns faces.

    Args:
        landmarks: (photos,5,2) in pixels of the photos, on the CPU, NaN without a face; None where no model aligns
            faces.
        photos: number of photos.
    """
    return [1.0] * photos if landmarks is None else [face_scale(points) for points in landmarks]


def smooth_gradient(gradient: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Filter the (B,C,H,W) gradients of photos, each with a Gaussian of its own standard deviation in pixels.

    TI-FGSM (Dong et al., CVPR 2019) filters the gradient; a filter that follows the size of the face is ours.
    """
    if len(set(sigmas)) == 1:
        return gaussian(gradient, sigmas[0])
    return torch.cat([gaussian(photo[None], sigma) for photo, sigma in zip(gradient, sigmas, strict=True)])
