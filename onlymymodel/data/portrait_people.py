"""Records of the people in the portraits and of what varies between pictures; nothing is drawn here.

Lengths are head units: a head is one unit from its middle to an ear, u points right and v down.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

Color = tuple[int, int, int]

_DRAWN_PEOPLE = 7_001  # seeds the looks of people of `draw_identity`
EMOTIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")


class Hair(NamedTuple):
    """A hairstyle: a cap on the skull, and hair that hangs or stands off it."""

    hairline: tuple[tuple[float, float], ...] = ()  # from the left temple to the right one; empty is bald
    volume: float = 0.10  # how far the cap stands off the skull
    drop: float = 0.0  # v that the hair behind the head reaches; 0 is none
    spread: float = 1.1  # half-width of that hair
    curl: float = 0.0  # size of the bumps along the rim
    locks: float = 7.5  # how many bumps from ear to ear
    bun: float = 0.0  # radius of a bun on the crown


_CURLED = (
    (-0.95, 0.0),
    (-0.86, -0.45),
    (-0.6, -0.56),
    (-0.4, -0.74),
    (-0.18, -0.6),
    (0.1, -0.74),
    (0.34, -0.6),
    (0.6, -0.68),
    (0.86, -0.45),
    (0.95, 0.0),
)
_TUFTS = (
    (-0.97, 0.05),
    (-0.9, -0.5),
    (-0.7, -0.55),
    (-0.58, -0.8),
    (-0.34, -0.56),
    (-0.22, -0.8),
    (0.06, -0.54),
    (0.16, -0.8),
    (0.44, -0.6),
    (0.52, -0.82),
    (0.76, -0.62),
    (0.9, -0.5),
    (0.97, 0.05),
)
_PARTED = (
    (-0.97, 0.1),
    (-0.86, -0.3),
    (-0.35, -0.58),
    (0.38, -0.92),
    (0.7, -0.66),
    (0.88, -0.35),
    (0.97, 0.1),
)
_FRINGE = ((-0.97, 0.2), (-0.84, -0.3), (-0.5, -0.4), (0.0, -0.44), (0.5, -0.4), (0.84, -0.3), (0.97, 0.2))
_MIDDLE = ((-0.99, 0.3), (-0.9, -0.1), (-0.6, -0.5), (0.0, -1.0), (0.6, -0.5), (0.9, -0.1), (0.99, 0.3))
_HIGH = (
    (-0.96, -0.1),
    (-0.88, -0.45),
    (-0.62, -0.86),
    (0.0, -0.8),
    (0.62, -0.86),
    (0.88, -0.45),
    (0.96, -0.1),
)

HAIRSTYLES = {
    "bald": Hair(),
    "buzz": Hair(_HIGH, volume=0.03),
    "short": Hair(_TUFTS, volume=0.2, curl=0.05, locks=10.5),
    "side": Hair(_PARTED, volume=0.2),
    "bob": Hair(_FRINGE, volume=0.15, drop=0.95, spread=1.22),
    "long": Hair(_MIDDLE, volume=0.12, drop=2.0, spread=1.25),
    "waves": Hair(_PARTED, volume=0.18, drop=1.6, spread=1.3, curl=0.12),
    "curls": Hair(_CURLED, volume=0.26, curl=0.13),
    "afro": Hair(_HIGH, volume=0.5, drop=0.75, spread=1.42, curl=0.12, locks=9.5),
    "bun": Hair(_MIDDLE, volume=0.09, bun=0.42),
}


@dataclass(frozen=True)
class Identity:
    """Looks of a person, the same in every picture."""

    name: str
    skin: Color
    hair: Color
    style: str  # key of HAIRSTYLES
    iris: Color
    face: float = 1.25  # half-height of the face
    jaw: float = 0.4  # 0 pointed, 1 square
    brow: float = 0.075  # thickness
    eyes: float = 0.2  # half-width of an eye
    gap: float = 0.42  # from the middle of the face to an eye
    nose: float = 0.15  # half-width
    mouth: float = 0.34  # half-width
    glasses: str = ""  # "", "round" or "square"
    beard: str = ""  # "", "moustache", "goatee" or "full"
    freckles: bool = False
    earrings: bool = False


@dataclass(frozen=True)
class Scene:
    """The conditions of one picture: expression, pose, light, background, camera."""

    seed: tuple[int, ...]
    emotion: int  # index into EMOTIONS
    strength: float  # of the expression, around 1
    yaw: float  # radians, as are pitch and roll
    pitch: float
    roll: float
    zoom: float  # head unit as a share of the picture's side
    offset: tuple[float, float]  # of the head from the picture's middle, as shares of the side
    light: tuple[float, float]  # where the light comes from
    contrast: float  # between the lit and the dark side
    exposure: float
    cast: tuple[float, float, float]  # gain per color channel
    background: tuple[Color, Color, Color]  # two ends of a gradient, and shapes
    shirt: Color
    noise: float  # standard deviation of the sensor's noise, in gray levels


_PALE, _FAIR, _TAN, _OLIVE = (247, 214, 192), (240, 196, 166), (224, 172, 134), (200, 144, 104)
_BROWN, _DARK = (158, 104, 72), (112, 72, 52)
_BLACK, _COCOA, _COPPER, _BLOND, _GRAY = (40, 34, 38), (78, 54, 44), (180, 86, 46), (222, 180, 104), (178, 176, 180)
_BLUE, _GREEN, _HAZEL, _EBONY = (74, 130, 178), (92, 138, 92), (140, 98, 52), (64, 42, 32)


def _sibling(of: Identity, name: str, shade: int) -> Identity:
    """Return a person who looks alike but finer: thin brows, a narrow nose and chin, and slightly different colors."""

    def shift(color: Color) -> Color:
        return color[0] + shade, color[1] + shade, color[2] + shade

    return replace(
        of,
        name=name,
        skin=shift(of.skin),
        hair=shift(of.hair),
        face=of.face + 0.06,
        jaw=of.jaw - 0.35,
        brow=of.brow - 0.04,
        nose=of.nose - 0.05,
        mouth=of.mouth - 0.06,
        eyes=of.eyes + 0.02,
    )


# Eight pairs of siblings: telling the families apart is easy, telling siblings apart takes detail, as with real faces.
_ELDER = (
    (Identity("Amara", _DARK, _BLACK, "afro", _EBONY, jaw=0.5, nose=0.22, mouth=0.4, earrings=True), "Imani", 12),
    (Identity("Bruno", _OLIVE, _COCOA, "short", _HAZEL, jaw=0.8, brow=0.12, nose=0.19, beard="full"), "Dario", -12),
    (Identity("Chiyo", _FAIR, _BLACK, "bob", _EBONY, face=1.18, jaw=0.5, brow=0.09, nose=0.16), "Hanae", -12),
    (
        Identity("Greta", _FAIR, _GRAY, "bun", _BLUE, jaw=0.5, nose=0.17, glasses="round", earrings=True, brow=0.09),
        "Ottilie",
        12,
    ),
    (Identity("Jonas", _TAN, _BLOND, "side", _BLUE, jaw=0.75, brow=0.1, nose=0.18, glasses="square"), "Piotr", 12),
    (Identity("Kalinda", _BROWN, _COCOA, "long", _HAZEL, jaw=0.45, brow=0.09, eyes=0.21, mouth=0.37), "Priya", 12),
    (Identity("Leandro", _DARK, _BLACK, "buzz", _EBONY, jaw=0.8, brow=0.11, nose=0.22, beard="goatee"), "Tendai", 12),
    (
        Identity("Mirela", _PALE, _COPPER, "waves", _GREEN, face=1.2, jaw=0.5, brow=0.09, nose=0.17, freckles=True),
        "Oona",
        -12,
    ),
)
IDENTITIES = tuple(person for elder, name, shade in _ELDER for person in (elder, _sibling(elder, name, shade)))
IDENTITY_NAMES = tuple(person.name for person in IDENTITIES)


def draw_identity(number: int) -> Identity:
    """Return the invented person of a number, whose looks are drawn independently of one another."""
    rng = np.random.default_rng((number, _DRAWN_PEOPLE))

    def shifted(*colors: Color) -> Color:
        red, green, blue = (value + int(rng.integers(-14, 15)) for value in colors[rng.integers(len(colors))])
        return min(max(red, 0), 255), min(max(green, 0), 255), min(max(blue, 0), 255)

    def one_of(*choices: str) -> str:
        return choices[rng.integers(len(choices))]

    return Identity(
        f"person {number}",
        skin=shifted(_PALE, _FAIR, _TAN, _OLIVE, _BROWN, _DARK),
        hair=shifted(_BLACK, _COCOA, _COPPER, _BLOND, _GRAY),
        style=one_of(*HAIRSTYLES),
        iris=shifted(_BLUE, _GREEN, _HAZEL, _EBONY),
        face=rng.uniform(1.16, 1.32),
        jaw=rng.uniform(0.1, 0.85),
        brow=rng.uniform(0.04, 0.12),
        eyes=rng.uniform(0.18, 0.23),
        nose=rng.uniform(0.11, 0.22),
        mouth=rng.uniform(0.29, 0.4),
        glasses=one_of("", "", "round", "square"),
        beard=one_of("", "", "", "moustache", "goatee", "full"),
        freckles=bool(rng.random() < 0.25),
        earrings=bool(rng.random() < 0.4),
    )


def attributes_of(who: Identity, emotion: int) -> dict[str, bool]:
    """Return yes-or-no attributes of a person with an expression, by names as CelebA has them."""
    return {
        "Eyeglasses": bool(who.glasses),
        "Beard": bool(who.beard),
        "Bald": who.style in ("bald", "buzz"),
        "Long_Hair": HAIRSTYLES[who.style].drop > 0.9,
        "Wearing_Earrings": who.earrings,
        "Smiling": EMOTIONS[emotion] == "happiness",
        "Mouth_Open": EMOTIONS[emotion] in ("happiness", "surprise", "fear"),
    }


class Expression(NamedTuple):
    """Movements of a face in head units; up and open are positive."""

    brow_inner: float
    brow_outer: float
    lid: float  # half-opening of the eye above its axis
    cheek: float  # lower lid pushed up
    slant: float  # upper lid: falls towards the temple
    iris: float  # size of the iris
    smile: float  # corners of the mouth
    open: float  # half-opening of the mouth
    wide: float  # mouth's width, as a factor
    teeth: float  # share of the opening that is upper teeth
    sneer: float  # one side of the upper lip
    wrinkle: float  # of the nose


# one row per emotion, one column per movement
FACES = np.array(
    [
        [0.00, 0.00, 0.110, 0.00, 0.00, 1.00, 0.01, 0.010, 1.00, 0.0, 0.00, 0.0],
        [0.02, 0.04, 0.100, 0.06, 0.00, 1.00, 0.17, 0.100, 1.25, 0.7, 0.00, 0.0],
        [0.15, -0.07, 0.080, 0.00, 0.06, 1.00, -0.15, 0.012, 0.85, 0.0, 0.00, 0.0],
        [0.20, 0.17, 0.190, -0.05, 0.00, 0.90, 0.00, 0.210, 0.72, 0.2, 0.00, 0.0],
        [0.20, 0.02, 0.180, -0.04, 0.05, 0.70, -0.08, 0.100, 1.20, 0.9, 0.00, 0.0],
        [-0.06, -0.01, 0.065, 0.05, 0.00, 0.95, -0.08, 0.045, 0.95, 0.5, 0.11, 1.0],
        [-0.15, 0.10, 0.105, 0.03, -0.07, 0.90, -0.10, 0.055, 0.98, 1.0, 0.00, 0.5],
    ]
)
# standard deviation of each movement from picture to picture
EXPRESSION_STD = np.array([0.015, 0.015, 0.008, 0.008, 0.01, 0.04, 0.02, 0.008, 0.05, 0.05, 0.01, 0.1])


def make_scene(identity: int, emotion: int, seed: int) -> Scene:
    """Return the scene of a seed: random expression strength, pose, light, background and camera."""
    rng = np.random.default_rng((identity, emotion, seed))

    def color(hue: float, low: float, high: float) -> Color:
        red, green, blue = colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.1, 0.55), rng.uniform(low, high))
        return round(255 * red), round(255 * green), round(255 * blue)

    side = rng.uniform(0, 2 * math.pi)
    hue = rng.random()
    warm, tint = rng.normal(0, 0.05, 2)
    return Scene(
        seed=(identity, emotion, seed),
        emotion=emotion,
        strength=rng.uniform(0.7, 1.15),
        yaw=float(np.clip(rng.normal(0, 0.17), -0.36, 0.36)),
        pitch=float(np.clip(rng.normal(0, 0.08), -0.2, 0.2)),
        roll=float(np.clip(rng.normal(0, 0.09), -0.25, 0.25)),
        zoom=rng.uniform(0.22, 0.275),
        offset=(rng.normal(0, 0.02), rng.uniform(-0.04, 0.04)),
        light=(math.cos(side), -0.35 + 0.55 * math.sin(side)),
        contrast=rng.uniform(0.15, 0.5),
        exposure=rng.uniform(0.78, 1.08),
        cast=(1 + warm, 1 + tint * 0.5, 1 - warm),
        background=(color(hue, 0.45, 1), color(hue + rng.normal(0, 0.1), 0.6, 1), color(hue + 0.5, 0.6, 1)),
        shirt=color(rng.random(), 0.25, 0.95),
        noise=rng.uniform(1, 6),
    )
