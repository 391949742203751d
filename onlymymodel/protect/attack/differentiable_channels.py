"""Differentiable JPEG, resizing and blur, for changes that survive them.

`data/processing.py` has the real codecs and filters, by which the result is measured.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from onlymymodel.protect.attack.jpeg import BLOCK, jpeg
from onlymymodel.protect.budget.filters import gaussian, reach

Transform = Callable[[Tensor], Tensor]
RESIZE_PROBABILITY = 0.5


def draw_channel(quality: int, smallest: float, generators: Sequence[Generator]) -> Transform | None:
    """Draw a resize and then a JPEG compression for each photo; None where neither is asked for.

    Args:
        quality: see `random_jpeg`; 0 for no JPEG.
        smallest: see `random_resize`; 0 for no resize.
        generators: one for each photo, on the CPU.
    """
    transforms = [
        *([random_resize(smallest, generators)] if smallest else []),
        *([random_jpeg(quality, generators)] if quality else []),
    ]
    if not transforms:
        return None

    def channel(pixels: Tensor) -> Tensor:
        for transform in transforms:
            pixels = transform(pixels)
        return pixels

    return channel


def random_jpeg(quality: int, generators: Sequence[Generator]) -> Transform:
    """Return a transform that compresses each (C,H,W) photo in [0,1] as JPEG of a random quality.

    The quality is drawn uniformly from `quality`, 1 to 100, to 100.
    """
    uniform = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    qualities = quality + (100 - quality) * uniform
    return lambda pixels: jpeg(pixels.expand(-1, 3, -1, -1), qualities.to(pixels))


def random_resize(smallest: float, generators: Sequence[Generator]) -> Transform:
    """Return a transform that resizes half of the (C,H,W) photos in [0,1] to a smaller size and back.

    The fraction of the size is drawn uniformly from `smallest`, above 0, to 1. Both resizes are bicubic and
    antialiased.
    """
    draws = [torch.rand(2, generator=generator).tolist() for generator in generators]
    scales = [
        smallest + (1 - smallest) * position if chance < RESIZE_PROBABILITY else 1.0 for chance, position in draws
    ]

    def resize(pixels: Tensor) -> Tensor:
        # one by one: each photo is resized to its own size
        return torch.cat([resize_and_back(pixels[row : row + 1], scale) for row, scale in enumerate(scales)])

    return resize


def resize(photo: Tensor, scale: float) -> Tensor:
    """Resize a (1,C,H,W) photo in [0,1] to a fraction of both sides; bicubic and antialiased, as Pillow's."""
    return _resize_to(photo, [max(1, round(side * scale)) for side in photo.shape[-2:]])


def resize_and_back(photo: Tensor, scale: float) -> Tensor:
    """Resize a (1,C,H,W) photo in [0,1] to a fraction of both sides, and back."""
    return _resize_to(resize(photo, scale), photo.shape[-2:])


def _resize_to(photo: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(photo.shape[-2:]) == tuple(size):
        return photo
    return F.interpolate(photo, size=tuple(size), mode="bicubic", antialias=True).clamp(0, 1)


@dataclass(frozen=True)
class DifferentiableStep:
    """A differentiable version of a function of `data.processing`, for (1,C,H,W) photos in [0,1].

    Attributes:
        resize: what happens first, to each channel alone; None for nothing.
        local: what happens then; gray may become three equal channels. None for nothing.
        reach: rows on both sides on which a row of `local` depends. Strips of rows have to start at whole blocks of a
            JPEG.
    """

    resize: Transform | None = None
    local: Transform | None = None
    reach: int = 0

    def __call__(self, photo: Tensor) -> Tensor:
        """Process a photo."""
        resized = photo if self.resize is None else self.resize(photo)
        return resized if self.local is None else self.local(resized)


def differentiable_step(step: str, options: Mapping[str, Any]) -> DifferentiableStep:
    """Return the differentiable version of a function of `data.processing`.

    WebP and AVIF become JPEG of the same quality. Noise and fewer colors pass gradients through unchanged (Athalye et
    al., ICML 2018).

    Args:
        step: name of the function; empty for no change.
        options: its arguments.
    """
    return STEPS[step](**options)


def _recompress(*, quality: int, **_: Any) -> DifferentiableStep:
    def compress(photo: Tensor) -> Tensor:
        return jpeg(photo.expand(-1, 3, -1, -1), torch.tensor([float(quality)]).to(photo))

    # chroma is upsampled across the edges of blocks
    return DifferentiableStep(local=compress, reach=2 * BLOCK)


def _upload(*, longest: int, quality: int, **_: Any) -> DifferentiableStep:
    def reduce(photo: Tensor) -> Tensor:
        return resize(photo, min(1.0, longest / max(photo.shape[-2:])))

    return replace(_recompress(quality=quality), resize=reduce)


def _same(**_: Any) -> DifferentiableStep:
    return DifferentiableStep()


STEPS: dict[str, Callable[..., DifferentiableStep]] = {
    "": _same,
    "recompress": _recompress,
    "upload": _upload,
    "reduce": lambda fraction: DifferentiableStep(resize=partial(resize, scale=fraction)),
    "resize_to_half_and_back": lambda: DifferentiableStep(resize=partial(resize_and_back, scale=0.5)),
    "blur": lambda: DifferentiableStep(local=partial(gaussian, sigma=1.0), reach=reach(1.0)),
    "add_noise": _same,
    "reduce_colors": _same,
    "change_gamma": lambda exponent: DifferentiableStep(local=lambda photo: photo**exponent),
}
