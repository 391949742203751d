"""Faces brought to one place and size, as face networks want them: a differentiable warp of the whole photo."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# ArcFace's points on 112x112 (Deng et al., CVPR 2019): left and right eye, nose, left and right corner of the mouth
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
ARCFACE_SIDE = 112


def template(height: int, width: int) -> NDArray[np.float64]:
    """(5,2) points of ArcFace's template at its own scale in the middle of an input; 0 is the edge of a pixel."""
    points: NDArray[np.float64] = ARCFACE + np.array([(width - ARCFACE_SIDE) / 2, (height - ARCFACE_SIDE) / 2])
    return points


def similarity(points: NDArray[np.float64], onto: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,3) matrix of the similarity (turn, scale, shift) that brings points (N,2) nearest to others in the mean of
    squares (Umeyama, PAMI 1991, without reflections)."""
    x, y = points.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, right, down = np.linalg.lstsq(rows, onto.T.reshape(-1), rcond=None)[0]
    return np.array([[a, -b, right], [b, a, down]])


def aligned(pixels: Tensor, height: int, width: int, landmarks: Tensor | None = None) -> Tensor:
    """Warp photos so that their faces lie on the template; a photo without a face is resized whole.

    Args:
        pixels: (B,C,H,W) in [0,1].
        landmarks: (B,5,2) in pixels of the photo, NaN where there is no face; searched in the photos if None.

    Returns:
        (B,C,height,width), differentiable in `pixels`; bicubic, black beyond the photo.
    """
    from kornia.geometry.transform import warp_affine

    found = main_faces(pixels) if landmarks is None else landmarks
    matrices = [_placement(points, tuple(pixels.shape[-2:]), height, width) for points in found.double().cpu().numpy()]
    placed: Tensor = warp_affine(
        pixels,
        torch.tensor(np.stack(matrices)).to(pixels),
        (height, width),
        mode="bicubic",
        padding_mode="zeros",
        align_corners=True,
    )
    return placed


def main_faces(pixels: Tensor) -> Tensor:
    """(B,5,2) landmarks of the largest face in each of (B,C,H,W) photos in [0,1]; NaN where there is none."""
    return torch.stack([_main_face(photo) for photo in pixels.detach()])


def _main_face(photo: Tensor) -> Tensor:
    image = (photo * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    from onlymymodel.surrogates.faces import find_faces  # the detector takes seconds to import

    faces = find_faces(image)
    return torch.tensor(faces[0].landmarks) if faces else torch.full((5, 2), torch.nan)


def _placement(points: NDArray[np.float64], size: tuple[int, ...], height: int, width: int) -> NDArray[np.float64]:
    """(2,3) from the photo to the input, between the centers of pixels, as kornia counts: its first center is 0."""
    if np.isnan(points).any():
        across, down = width / size[1], height / size[0]
        matrix = np.array([[across, 0.0, 0.0], [0.0, down, 0.0]])
    else:
        matrix = similarity(points, template(height, width))
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return shifted
