"""Curves and the pen that draws them. Lengths are head units, outlines are (N, 2) arrays of (u, v)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from onlymymodel.data.portrait_people import Color, Scene

Points = NDArray[np.float64]


def tint(color: Color, gain: float) -> Color:
    """Darken (gain below 1) or lighten (above 1) a color."""
    red, green, blue = (round(c * gain) if gain < 1 else round(255 - (255 - c) * (2 - gain)) for c in color)
    return red, green, blue


def ellipse(u: float, v: float, ru: float, rv: float, count: int = 28) -> Points:
    """Return the outline of an ellipse with center (u, v) and radii ru and rv."""
    angle = np.linspace(0, 2 * math.pi, count, endpoint=False)
    return np.stack([u + ru * np.cos(angle), v + rv * np.sin(angle)], 1)


def smooth(knots: Sequence[tuple[float, float]], steps: int = 6) -> Points:
    """Return the open Catmull-Rom curve through the knots, as ((knots - 1) * steps, 2)."""
    p = np.array([knots[0], *knots, knots[-1]])
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    t = np.linspace(0, 1, steps)[None, :, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.asarray(curve.reshape(-1, 2))


def ribbon(line: Points, width: float, taper: float = 0.7) -> Points:
    """Return the outline of a stroke along a line, thinner at its ends."""
    along = np.gradient(line, axis=0)
    along /= np.hypot(along[:, :1], along[:, 1:]) + 1e-9
    position = np.linspace(-1, 1, len(line))[:, None]
    side = np.stack([-along[:, 1], along[:, 0]], 1) * (width / 2) * (1 - taper * position**2)
    return np.concatenate([line + side, (line - side)[::-1]])


class Pen:
    """Draws filled outlines, given in head units, onto a picture and onto the mask of the figure."""

    def __init__(self, side: int, scene: Scene) -> None:
        self.image, self.mask = Image.new("RGB", (side, side)), Image.new("L", (side, side))
        self._colors, self._cover = ImageDraw.Draw(self.image, "RGBA"), ImageDraw.Draw(self.mask)
        self._unit = scene.zoom * side
        self._middle = ((0.5 + scene.offset[0]) * side, (0.5 + scene.offset[1]) * side)
        self._turn, self._scene = (math.cos(scene.roll), math.sin(scene.roll)), scene

    def fill(self, outline: Points, color: Color, *, alpha: float = 1, depth: float | None = None) -> None:
        """Fill an outline on the skull (depth None) or on a plane `depth` head units in front of its middle."""
        u, v = outline[:, 0], outline[:, 1]
        z = np.sqrt(np.maximum(0, 1.05 - u * u - 0.55 * v * v)) if depth is None else depth
        u, v = (
            u * math.cos(self._scene.yaw) + z * math.sin(self._scene.yaw),
            v + z * math.sin(self._scene.pitch) - 1.2,
        )
        cos, sin = self._turn
        self._paint(cos * u - sin * v, sin * u + cos * v + 1.2, color, alpha)

    def fill_body(self, outline: Points, color: Color, alpha: float = 1) -> None:
        """Fill an outline that does not turn with the head."""
        self._paint(outline[:, 0], outline[:, 1], color, alpha)

    def _paint(self, u: Points, v: Points, color: Color, alpha: float) -> None:
        x, y = self._middle[0] + self._unit * u, self._middle[1] + self._unit * v
        corners = np.stack([x, y], 1).ravel().tolist()
        self._colors.polygon(corners, (*color, round(255 * alpha)))
        if alpha == 1:
            self._cover.polygon(corners, 255)
