"""FLIP (Andersson et al., HPG 2020): how different two photos look when one flips between them on a screen.

0 is equal, 1 is the largest difference. Both photos are filtered as the eye does at the given distance, their colors
are compared, and differences at edges and points weigh more. The reference implementation (`flip-evaluator`), to which
tests compare this one, takes seconds for a photo.
"""

from collections.abc import Callable
from functools import cache
from math import ceil, pi, sqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from onlymymodel.data.pixels import as_floats
from onlymymodel.data.strips import strips
from onlymymodel.protect.budget.filters import separable
from onlymymodel.protect.budget.measure_once import measured_once
from onlymymodel.surrogates.device_copy import constant_on

KEPT = 4  # strips of an original that are kept as the eye sees them; others are filtered again for each measurement
PIXELS_PER_DEGREE = 67.0  # a screen 0.7 m wide with 3840 pixels, seen from 0.7 m
DEFINITION = f"mean over the photo of LDR FLIP, {PIXELS_PER_DEGREE:g} pixels per degree of visual angle, sRGB"

# the eye's contrast sensitivity to luminance, red-green and blue-yellow: sums of a * sqrt(pi / b) * exp(-(pi d)^2 / b),
# d in degrees
SENSITIVITY = (((1.0, 0.0047),), ((1.0, 0.0053),), ((34.1, 0.04), (13.5, 0.025)))
FEATURE_WIDTH = 0.082  # of the edges and points that are detected, in degrees
COLOR_EXPONENT, FEATURE_EXPONENT = 0.7, 0.5
KNEE, AT_KNEE = 0.4, 0.95  # color differences of up to this fraction of the largest fill the range up to this value
LAB_KNEE = 6 / 29  # where L*a*b* turns from a line into a cube root

# linear sRGB to X, Y and Z as fractions of those of white (D65)
TO_XYZ = torch.tensor(
    [[0.4123908, 0.3575843, 0.1804808], [0.2126390, 0.7151687, 0.0721923], [0.0193308, 0.1191948, 0.9505322]],
    dtype=torch.double,
) / torch.tensor([[0.950428545], [1.0], [1.088900371]], dtype=torch.double)
# X, Y and Z to the opponent channels, without the offset of the first
TO_OPPONENT = torch.tensor([[0.0, 116, 0], [500, -500, 0], [0, 200, -200]], dtype=torch.double)
LINEAR_TO_OPPONENT = TO_OPPONENT @ TO_XYZ
OPPONENT_TO_LINEAR = torch.linalg.inv(LINEAR_TO_OPPONENT)


class _Filters(NamedTuple):
    """Filters along one axis, as tuples of weights from one end to the other.

    Attributes:
        sensitivity: for each opponent channel the Gaussians of its filter, with their shares.
        smooth, edge, point: a Gaussian with the sum 1, and its derivatives, whose positive weights sum to 1 and whose
            negative ones to -1.
    """

    sensitivity: tuple[tuple[tuple[float, tuple[float, ...]], ...], ...]
    smooth: tuple[float, ...]
    edge: tuple[float, ...]
    point: tuple[float, ...]


class _Seen(NamedTuple):
    """Perceived image of a photo: (3,H,W) colors in L*a*b*, chroma less in the dark, and (2,H,W) edges and points."""

    colors: Tensor
    features: Tensor


class _Band(NamedTuple):
    """Rows of a photo that are worked on together, with those around them on which they depend.

    Attributes:
        rows: all of them.
        inner: those that count, among `rows`.
    """

    rows: slice
    inner: slice

    @classmethod
    def around(cls, rows: slice, height: int) -> "_Band":
        """Return the band of these rows of a photo."""
        top, bottom = max(rows.start - REACH, 0), min(rows.stop + REACH, height)
        return cls(slice(top, bottom), slice(rows.start - top, rows.stop - top))

    def inside(self, seen: _Seen) -> _Seen:
        """Return what was seen in the rows that count."""
        return _Seen(seen.colors[:, self.inner], seen.features[:, self.inner])


@measured_once
def flip(first: Tensor, second: Tensor) -> float:
    """Return the FLIP of two photos, see `DEFINITION`.

    Args:
        first: (C,H,W) uint8; C is 3 (RGB) or 1 (gray).
        second: of the same shape.
    """
    height, width = first.shape[-2:]
    total = 0.0
    for band in (_Band.around(rows, height) for rows in strips(height, width)):
        seen = (band.inside(_see(photo[..., band.rows, :].float() / 255)) for photo in (first, second))
        total += float(_difference(*seen).double().sum())
    return total / (height * width)


def flip_map(first: Tensor, second: Tensor) -> Tensor:
    """Return the difference at each pixel, (H,W) in [0,1], of two (C,H,W) photos in [0,1]."""
    return _difference(_see(first), _see(second))


def distance_from(original: Tensor) -> Callable[[Tensor, float], float]:
    """Return a function that measures the FLIP of a photo and the photo + scale * delta, from delta and scale.

    Args:
        original: (C,H,W) in [0,1], or uint8; the change has the same shape.
    """
    height, width = original.shape[-2:]
    bands = [_Band.around(rows, height) for rows in strips(height, width)]

    def see(band: _Band, delta: Tensor | None = None, scale: float = 1.0) -> _Seen:
        photo = as_floats(original[..., band.rows, :])
        return band.inside(_see(photo if delta is None else photo + scale * delta[..., band.rows, :]))

    kept = [see(band) for band in bands[:KEPT]]

    def distance(delta: Tensor, scale: float) -> float:
        total = 0.0
        for index, band in enumerate(bands):
            clean = kept[index] if index < len(kept) else see(band)
            total += float(_difference(clean, see(band, delta, scale)).double().sum())
        return total / (height * width)

    return distance


@torch.no_grad()
def _see(photo: Tensor) -> _Seen:
    photo = photo.expand(3, -1, -1)
    linear = torch.where(photo > 0.04045, ((photo.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4, photo / 12.92)
    filters, opponent = _filters(), _mix(LINEAR_TO_OPPONENT, linear)
    seen = torch.empty_like(opponent)
    for channel, parts in enumerate(filters.sensitivity):
        plane = opponent[channel]
        seen[channel] = sum((share * _filter(plane, weights, weights) for share, weights in parts), torch.zeros(()))
    linear_again = _mix(OPPONENT_TO_LINEAR, seen).clamp_(0, 1)
    luminance = opponent[0] / 116
    features = [
        torch.hypot(_filter(luminance, weights, filters.smooth), _filter(luminance, filters.smooth, weights))
        for weights in (filters.edge, filters.point)
    ]
    return _Seen(_lab(linear_again), torch.stack(features))


@torch.no_grad()
def _difference(first: _Seen, second: _Seen) -> Tensor:
    largest = _largest_difference()
    color = _hyab(first.colors, second.colors) ** COLOR_EXPONENT
    above = AT_KNEE + (color - KNEE * largest) * ((1 - AT_KNEE) / (largest - KNEE * largest))
    color = torch.where(color < KNEE * largest, AT_KNEE / (KNEE * largest) * color, above)
    feature = (first.features - second.features).abs().amax(0) / sqrt(2)
    difference: Tensor = color ** (1 - feature**FEATURE_EXPONENT)
    return difference


def _filter(plane: Tensor, across: tuple[float, ...], down: tuple[float, ...]) -> Tensor:
    """Filter (H,W) with one filter along the rows and one along the columns, with repeated edges."""
    side = len(across) // 2
    return separable(F.pad(plane[None], (side, side, side, side), mode="replicate")[0], across, down)


def _mix(matrix: Tensor, channels: Tensor) -> Tensor:
    """Return linear combinations of (3,H,W) channels."""
    return (constant_on(matrix, channels.device).to(channels.dtype) @ channels.flatten(1)).view_as(channels)


def _lab(linear: Tensor) -> Tensor:
    """Return L*a*b* of linear sRGB; a* and b* are multiplied by L* / 100 (Hunt), since colors are weak in the dark."""
    ratios = _mix(TO_XYZ, linear)
    roots = ratios.clamp_min(LAB_KNEE**3) ** (1 / 3)
    x, y, z = torch.where(ratios > LAB_KNEE**3, roots, ratios / (3 * LAB_KNEE**2) + 4 / 29)
    lightness = 116 * y - 16
    return torch.stack([lightness, 5 * lightness * (x - y), 2 * lightness * (y - z)])


def _hyab(first: Tensor, second: Tensor) -> Tensor:
    change = first - second
    return change[0].abs() + torch.hypot(change[1], change[2])


@cache
def _largest_difference() -> float:
    green, blue = (_lab(torch.eye(3)[index].view(3, 1, 1)) for index in (1, 2))
    return float(_hyab(green, blue) ** COLOR_EXPONENT)


@cache
def _filters() -> _Filters:
    spread = max(b for parts in SENSITIVITY for _, b in parts)
    radius = ceil(3 * sqrt(spread / 2) / pi * PIXELS_PER_DEGREE)
    degrees = torch.arange(-radius, radius + 1, dtype=torch.double) / PIXELS_PER_DEGREE
    sensitivity = []
    for parts in SENSITIVITY:
        bells = [(a * sqrt(pi / b), torch.exp(-(pi * degrees).square() / b)) for a, b in parts]
        volumes = [height * float(bell.sum()) ** 2 for height, bell in bells]
        shares = [volume / sum(volumes) for volume in volumes]
        sensitivity.append(
            tuple((share, _weights(bell / bell.sum())) for share, (_, bell) in zip(shares, bells, strict=True))
        )
    deviation = 0.5 * FEATURE_WIDTH * PIXELS_PER_DEGREE
    radius = ceil(3 * deviation)
    x = torch.arange(-radius, radius + 1, dtype=torch.double)
    bell = torch.exp(-(x / deviation).square() / 2)
    edge, point = (
        torch.where(taps > 0, taps / taps.clamp_min(0).sum(), -taps / taps.clamp_max(0).sum())
        for taps in (-x * bell, ((x / deviation).square() - 1) * bell)
    )
    return _Filters(tuple(sensitivity), _weights(bell / bell.sum()), _weights(edge), _weights(point))


def _weights(taps: Tensor) -> tuple[float, ...]:
    return tuple(taps.tolist())


# how many rows away from a pixel its difference depends on the photos
REACH = max(len(_filters().edge), *(len(weights) for parts in _filters().sensitivity for _, weights in parts)) // 2
