"""Align faces to the position and size that face networks expect, by a differentiable warp of the whole photo."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onlymymodel.data.pixels import to_array
from onlymymodel.surrogates.device_copy import to_device

# ArcFace's landmarks on 112x112 (Deng et al., CVPR 2019): left and right eye, nose, left and right corner of the mouth
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
ARCFACE_SIDE = 112


def arcface_template(height: int, width: int) -> NDArray[np.float64]:
    """Return the (5,2) landmarks of ArcFace's template, at its own scale, centered in a network input.

    Coordinates are (x, y) in pixels; 0 is the edge of the first pixel, not its center.
    """
    points: NDArray[np.float64] = ARCFACE + np.array([(width - ARCFACE_SIDE) / 2, (height - ARCFACE_SIDE) / 2])
    return points


def fit_similarity(points: NDArray[np.float64], onto: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit the similarity transform (rotation, scale, translation) that maps points onto others by least squares.

    Source: Umeyama, PAMI 1991, without reflections.

    Args:
        points: (N,2).
        onto: (N,2).

    Returns:
        (2,3) matrix.
    """
    x, y = points.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, right, down = np.linalg.lstsq(rows, onto.T.reshape(-1), rcond=None)[0]
    return np.array([[a, -b, right], [b, a, down]])


def align_faces(pixels: Tensor, height: int, width: int, landmarks: Tensor | None = None) -> Tensor:
    """Warp photos so that their faces match the template; a photo without a face is resized as a whole.

    Args:
        pixels: (B,C,H,W) in [0,1], or uint8.
        height: of the network input, in pixels.
        width: of the network input, in pixels.
        landmarks: (B,5,2) in pixels of the photo, on the CPU, NaN for a photo without a face; detected if None.

    Returns:
        (B,C,height,width), differentiable in `pixels`; bicubic, black outside the photo.
    """
    from kornia.geometry.transform import warp_affine

    if landmarks is None:
        landmarks = main_faces(pixels)
    if pixels.dtype == torch.uint8:  # no float copy of a whole photo
        channels = (channel.float() / 255 for channel in pixels.chunk(pixels.shape[1], dim=1))
        return torch.cat([align_faces(channel, height, width, landmarks) for channel in channels], dim=1)
    size = tuple(pixels.shape[-2:])
    matrices = [_warp_matrix(points, size, height, width) for points in landmarks.double().numpy()]
    warped: Tensor = warp_affine(
        pixels,
        to_device(torch.tensor(np.stack(matrices)).to(pixels.dtype), pixels.device),
        (height, width),
        mode="bicubic",
        padding_mode="zeros",
        align_corners=True,
    )
    return warped


def main_faces(pixels: Tensor) -> Tensor:
    """Return the (B,5,2) landmarks, on the CPU, of the largest face in (B,C,H,W) photos (uint8 or in [0,1]), or NaN."""
    return torch.stack([_main_face(photo) for photo in pixels.detach()])


def _main_face(photo: Tensor) -> Tensor:
    image = to_array(photo if photo.dtype == torch.uint8 else (photo * 255).round().clamp(0, 255).to(torch.uint8))
    from onlymymodel.surrogates.face_detector import find_faces  # the detector takes seconds to import

    faces = find_faces(image)
    return torch.tensor(faces[0].landmarks) if faces else torch.full((5, 2), torch.nan)


def _warp_matrix(points: NDArray[np.float64], size: tuple[int, ...], height: int, width: int) -> NDArray[np.float64]:
    """Return the (2,3) matrix from photo to input in kornia's coordinates, where 0 is the center of the first pixel."""
    if np.isnan(points).any():
        matrix = np.array([[width / size[1], 0.0, 0.0], [0.0, height / size[0], 0.0]])
    else:
        matrix = fit_similarity(points, arcface_template(height, width))
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return shifted
