"""Preview the budget of a photo: maps of the largest changes and of the faces, and noise of that size."""

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from onlymymodel.app.visibility import STOPS, limits_at
from onlymymodel.data.pixels import Pixels, to_array, to_tensor
from onlymymodel.data.strips import map_rows
from onlymymodel.evaluate.images import reduced_image
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.strengths import CAP
from onlymymodel.protect.budget.texture import REACH, texture_mask
from onlymymodel.protect.region import Region, find_area

SIDE = 512  # pixels of the longer side, at most
LEVELS = (0, 1, 2, 3, 4, 6, 8, 11, CAP)  # of the largest change, in 8-bit steps, at which the visibility is measured
GRAIN = 1.0  # standard deviation of the blur of the noise, in pixels: a change found on small inputs is that coarse


def preview_image(pixels: Pixels) -> Image.Image:
    """Return (H,W,C) uint8 pixels, C 1 or 3, as a reduced RGB image."""
    return reduced_image(pixels, SIDE).convert("RGB")


def bound_map(pixels: Pixels) -> Image.Image:
    """Return how much each pixel may change, as a reduced gray image: 255 is all of epsilon.

    Args:
        pixels: (H,W,C) uint8, C 1 or 3; the map is computed at full size, as the budget is.
    """

    def fraction_of(part: Tensor) -> Tensor:
        return texture_mask(part[None].float() / 255)[0]

    fraction = map_rows(fraction_of, to_tensor(pixels), halo=REACH)
    gray: Pixels = to_array((fraction * 255).round().to(torch.uint8))
    return reduced_image(gray, SIDE)


def face_map(pixels: Pixels) -> Image.Image:
    """Return where the faces are, with the margin of the region `face`, as a reduced gray image: 255 inside.

    Args:
        pixels: (H,W,C) uint8, C 1 or 3.
    """
    mask = find_area(pixels, None, Region("face", no_face="image")).mask
    if mask is None:  # no face
        mask = np.zeros(pixels.shape[:2], np.uint8)
    return reduced_image(255 * mask[..., None], SIDE)


def limited_to(noise: Image.Image, area: Image.Image) -> Image.Image:
    """Return noise, see `grain`, inside an area, a gray image that is 255 there."""
    inside = np.asarray(area, dtype=np.float64)[..., None] / 255
    signed = np.asarray(noise, dtype=np.float64) - 128
    return Image.fromarray((128 + np.round(signed * inside)).astype(np.uint8))


def grain(bound: Image.Image) -> Image.Image:
    """Return noise of the size that a map allows, as an RGB image: 128 + 127 times the fraction of epsilon.

    The noise is random, as a change is to the eye; it misleads no model.
    """
    width, height = bound.size
    random = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    blurred = np.asarray(Image.fromarray(random).filter(ImageFilter.GaussianBlur(GRAIN)), dtype=np.int32)
    signs = np.where(blurred > np.median(blurred), 1, -1)
    fraction = np.asarray(bound, dtype=np.float64)[..., None] / 255
    return Image.fromarray((128 + np.round(127 * fraction * signs)).astype(np.uint8))


def visibility_table(photo: Image.Image, noise: Image.Image) -> list[tuple[int, int]]:
    """Return (level, stop) pairs: how visible noise of each largest change is, as the first stop that admits it.

    Levels that no stop admits are left out; level 0 is always the first.

    Args:
        photo: RGB, see `preview_image`.
        noise: see `grain`.
    """
    original = np.asarray(photo)
    fraction = (np.asarray(noise, dtype=np.float64) - 128) / 127
    small = min(photo.size)
    bounds = {
        stop: [bound for bound in Budget.from_json(limits_at(stop)).bounds if small >= bound.min_side] for stop in STOPS
    }
    table = []
    for level in LEVELS:
        changed = np.clip(np.round(original + level * fraction), 0, 255).astype(np.uint8)
        pair = to_tensor(changed), to_tensor(original)
        distances = {bound.name: bound.distance(*pair) for bound in bounds[STOPS[0]]}
        stops = [stop for stop in STOPS if all(bound.admits(distances[bound.name]) for bound in bounds[stop])]
        if not stops:
            break
        table.append((level, stops[0]))
    return table
