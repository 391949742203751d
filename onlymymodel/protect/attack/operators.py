"""Random operators of OPS (Guo et al., CVPR 2025) on the input of a network.

Operators of the paper: identity, flips, cyclic shifts, rotations, division of the values, and smaller photos on black.
Two to four of them are applied one after the other. Rotations are interpolated; the paper's take the nearest pixel.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from onlymymodel.protect.attack.views import Frame, resize_pad, rotate, sample

LEVELS = (2, 3, 4)  # operators that are applied one after the other
DEGREES = (5, -5, 15, -15, 45, -45, 90, -90, 180)
DIVISORS = range(2, 9)
ENLARGEMENTS = (1.1, 1.3, 1.5, 1.7, 1.9, 2.1, 2.3, 2.5, 2.7, 2.9)  # of the black canvas on which the photo is placed

Operator = Callable[[Tensor, Generator], Tensor]


def operators(crop: Tensor, generator: Generator, view_index: int) -> Tensor:  # noqa: ARG001 - as for every view
    """Apply two to four random operators to a (3,height,width) crop."""
    for _ in range(LEVELS[_draw(len(LEVELS), generator)]):
        crop = OPERATORS[_draw(len(OPERATORS), generator)](crop, generator)
    return crop


def shift(crop: Tensor, generator: Generator, dim: int) -> Tensor:
    """Shift by a random number of pixels; what leaves on one side comes in on the other."""
    return crop.roll(_draw(crop.shape[dim], generator), dims=dim)


def turn(crop: Tensor, degrees: float) -> Tensor:
    """Rotate counterclockwise about the center; black beyond the crop."""
    points = _frame(crop).points()
    center = points.flatten(0, 1).mean(0)
    return sample(crop[None], [rotate(points - center, degrees) + center])[0]


def place(crop: Tensor, generator: Generator, enlargement: float) -> Tensor:
    """Place the crop on a larger black canvas, at a random size and place, and shrink the canvas to the crop's size."""
    return sample(crop[None], [resize_pad(_frame(crop), generator, smallest=1 / enlargement)])[0]


def _frame(crop: Tensor) -> Frame:
    return Frame(0, 0, crop.shape[1], crop.shape[2])


def _draw(choices: int, generator: Generator) -> int:
    return int(torch.randint(choices, (1,), generator=generator))


OPERATORS: tuple[Operator, ...] = (
    lambda crop, _: crop,
    lambda crop, _: crop.flip(1),
    lambda crop, _: crop.flip(2),
    lambda crop, generator: shift(crop, generator, 1),
    lambda crop, generator: shift(crop, generator, 2),
    *(lambda crop, _, degrees=degrees: turn(crop, degrees) for degrees in DEGREES),
    *(lambda crop, _, divisor=divisor: crop / divisor for divisor in DIVISORS),
    *(lambda crop, generator, size=size: place(crop, generator, size) for size in ENLARGEMENTS),
)
