"""Random views of a photo. A view is a sampling grid, which says where on the canvas each pixel of a network's input is
read, or a shade, which changes the values of the center crop.

Gradients that hold under many views belong to the photo rather than to one network, so they carry over to networks
that nobody has seen. Every random number of a photo comes from that photo's own generator: its views do not depend
on which other photos share its batch.

Sources: resize-and-pad is the input diversity of DI-FGSM (Xie et al., CVPR 2019, eq. 4); the block shuffle with
rotation follows BSR (Wang et al., CVPR 2024, sec. 3.2) with 2x2 blocks and 24 degrees.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from onlymymodel.data.portraits import EMOTIONS, render
from onlymymodel.surrogates.classifier import Preprocess

SMALLEST_RESIZE = 0.8
LARGEST_SHIFT = 0.1
SCALES = (0.8, 1.2)
AFFINE_DEGREES = 15.0
BLOCK_DEGREES = 24.0
SCALE_COPIES = 5
ADMIX_SHARE = 0.2
STRANGERS, STRANGER_SEED = 8, 3_000_000


@dataclass(frozen=True)
class Frame:
    """The center crop (top, left, height, width) on a canvas, in canvas pixels."""

    top: int
    left: int
    height: int
    width: int

    def points(self) -> Tensor:
        """(height, width, 2) pixel centers of the crop as (x, y) on the canvas."""
        y = torch.arange(self.height) + 0.5 + self.top
        x = torch.arange(self.width) + 0.5 + self.left
        return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)


def center(frame: Frame, generator: Generator) -> Tensor:  # noqa: ARG001 - every view has the same signature
    """The crop as it is."""
    return frame.points()


def resize_pad(frame: Frame, generator: Generator) -> Tensor:
    """The crop shrunk to 80-100 % and put at a random place of the input."""
    shrink, right, down = _uniform(generator, 3)
    scale = SMALLEST_RESIZE + (1 - SMALLEST_RESIZE) * shrink
    origin = torch.tensor([frame.left, frame.top], dtype=torch.float32)
    room = torch.tensor([frame.width * (1 - scale) * right, frame.height * (1 - scale) * down])
    return (frame.points() - origin - room) / scale + origin


def affine(frame: Frame, generator: Generator) -> Tensor:
    """Shifted by up to 10 %, scaled by 0.8-1.2 and rotated by up to 15 degrees about the middle."""
    right, down, size, turn = _uniform(generator, 4)
    scale = SCALES[0] + (SCALES[1] - SCALES[0]) * size
    extent = torch.tensor([frame.width, frame.height], dtype=torch.float32)
    shift = (torch.tensor([right, down]) * 2 - 1) * LARGEST_SHIFT * extent
    middle = torch.tensor([frame.left, frame.top]) + extent / 2
    return _rotate(frame.points() - middle, (turn * 2 - 1) * AFFINE_DEGREES) / scale + middle + shift


def block_shuffle(frame: Frame, generator: Generator) -> Tensor:
    """Cut into 2x2 blocks at random places; the blocks change places, each rotated by up to 24 degrees."""
    points = frame.points()
    out = torch.empty_like(points)
    for x_to, x_from, width in _shuffled_halves(frame.width, generator):
        for y_to, y_from, height in _shuffled_halves(frame.height, generator):
            block = points[y_from : y_from + height, x_from : x_from + width]
            middle = block.flatten(0, 1).mean(0)
            degrees = (_uniform(generator, 1)[0] * 2 - 1) * BLOCK_DEGREES
            out[y_to : y_to + height, x_to : x_to + width] = _rotate(block - middle, degrees) + middle
    return out


def scales(crop: Tensor, generator: Generator, copy: int) -> Tensor:  # noqa: ARG001 - every shade has the same signature
    """The crop's values halved `copy` times, 5 scales in turn."""
    return crop / float(2 ** (copy % SCALE_COPIES))


def admix(crop: Tensor, generator: Generator, copy: int) -> Tensor:
    """A fifth of another picture added, then `scales`.

    The paper mixes in photos of the same batch. Here they are rendered: a photo's result must not depend on its batch.
    """
    others = _strangers(crop.shape[1], crop.shape[2]).to(crop)
    other = others[int(_uniform(generator, 1)[0] * len(others))]
    return scales(crop + ADMIX_SHARE * other, generator, copy)


GRIDS: dict[str, Callable[[Frame, Generator], Tensor]] = {
    "center": center,
    "resize_pad": resize_pad,
    "affine": affine,
    "block_shuffle": block_shuffle,
}
SHADES: dict[str, Callable[[Tensor, Generator, int], Tensor]] = {"scales": scales, "admix": admix}
VIEWS = (*GRIDS, *SHADES)


def look(
    canvas: Tensor, preprocess: Preprocess, names: Sequence[str], generators: Sequence[Generator], copy: int = 0
) -> Tensor:
    """Draw one view for each photo and read the network's input through it.

    Args:
        canvas: (B,3,h,w) in [0,1], the whole photo, see `Preprocess.canvas`.
        preprocess: size of the network's input.
        names: keys of `VIEWS` to draw from, each as likely as the others.
        generators: one for each photo, on the CPU.
        copy: the how manieth look of this step it is, from 0.

    Returns:
        (B,3,height,width), differentiable in `canvas`; black beyond the canvas. In [0,1] but for `admix`.
    """
    if tuple(names) == ("center",):
        return preprocess.center(canvas)
    chosen = [_choose(names, stream) for stream in generators]
    if not any(name in SHADES for name in chosen):
        return _sampled(canvas, chosen, preprocess, generators)
    # one by one, so that a photo is read in the same way whatever its neighbors drew
    looks = [
        SHADES[name](preprocess.center(photo), stream, copy)
        if name in SHADES
        else _sampled(photo[None], [name], preprocess, [stream])[0]
        for name, photo, stream in zip(chosen, canvas, generators, strict=True)
    ]
    return torch.stack(looks)


def _sampled(canvas: Tensor, names: Sequence[str], preprocess: Preprocess, generators: Sequence[Generator]) -> Tensor:
    """Each photo read through the grid of its name."""
    height, width = canvas.shape[-2:]
    grids = torch.stack([_grid(*both, preprocess, height, width) for both in zip(names, generators, strict=True)])
    grids = (grids / torch.tensor([width / 2, height / 2]) - 1).to(canvas.device, canvas.dtype)
    return F.grid_sample(canvas, grids, padding_mode="zeros", align_corners=False)


def _grid(name: str, generator: Generator, preprocess: Preprocess, height: int, width: int) -> Tensor:
    """The view's grid, of the center crop or, for all random grids, of a crop anywhere on the canvas.

    Unknown models cut photos elsewhere or not at all: the change has to reach the borders too.
    """
    top, left = preprocess.crop_box(height, width)
    if name != "center":
        down, right = _uniform(generator, 2)
        top, left = _place(height - preprocess.height, down), _place(width - preprocess.width, right)
    return GRIDS[name](Frame(top, left, preprocess.height, preprocess.width), generator)


@cache
def _strangers(height: int, width: int) -> Tensor:
    """(8,3,height,width) rendered portraits in [0,1]."""
    side = max(height, width)
    pictures = [
        torch.from_numpy(render(index, index % len(EMOTIONS), STRANGER_SEED + index, side))
        for index in range(STRANGERS)
    ]
    return torch.stack(pictures).permute(0, 3, 1, 2)[..., :height, :width].float() / 255


def _place(room: int, share: float) -> int:
    """A whole number from 0 to `room`; each end takes a tenth of the draws, or borders would hardly be seen."""
    return round(room * min(max(1.25 * share - 0.125, 0.0), 1.0))


def _uniform(generator: Generator, count: int) -> list[float]:
    numbers: list[float] = torch.rand(count, generator=generator).tolist()
    return numbers


def _choose(names: Sequence[str], generator: Generator) -> str:
    return names[int(_uniform(generator, 1)[0] * len(names))]


def _rotate(points: Tensor, degrees: float) -> Tensor:
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return points @ torch.tensor([[cosine, sine], [-sine, cosine]])


def _shuffled_halves(length: int, generator: Generator) -> list[tuple[int, int, int]]:
    """Cut `length` in two at a random place and maybe swap the parts: (to, from, size) of each."""
    place, swap = _uniform(generator, 2)
    cut = min(max(round(length * (0.2 + 0.6 * place)), 1), length - 1)
    if swap < 0.5:
        return [(0, 0, cut), (cut, cut, length - cut)]
    return [(0, cut, length - cut), (length - cut, 0, cut)]
