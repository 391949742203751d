"""Random views of a photo, as inputs of the networks that the attack uses.

A view is geometric (a sampling grid, which gives the point of the canvas at which each pixel of a network's input is
read) or changes the intensity of the center crop. `tables.VIEWS` lists them.

Gradients that hold under many views belong to the photo rather than to one network, so they transfer to unseen
networks. Every random number of a photo comes from that photo's own generator: its views do not depend on the other
photos of its batch.

Sources: resize-and-pad follows the input diversity of DI-FGSM (Xie et al., CVPR 2019, eq. 4); the block shuffle with
rotation follows BSR (Wang et al., CVPR 2024, sec. 3.2) with 2x2 blocks and 24 degrees.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from onlymymodel.data.portraits import EMOTIONS, render
from onlymymodel.protect.attack.tables import VIEWS, resolve
from onlymymodel.surrogates.classifier import Preprocess
from onlymymodel.surrogates.device_copy import to_device

SMALLEST_RESIZE = 0.8
DIVERSITY_RESIZE = 299 / 330
LARGEST_SHIFT = 0.1
SCALES = (0.8, 1.2)
CROP_AREA = (0.5, 0.9)
AFFINE_DEGREES = 15.0
BLOCK_DEGREES = 24.0
SCALE_COPIES = 5
ADMIX_SHARE = 0.2
ADMIX_PICTURES, ADMIX_SEED = 8, 3_000_000


@dataclass(frozen=True)
class Frame:
    """A crop (top, left, height, width) of a canvas, in pixels of the canvas."""

    top: int
    left: int
    height: int
    width: int

    def points(self) -> Tensor:
        """Return the (height, width, 2) pixel centers of the crop as (x, y) on the canvas."""
        y = torch.arange(self.height) + 0.5 + self.top
        x = torch.arange(self.width) + 0.5 + self.left
        return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)


class GeometricView(Protocol):
    """Draw a sampling grid: (height, width, 2) points (x, y) on the canvas, one for each pixel of the input."""

    def __call__(self, frame: Frame, generator: Generator) -> Tensor: ...


class IntensityView(Protocol):
    """Change the values of a (3,height,width) center crop.

    Args:
        view_index: number of this view among the `copies` of one step, from 0.
    """

    def __call__(self, crop: Tensor, generator: Generator, view_index: int) -> Tensor: ...


def center(frame: Frame, generator: Generator) -> Tensor:  # noqa: ARG001 - every view has the same signature
    """Return the crop unchanged."""
    return frame.points()


def resize_pad(frame: Frame, generator: Generator, smallest: float = SMALLEST_RESIZE) -> Tensor:
    """Shrink the crop to 80-100 %, or from another share on, and place it at random in the input."""
    shrink, right, down = _uniform(generator, 3)
    scale = smallest + (1 - smallest) * shrink
    origin = torch.tensor([frame.left, frame.top], dtype=torch.float32)
    offset = torch.tensor([frame.width * (1 - scale) * right, frame.height * (1 - scale) * down])
    return (frame.points() - origin - offset) / scale + origin


def input_diversity(frame: Frame, generator: Generator) -> Tensor:
    """Shrink the crop to 299/330-100 % and place it at random in the input (DI-FGSM, Xie et al., CVPR 2019)."""
    return resize_pad(frame, generator, smallest=DIVERSITY_RESIZE)


def crop(frame: Frame, generator: Generator) -> Tensor:
    """Enlarge a random part of 50-90 % of the area (M-Attack, Li et al., 2025, where the shape varies too)."""
    size, right, down = _uniform(generator, 3)
    scale = math.sqrt(CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * size)
    origin = torch.tensor([frame.left, frame.top], dtype=torch.float32)
    offset = torch.tensor([frame.width * (1 - scale) * right, frame.height * (1 - scale) * down])
    return (frame.points() - origin) * scale + offset + origin


def affine(frame: Frame, generator: Generator) -> Tensor:
    """Shift by up to 10 %, scale by 0.8-1.2 and rotate by up to 15 degrees about the center."""
    right, down, size, angle = _uniform(generator, 4)
    scale = SCALES[0] + (SCALES[1] - SCALES[0]) * size
    extent = torch.tensor([frame.width, frame.height], dtype=torch.float32)
    shift = (torch.tensor([right, down]) * 2 - 1) * LARGEST_SHIFT * extent
    center_point = torch.tensor([frame.left, frame.top]) + extent / 2
    return rotate(frame.points() - center_point, (angle * 2 - 1) * AFFINE_DEGREES) / scale + center_point + shift


def block_shuffle(frame: Frame, generator: Generator) -> Tensor:
    """Cut into 2x2 blocks at random, shuffle the blocks and rotate each by up to 24 degrees."""
    points = frame.points()
    out = torch.empty_like(points)
    for x_to, x_from, width in _shuffled_halves(frame.width, generator):
        for y_to, y_from, height in _shuffled_halves(frame.height, generator):
            block = points[y_from : y_from + height, x_from : x_from + width]
            block_center = block.flatten(0, 1).mean(0)
            degrees = (_uniform(generator, 1)[0] * 2 - 1) * BLOCK_DEGREES
            out[y_to : y_to + height, x_to : x_to + width] = rotate(block - block_center, degrees) + block_center
    return out


def scales(crop: Tensor, generator: Generator, view_index: int) -> Tensor:  # noqa: ARG001 - as for `center`
    """Halve the values of the crop `view_index` times, cycling through 5 scales."""
    return crop / float(2 ** (view_index % SCALE_COPIES))


def admix(crop: Tensor, generator: Generator, view_index: int) -> Tensor:
    """Add a fifth of another picture, then apply `scales`.

    The paper mixes in photos of the same batch. Here they are rendered: a photo's result must not depend on its batch.
    """
    pictures = _admix_pictures(crop.shape[1], crop.shape[2], crop.device)
    picture = pictures[int(_uniform(generator, 1)[0] * len(pictures))]
    return scales(crop + ADMIX_SHARE * picture, generator, view_index)


def apply_view(
    canvas: Tensor, preprocess: Preprocess, names: Sequence[str], generators: Sequence[Generator], view_index: int = 0
) -> Tensor:
    """Draw one view for each photo and read the network's input through it.

    Args:
        canvas: (B,3,h,w) in [0,1], the whole photo, see `Preprocess.canvas`.
        preprocess: size of the network's input.
        names: keys of `VIEWS` to draw from with equal probability.
        generators: one for each photo, on the CPU.
        view_index: number of this view among the `copies` of one step, from 0.

    Returns:
        (B,3,height,width), differentiable in `canvas`; black beyond the canvas. In [0,1] except for `admix`.
    """
    if tuple(names) == ("center",):
        return preprocess.center(canvas)
    drawn = [_choose(names, generator) for generator in generators]
    if not any(VIEWS[name].kind == "intensity" for name in drawn):
        return _sample(canvas, drawn, preprocess, generators)
    # one by one, so that a photo is read in the same way for any draws of its neighbors
    views = []
    for name, photo, generator in zip(drawn, canvas, generators, strict=True):
        if VIEWS[name].kind == "intensity":
            change_intensity: IntensityView = resolve(VIEWS[name].function)
            views.append(change_intensity(preprocess.center(photo), generator, view_index))
        else:
            views.append(_sample(photo[None], [name], preprocess, [generator])[0])
    return torch.stack(views)


def _sample(canvas: Tensor, names: Sequence[str], preprocess: Preprocess, generators: Sequence[Generator]) -> Tensor:
    """Read each photo through the sampling grid of its view."""
    height, width = canvas.shape[-2:]
    return sample(canvas, [_grid(*drawn, preprocess, height, width) for drawn in zip(names, generators, strict=True)])


def sample(photos: Tensor, points: Sequence[Tensor]) -> Tensor:
    """Read each of (B,C,H,W) photos at its (h,w,2) points (x, y) in pixels; black beyond the photo."""
    height, width = photos.shape[-2:]
    grids = (torch.stack(list(points)) / torch.tensor([width / 2, height / 2]) - 1).to(photos.dtype)
    return F.grid_sample(photos, to_device(grids, photos.device), padding_mode="zeros", align_corners=False)


def _grid(name: str, generator: Generator, preprocess: Preprocess, height: int, width: int) -> Tensor:
    """Draw the view's grid, of the center crop for `center` and of a crop anywhere on the canvas for all others.

    Unknown models crop photos elsewhere or not at all: the change has to reach the borders too.
    """
    top, left = preprocess.crop_box(height, width)
    if name != "center":
        down, right = _uniform(generator, 2)
        top, left = _crop_offset(height - preprocess.height, down), _crop_offset(width - preprocess.width, right)
    view: GeometricView = resolve(VIEWS[name].function)
    return view(Frame(top, left, preprocess.height, preprocess.width), generator)


@cache
def _admix_pictures(height: int, width: int, device: torch.device) -> Tensor:
    """Render (8,3,height,width) portraits in [0,1]."""
    side = max(height, width)
    pictures = [
        torch.from_numpy(render(index, index % len(EMOTIONS), ADMIX_SEED + index, side))
        for index in range(ADMIX_PICTURES)
    ]
    return to_device(torch.stack(pictures).permute(0, 3, 1, 2)[..., :height, :width].float() / 255, device)


def _crop_offset(largest: int, fraction: float) -> int:
    """Map a uniform number to an offset from 0 to `largest`; each end gets a tenth, so that borders are sampled."""
    return round(largest * min(max(1.25 * fraction - 0.125, 0.0), 1.0))


def _uniform(generator: Generator, count: int) -> list[float]:
    numbers: list[float] = torch.rand(count, generator=generator).tolist()
    return numbers


def _choose(names: Sequence[str], generator: Generator) -> str:
    return names[int(_uniform(generator, 1)[0] * len(names))]


def rotate(points: Tensor, degrees: float) -> Tensor:
    """Rotate (..., 2) points (x, y) about the origin, clockwise as seen in a photo."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return points @ torch.tensor([[cosine, sine], [-sine, cosine]])


def _shuffled_halves(length: int, generator: Generator) -> list[tuple[int, int, int]]:
    """Cut `length` in two at random and swap the parts or not: (to, from, size) of each."""
    position, swap = _uniform(generator, 2)
    cut = min(max(round(length * (0.2 + 0.6 * position)), 1), length - 1)
    if swap < 0.5:
        return [(0, 0, cut), (cut, cut, length - cut)]
    return [(0, cut, length - cut), (length - cut, 0, cut)]
