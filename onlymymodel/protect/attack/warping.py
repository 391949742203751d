"""DeCoWA (Lin et al., AAAI 2024): views warped by a thin-plate spline, in the direction in which the loss falls."""

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from onlymymodel.protect.attack.objective import EnsembleObjective
from onlymymodel.surrogates.device_copy import constant_on, to_device


class WarpedObjective(EnsembleObjective):
    """Mean gradient of the surrogates' losses on warped photos.

    The control points of a warp are the corners, the middles of the edges and the middle of the photo. The middle one
    moves to a random place, and then by one step of gradient descent on the surrogate's loss: the view is harder to
    attack.

    Settings of the paper: 3x3 control points, moved by up to 1 in coordinates from -1 to 1, rate 0.01. Its warps are
    drawn once for a batch of photos; here each photo has its own. Each view takes two passes.
    """

    LARGEST_MOVE = 1.0
    RATE = 0.01

    def _view(
        self, index: int, canvas: Tensor, rows: Tensor, generators: Sequence[Generator], view_index: int
    ) -> Tensor:
        """See `EnsembleObjective`."""
        if self._needs_center(index):
            return super()._view(index, canvas, rows, generators, view_index)
        crop = self.surrogates[index].card.preprocess.center(canvas)
        drawn = torch.stack([torch.rand(2, generator=generator) for generator in generators])
        moves = to_device((drawn * 2 - 1) * self.LARGEST_MOVE, crop.device).requires_grad_()
        loss, _ = self.losses[index](warp(crop.detach(), moves), rows)
        (gradient,) = torch.autograd.grad(loss.sum(), moves)
        return warp(crop, moves.detach() - self.RATE * gradient)


def warp(photos: Tensor, moves: Tensor) -> Tensor:
    """Warp photos by moving the middle one of 3x3 control points; the others stay.

    Args:
        photos: (B,C,H,W).
        moves: (B,2) right and down, in coordinates from -1 to 1: where the middle of the result is read.

    Returns:
        (B,C,H,W), differentiable in both; black beyond the photo.
    """
    height, width = photos.shape[-2:]
    points, influence = (constant_on(values, photos.device) for values in _middle_control_point(height, width))
    grid = points + influence[..., None] * moves[:, None, None]
    return F.grid_sample(photos, grid.to(photos.dtype), padding_mode="zeros", align_corners=False)


@cache
def _middle_control_point(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the (H,W,2) pixel centers as (x, y) from -1 to 1, and by what share (H,W) of the middle's move each moves.

    The spline is linear in what it interpolates and keeps straight lines, so that this share is the spline through 1 at
    the middle control point and 0 at the others.
    """
    places = torch.linspace(-1, 1, 3, dtype=torch.float64)
    control = torch.stack(torch.meshgrid(places, places, indexing="ij")[::-1], dim=-1).flatten(0, 1)
    y, x = ((torch.arange(size, dtype=torch.float64) + 0.5) * 2 / size - 1 for size in (height, width))
    points = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)

    affine = torch.cat([torch.ones(9, 1, dtype=torch.float64), control], dim=1)
    system = torch.zeros(12, 12, dtype=torch.float64)
    system[:9, :9], system[:9, 9:], system[9:, :9] = _kernel(control, control), affine, affine.T
    values = torch.zeros(12, dtype=torch.float64)
    values[4] = 1
    weights = torch.linalg.solve(system, values)
    flat = points.flatten(0, 1)
    influence = _kernel(flat, control) @ weights[:9] + weights[9] + flat @ weights[10:]
    return points.float(), influence.reshape(height, width).float()


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    """Return r^2 log r of the distances r between two sets of points."""
    distances = torch.cdist(first, second)
    return torch.xlogy(distances.square(), distances)
