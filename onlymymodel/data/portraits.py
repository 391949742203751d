"""Render portraits of invented people, each labelled with an identity and an emotion.

The figure is drawn on black at several times the size, so that shrinking it gives colors already multiplied
by their coverage; light, background and sensor noise are then added per pixel at the final size.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from onlymymodel.data.portrait_brush import Pen, Points, ellipse, ribbon, smooth, tint
from onlymymodel.data.portrait_people import (
    EMOTIONS,
    EXPRESSION_STD,
    FACES,
    HAIRSTYLES,
    IDENTITIES,
    IDENTITY_NAMES,
    Expression,
    Hair,
    Identity,
    Scene,
    make_scene,
)

__all__ = ["EMOTIONS", "IDENTITIES", "IDENTITY_NAMES", "Identity", "Scene", "make_scene", "paint", "render"]

Pixels = NDArray[np.float32]


def _face(who: Identity, grow: float = 0.0) -> Points:
    angle = np.linspace(0, 2 * math.pi, 56, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    power = np.where(sin > 0, 1.12 - 0.5 * who.jaw, 0.92)
    u = np.sign(cos) * np.abs(cos) ** power * np.where(sin > 0, 1 - 0.06 * sin, 1)
    return np.stack([u * (0.98 + grow), sin * (who.face + grow)], 1)


def _rim(who: Identity, hair: Hair, start: float, stop: float, count: int = 60) -> Points:
    """Return the outer edge of the hair between two angles (from the right ear, counter-clockwise)."""
    angle = np.linspace(start, stop, count)
    bump = hair.curl * (np.abs(np.sin(angle * hair.locks)) - 0.4) * np.minimum(1, 3 * np.sin(angle))
    return np.stack(
        [np.cos(angle) * (1.0 + hair.volume * 0.7 + bump), -np.sin(angle) * (who.face + hair.volume + bump)],
        1,
    )


def _draw_behind(pen: Pen, who: Identity, scene: Scene) -> None:
    """Draw the hair behind the head, the body, the neck and the ears."""
    hair, dark = HAIRSTYLES[who.style], tint(who.hair, 0.8)
    if hair.bun:
        pen.fill(ellipse(0, -who.face - 0.22, hair.bun, hair.bun * 0.85), who.hair, depth=-0.35)
    if hair.drop:
        rim = _rim(who, hair, 0.15, math.pi - 0.15)
        ends = [
            (-hair.spread, 0.3),
            (-hair.spread - 0.03, hair.drop * 0.75),
            (-hair.spread * 0.72, hair.drop),
        ]
        fall = smooth([tuple(rim[-1]), *ends, (0, hair.drop + 0.05), *[(-u, v) for u, v in ends[::-1]], tuple(rim[0])])
        pen.fill(np.concatenate([rim, fall]), dark, depth=-0.3)
    half = 0.42 + 0.14 * who.jaw
    shoulders = [(-2.2, 3.9), (-1.95, 2.5), (-1.5, 2.1), (-half, 1.83)]
    pen.fill_body(smooth([*shoulders, (0, 1.95), *[(-u, v) for u, v in shoulders[::-1]]]), scene.shirt)
    neck = [(-half, 0.7), (-half, 1.5), (-half - 0.1, 1.83), (-0.3, 2.08), (0, 2.14)]
    neck += [(-u, v) for u, v in neck[-2::-1]]
    pen.fill_body(ribbon(smooth(neck[2:-2]), 0.12, 0.2), tint(scene.shirt, 0.8))
    pen.fill_body(smooth(neck), tint(who.skin, 0.93))
    pen.fill_body(smooth([(-half, 1.0), (-half, 1.3), (0, 1.6), (half, 1.3), (half, 1.0)]), tint(who.skin, 0.76))
    for side in (-1, 1):
        pen.fill(ellipse(side * 1.0, 0.1, 0.16, 0.26), tint(who.skin, 0.9), depth=-0.1)
        pen.fill(ellipse(side * 1.02, 0.1, 0.08, 0.16), tint(who.skin, 0.72), alpha=0.8, depth=-0.1)
        if who.earrings:
            pen.fill(ellipse(side * 1.04, 0.42, 0.07, 0.07, 12), (240, 200, 90), depth=-0.1)


def _draw_head(pen: Pen, who: Identity, scene: Scene, face: Expression) -> None:
    """Draw the face with blush, freckles, beard and nose."""
    pen.fill(_face(who), who.skin, depth=0)
    shade, lit = tint(who.skin, 0.72), 1 if scene.light[0] < 0 else -1
    for side in (-1, 1):
        pen.fill(ellipse(side * who.gap, 0.0, 0.3, 0.22), shade, alpha=0.22)
        for grow in (1.0, 0.75, 0.5):
            pen.fill(ellipse(side * 0.58, 0.42, 0.27 * grow, 0.2 * grow), (232, 86, 84), alpha=0.07)
        for k in range(6 * who.freckles):
            pen.fill(
                ellipse(side * (0.3 + 0.08 * k), 0.32 + 0.07 * (k % 2), 0.022, 0.022, 6),
                (168, 92, 56),
                alpha=0.7,
            )
    if who.beard == "full":
        chin = _face(who, 0.03)[0:29]
        inner = smooth([tuple(chin[-1]), (-0.84, 0.3), (-0.66, 0.58), (-0.36, 0.55), (0, 0.48)])
        inner = np.concatenate([inner, inner[::-1] * [-1, 1]])
        pen.fill(np.concatenate([chin, inner]), tint(who.hair, 1.06), depth=0.02)
    elif who.beard == "goatee":
        goatee = [(-0.3, 0.9), (-0.33, 1.1), (-0.2, who.face + 0.04), (0, who.face + 0.1)]
        pen.fill(smooth([*goatee, *[(-u, v) for u, v in goatee[2::-1]], (0, 0.97), goatee[0]]), who.hair)
    pen.fill(smooth([(0, -0.1), (lit * 0.1, 0.2), (lit * who.nose, 0.42), (0, 0.44), (0, -0.1)]), shade, alpha=0.5)
    tip = [(-who.nose, 0.37), (-who.nose * 0.9, 0.45), (0, 0.49), (who.nose * 0.9, 0.45), (who.nose, 0.37)]
    pen.fill(ribbon(smooth(tip), 0.05), tint(who.skin, 0.6), alpha=0.9)
    for k in range(3 if face.wrinkle > 0.3 else 0):
        crease = [(-0.1, 0.0 + 0.09 * k), (0, -0.03 + 0.09 * k), (0.1, 0.0 + 0.09 * k)]
        pen.fill(ribbon(smooth(crease), 0.03), tint(who.skin, 0.62), alpha=min(1, face.wrinkle))


def _draw_eyes(pen: Pen, who: Identity, face: Expression) -> None:
    """Draw the eyes between their lids, and the brows."""
    s = np.linspace(-1, 1, 15)
    arch = 1 - s * s
    for side in (-1, 1):
        u = side * (who.gap + who.eyes * s)  # s runs from the nose to the temple
        upper = -face.lid * arch**0.8 + face.slant * s + 0.02
        lower = np.maximum(upper, (0.09 - face.cheek) * arch**0.8 + 0.4 * face.slant * s + 0.02)
        pen.fill(np.concatenate([np.stack([u, upper], 1), np.stack([u, lower], 1)[::-1]]), (250, 248, 244))
        for radius, color in ((0.115, tint(who.iris, 0.6)), (0.098, who.iris), (0.052, (18, 14, 16))):
            disc = ellipse(side * who.gap, -0.005, radius * face.iris, radius * face.iris)
            at = (disc[:, 0] * side - who.gap) / who.eyes
            disc[:, 1] = np.clip(disc[:, 1], np.interp(at, s, upper), np.interp(at, s, lower))
            pen.fill(disc, color)
        pen.fill(ellipse(side * who.gap - 0.035, -0.045, 0.028, 0.028, 10), (255, 255, 255), alpha=0.9)
        pen.fill(ribbon(np.stack([u, upper], 1), 0.055, 0.4), (40, 26, 26))
        pen.fill(ribbon(np.stack([u, lower], 1), 0.02), tint(who.skin, 0.55), alpha=0.8)
        rise = 0.36 + 0.55 * (face.brow_inner + face.brow_outer)
        brow = [(-0.2, -0.27 - face.brow_inner), (0.04, -rise), (0.27, -0.25 - face.brow_outer)]
        brow = [(side * (who.gap + along), v) for along, v in brow]
        pen.fill(ribbon(smooth(brow), who.brow * 1.2), tint(who.hair, 0.8))


def _draw_mouth(pen: Pen, who: Identity, face: Expression) -> None:
    """Draw the lips around an opening with teeth and a tongue, and a moustache above."""
    s = np.linspace(-1, 1, 19)
    u, middle = who.mouth * face.wide * s, 0.76 - face.smile * (s * s - 0.35)
    lift = face.sneer * np.clip(s + 0.6, 0, 1)
    upper, lower = (
        middle - face.open * (1 - s * s) * 0.8 - lift,
        middle + face.open * (1 - s * s) * 1.2 + 0.1 * face.sneer,
    )
    lip = (round(who.skin[0] * 0.82), round(who.skin[1] * 0.5), round(who.skin[2] * 0.52))

    def band(top: Points, bottom: Points) -> Points:
        return np.concatenate([np.stack([u, top], 1), np.stack([u, bottom], 1)[::-1]])

    full = 0.055 * (1 - 0.7 * s * s)
    pen.fill(band(lower + 0.1, lower + 0.16), tint(who.skin, 0.72), alpha=0.3 * (who.beard == ""))
    pen.fill(band(upper - full * (1 - 0.35 * np.exp(-((s / 0.2) ** 2))), lower + full * 1.25), lip)
    pen.fill(band(upper, np.maximum(lower, upper + 0.012)), (84, 26, 32))
    if face.open > 0.05:
        pen.fill(band(np.maximum(upper, lower - 0.5 * face.open), lower), (206, 88, 92))
    if face.teeth > 0.15:
        pen.fill(band(upper, np.minimum(lower, upper + face.teeth * 2 * face.open)), (252, 250, 244))
    if who.beard in ("moustache", "full"):
        wing = [(0, 0.5), (-0.28, 0.54), (-0.46, 0.68 - 0.5 * face.smile), (-0.2, 0.64), (0, 0.61)]
        pen.fill(smooth([*wing, *[(-along, v) for along, v in wing[::-1]]]), tint(who.hair, 0.9))


def _draw_front(pen: Pen, who: Identity) -> None:
    """Draw the hair in front of the head with its shadow, and glasses."""
    hair = HAIRSTYLES[who.style]
    if hair.hairline:
        line = smooth(hair.hairline) * [1, who.face / 1.25]
        rim = _rim(who, hair, 0.0, math.pi)
        cap = np.concatenate([line, rim])
        pen.fill(ribbon(line[4:-4] * [0.94, 1] + [0, 0.05], 0.17, 0.3), tint(who.skin, 0.7), alpha=0.5)
        pen.fill(cap, who.hair, depth=0)
        for start, stop, alpha in ((1.75, 2.5, 0.5), (1.9, 2.35, 0.4)):
            shine = _rim(who, hair._replace(curl=0), start, stop, 12) * (0.93 - 0.06 * alpha)
            pen.fill(ribbon(shine, 0.09), tint(who.hair, 1.25), alpha=alpha)
        for share in np.linspace(0.15, 0.85, 7):
            root, tip = rim[int(share * 59)] * 0.97, line[int((1 - share) * (len(line) - 1))]
            lock = smooth([tuple(root), tuple(root * 0.53 + tip * 0.5), tuple(root * 0.35 + tip * 0.65)])
            pen.fill(ribbon(lock, 0.035), tint(who.hair, 0.6), alpha=0.45)
    for side in (-1, 1) if who.glasses else ():
        lens = ellipse(0, 0, 1, 1, 32)
        if who.glasses == "square":
            lens = np.sign(lens) * np.abs(lens) ** 0.4 * [1.06, 0.86]
        lens = lens * [0.31, 0.29] + [side * who.gap, 0.02]
        pen.fill(lens, (220, 236, 250), alpha=0.16)
        pen.fill(ribbon(np.concatenate([lens, lens[:2]]), 0.055, 0), (44, 40, 48))
        pen.fill(ribbon(np.array([(side * 0.73, -0.05), (side * 1.0, -0.02)]), 0.05, 0), (44, 40, 48))
        pen.fill(ribbon(smooth([(-0.11, 0.0), (0, -0.05), (0.11, 0.0)]), 0.05, 0), (44, 40, 48))


def _background(scene: Scene, x: Pixels, y: Pixels, rng: np.random.Generator) -> Pixels:
    """Return (size, size, 3) floats in [0, 255]: a gradient with soft shapes, as if out of focus."""
    near, far, spots = (np.array(color, np.float32) for color in scene.background)
    angle = rng.uniform(0, 2 * math.pi)
    ramp = np.clip(0.5 + 0.7 * ((x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle)), 0, 1)[..., None]
    picture: Pixels = np.asarray(near * (1 - ramp) + far * ramp, np.float32)
    for _ in range(rng.integers(2, 7)):
        u, v, size, blur = rng.uniform((0, 0, 0.06, 0.01), (1, 1, 0.3, 0.08))
        if rng.random() < 0.7:
            distance = np.hypot(x - u, y - v) - size
        else:
            tilt = rng.uniform(0, math.pi)
            distance = np.abs((x - u) * math.cos(tilt) + (y - v) * math.sin(tilt)) - size / 4
        cover = np.clip(0.5 - distance / blur, 0, 1)[..., None] * np.float32(rng.uniform(0.15, 0.5))
        picture += cover * (spots - picture)
    return picture


def _shading(scene: Scene, who: Identity, x: Pixels, y: Pixels) -> Pixels:
    """Return (size, size) gains: a lit ellipsoid for the head that fades into its surroundings."""
    u = (x - 0.5 - scene.offset[0]) / (scene.zoom * 1.3)
    v = (y - 0.5 - scene.offset[1]) / (scene.zoom * (who.face + 0.3))
    radius = np.maximum(np.hypot(u, v), 1e-6)
    front = np.sqrt(np.maximum(0, 1 - radius**2))
    facing = (u * scene.light[0] + v * scene.light[1]) / np.maximum(radius, 1) ** 2 + 0.75 * front
    gain: Pixels = (1 + scene.contrast * (facing - 0.55)).astype(np.float32)
    return gain


def paint(who: Identity, scene: Scene, size: int = 192) -> NDArray[np.uint8]:
    """Return a (size, size, 3) uint8 RGB picture of a person in a scene."""
    rng = np.random.default_rng((*scene.seed, 1))
    moved = scene.strength * (FACES[scene.emotion] - FACES[0]) + rng.normal(0, EXPRESSION_STD)
    face = Expression(*(FACES[0] + moved).tolist())
    times = 3 if size > 96 else 4
    pen = Pen(times * size, scene)
    _draw_behind(pen, who, scene)
    _draw_head(pen, who, scene, face)
    _draw_eyes(pen, who, face)
    _draw_mouth(pen, who, face)
    _draw_front(pen, who)
    figure = np.asarray(pen.image.reduce(times), np.float32)
    cover = np.asarray(pen.mask.reduce(times), np.float32)[..., None] / 255
    y, x = ((np.indices((size, size)) + 0.5) / size).astype(np.float32)
    picture = figure * _shading(scene, who, x, y)[..., None] + (1 - cover) * _background(scene, x, y, rng)
    picture *= np.array(scene.cast, np.float32) * scene.exposure
    glare = np.maximum(picture - 215, 0)
    picture += 40 * np.tanh(glare / 40) - glare  # highlights roll off instead of clipping
    picture += rng.standard_normal((size, size, 3), np.float32) * scene.noise
    return np.asarray(np.rint(np.clip(picture, 0, 255)), np.uint8)


def render(identity: int, emotion: int, seed: int, size: int = 192) -> NDArray[np.uint8]:
    """Return a (size, size, 3) uint8 RGB picture of IDENTITIES[identity] showing EMOTIONS[emotion].

    Equal arguments give equal pixels; `seed` varies pose, light, background and camera.
    """
    return paint(IDENTITIES[identity], make_scene(identity, emotion, seed), size)
