"""Differentiable JPEG, resizing, blur and the purifier, for changes that survive them.

`data/processing.py` has the real codecs and filters, by which the result is measured.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from onlymymodel.data.processing import AVERAGED, LADDER
from onlymymodel.protect.attack.jpeg import BLOCK, jpeg
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.budget.filters import gaussian, reach
from onlymymodel.surrogates.device_copy import to_device
from onlymymodel.surrogates.purifier import purify_pixels

Transform = Callable[[Tensor], Tensor]
RESIZE_PROBABILITY = 0.5
# of a party that cleans photos
QUALITIES = (50.0, 95.0)
SIZES = (0.4, 1.0)
BLURS = (0.4, 1.2)  # standard deviation in pixels


class DrawnChannels(NamedTuple):
    """The transforms that are drawn for the photos of one step; None is the identity.

    Attributes:
        all: applied before all models.
        push: applied before the stand-ins, or whatever the objective reads.
    """

    all: Transform | None
    push: Transform | None


def draw_channels(recipe: Recipe, generators: Sequence[Generator]) -> DrawnChannels:
    """Draw a resize, a JPEG compression and a cleaning for each photo, as far as the recipe asks for them.

    Args:
        recipe: its `resize_share`, `jpeg_quality` and `against`.
        generators: one for each photo, on the CPU.
    """
    received = [
        *([random_resize(recipe.resize_share, generators)] if recipe.resize_share else []),
        *([random_jpeg(recipe.jpeg_quality, generators)] if recipe.jpeg_quality else []),
    ]
    cleaned = [random_cleaning(recipe.against, generators)] if recipe.against else []
    return DrawnChannels(_in_turn(received), _in_turn([*received, *cleaned]))


def _in_turn(transforms: Sequence[Transform]) -> Transform | None:
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
    return lambda pixels: jpeg(pixels.expand(-1, 3, -1, -1), to_device(qualities.to(pixels.dtype), pixels.device))


def random_resize(smallest: float, generators: Sequence[Generator]) -> Transform:
    """Return a transform that resizes half of the (C,H,W) photos in [0,1] to a smaller size and back.

    The fraction of the size is drawn uniformly from `smallest`, above 0, to 1. Both resizes are bicubic and
    antialiased.
    """
    draws = [torch.rand(2, generator=generator).tolist() for generator in generators]
    scales = [
        smallest + (1 - smallest) * position if chance < RESIZE_PROBABILITY else 1.0 for chance, position in draws
    ]

    return _each([partial(resize_and_back, scale=scale) for scale in scales])


def random_cleaning(names: Sequence[str], generators: Sequence[Generator]) -> Transform:
    """Return a transform that cleans each (C,H,W) photo in [0,1] as one party of `CLEANING` would, or not at all.

    The parties, and none, are equally likely (expectation over transformation, Athalye et al., ICML 2018).

    Args:
        names: of the parties.
        generators: one for each photo, on the CPU.
    """
    transforms: list[Transform] = []
    for generator in generators:
        choice, amount = torch.rand(2, generator=generator).tolist()
        drawn = int(choice * (len(names) + 1))
        transforms.append(CLEANING[names[drawn]](amount) if drawn < len(names) else torch.clone)
    cleaned = _each(transforms)
    return lambda pixels: cleaned(pixels.expand(-1, 3, -1, -1))


def _each(transforms: Sequence[Transform]) -> Transform:
    """Return a transform of a batch that applies to each photo its own."""
    return lambda pixels: torch.cat([transform(pixels[row : row + 1]) for row, transform in enumerate(transforms)])


def between(limits: tuple[float, float], fraction: float) -> float:
    """Return the number at a fraction of the way from the first limit to the second."""
    return limits[0] + (limits[1] - limits[0]) * fraction


def average_resized(photo: Tensor) -> Tensor:
    """Return the mean of copies of a (1,C,H,W) photo in [0,1] that were resized by `AVERAGED` and back."""
    return torch.stack([resize_and_back(photo, fraction) for fraction in AVERAGED]).mean(0)


def compress_in_turn(photo: Tensor) -> Tensor:
    """Compress a (1,C,H,W) photo in [0,1] as JPEG of each quality of `LADDER`, one after the other."""
    for quality in LADDER:
        photo = compress(photo, quality)
    return photo


def compress(photo: Tensor, quality: float) -> Tensor:
    """Compress a (1,C,H,W) photo in [0,1] as JPEG; gray becomes three channels."""
    return jpeg(photo.expand(-1, 3, -1, -1), photo.new_full((1,), float(quality)))


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
    # chroma is upsampled across the edges of blocks
    return DifferentiableStep(local=partial(compress, quality=quality), reach=2 * BLOCK)


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

# how each party of `tables.AGAINST` cleans a (1,3,H,W) photo in [0,1], by a number in [0,1] that says how much
CLEANING: dict[str, Callable[[float], Transform]] = {
    "jpeg": lambda amount: partial(compress, quality=between(QUALITIES, amount)),
    "jpeg-ladder": lambda _: compress_in_turn,
    "resize": lambda amount: partial(resize_and_back, scale=between(SIZES, amount)),
    "averaged": lambda _: average_resized,
    "blur": lambda amount: partial(gaussian, sigma=between(BLURS, amount)),
    "purifier": lambda _: purify_pixels,
}
