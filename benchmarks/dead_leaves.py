"""Synthetic pictures with the statistics of photos: opaque disks that occlude one another (dead leaves).

The dead leaves model of Matheron (1968) with sizes by a power law, whose scale invariance, edges and occlusions come
close to those of photos: Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 41 (2001), 35-59.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Pixels = NDArray[np.float32]

OVERSAMPLING = 2  # drawn at twice the size and averaged, so that edges have coverage
SMALLEST = (0.8, 8.0)  # least radius, in pixels; each picture has its own: smaller structure comes from the textures
LARGEST = 0.8  # radius, as a share of the picture's side
LAYERS = 6  # the leaves' area over the picture's: the remaining background counts as a leaf
TEXTURES = 3


def render(seed: int, size: int = 192) -> NDArray[np.uint8]:
    """Return (size, size, 3) uint8 RGB; the same arguments give the same bytes.

    Args:
        seed: 0 or more.
        size: side in pixels, 8 or more.
    """
    rng = np.random.default_rng((seed, 60))
    owner = _fall(size * OVERSAMPLING, rng)
    side, leaves = size * OVERSAMPLING, int(owner.max()) + 1
    y, x = ((np.indices((side, side), dtype=np.float32) + 0.5) / side).astype(np.float32)
    slope = rng.normal(0, 35, (leaves, 2)).astype(np.float32)  # light that fades across a leaf
    shade = slope[owner, 0] * (x - 0.5) + slope[owner, 1] * (y - 0.5)
    # most surfaces are nearly plain, some are coarse
    strength = rng.exponential(rng.uniform(0, 14), leaves).astype(np.float32) * (rng.random(leaves) < 0.7)
    maps = np.stack([_texture(side, rng) for _ in range(TEXTURES)])
    kind = rng.integers(TEXTURES, size=leaves)
    shade += strength[owner] * np.take_along_axis(maps, kind[owner][None], 0)[0]
    picture = _colors(leaves, rng)[owner] + shade[..., None]
    tilt = rng.uniform(0, 2 * math.pi)
    picture *= (1 + rng.uniform(0, 0.5) * ((x - 0.5) * math.cos(tilt) + (y - 0.5) * math.sin(tilt)))[..., None]
    small = picture.reshape(size, OVERSAMPLING, size, OVERSAMPLING, 3).mean((1, 3))
    image = Image.fromarray(np.rint(small.clip(0, 255)).astype(np.uint8))
    if rng.random() < 0.3:  # lenses and resizing soften photos
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.9))))
    return np.array(image)


def _fall(side: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Return the (side, side) index of the topmost leaf at each pixel; 0 is the background."""
    low = math.exp(rng.uniform(*np.log(SMALLEST))) * OVERSAMPLING
    high = max(LARGEST * side, 2 * low)
    mean_area = 2 * math.pi * low**2 * math.log(high / low) / (1 - (low / high) ** 2)
    count = math.ceil(LAYERS * side**2 / mean_area)
    # density ~ radius^-3, by inverting its distribution function
    radii = 1 / np.sqrt(low**-2 - rng.random(count) * (low**-2 - high**-2))
    middles = rng.uniform(-0.15, 1.15, (count, 2)) * side
    canvas = Image.new("I", (side, side))
    draw = ImageDraw.Draw(canvas)
    for number, (middle, radius) in enumerate(zip(middles, radii, strict=True), start=1):
        outline = middle + _outline(float(radius), rng)
        draw.polygon([(float(u), float(v)) for u, v in outline], fill=number)
    return np.array(canvas, dtype=np.int32)


def _outline(radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (N, 2) corners of a disk, an ellipse or a polygon around (0, 0), with about the given radius."""
    shape = rng.integers(3)
    if shape == 2:
        angle = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(3, 8)))
        reach = np.full(len(angle), radius * 1.2)
    else:
        angle = np.linspace(0, 2 * math.pi, int(min(48, 8 + radius)), endpoint=False)
        reach = np.full(len(angle), radius)
    flat = 1.0 if shape == 0 else float(rng.uniform(0.3, 1))  # an ellipse has the area of the disk
    points = np.stack([np.cos(angle) * reach / math.sqrt(flat), np.sin(angle) * reach * math.sqrt(flat)], 1)
    turn = rng.uniform(0, math.pi)
    turned: NDArray[np.float64] = points @ np.array(
        [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]
    )
    return turned


def _colors(count: int, rng: np.random.Generator) -> Pixels:
    """Return (count, 3) colors: a few hues a picture, brightness spread widely, saturation low, as in photos."""
    hues = rng.normal(0, 1, (4, 2)) * rng.uniform(2, 22)
    red_cyan, yellow_blue = (hues[rng.integers(4, size=count)] + rng.normal(0, 5, (count, 2))).T
    bright = rng.uniform(70, 180) + rng.uniform(25, 65) * rng.standard_normal(count)
    colors = np.stack([bright + red_cyan + yellow_blue, bright - red_cyan + yellow_blue, bright - 2 * yellow_blue], 1)
    return colors.clip(0, 255).astype(np.float32)


def _texture(side: int, rng: np.random.Generator) -> Pixels:
    """Return a (side, side) pattern of mean 0 and deviation 1: a cloud of some roughness, or wavy stripes."""
    v, u = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = np.hypot(u, v)
    frequency[0, 0] = 1
    cloud = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) / frequency ** rng.uniform(0.5, 1.5))
    cloud = cloud[:side, :side] / cloud.std()
    if rng.random() < 0.3:
        y, x = np.indices((side, side))
        turn, period = rng.uniform(0, math.pi), rng.uniform(3, 16) * OVERSAMPLING
        cloud = np.sin((x * math.cos(turn) + y * math.sin(turn)) * 2 * math.pi / period + cloud)
    pattern: Pixels = ((cloud - cloud.mean()) / cloud.std()).astype(np.float32)
    return pattern
