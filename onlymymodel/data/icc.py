"""Write ICC profiles for colors that a file describes in another way, and convert pixels to sRGB through a profile."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_D50 = (0.9642, 1.0, 0.8249)  # white of the profile connection space, ICC.1:2022, 7.2.16
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_DATE = (2024, 1, 1, 0, 0, 0)  # fixed: the same photo gives the same bytes
_LARGEST = 10  # element of a matrix of colors that a screen can show
_GAMMA_TYPE, _LINEAR_START_TYPE = 0, 3  # of parametric curves, ICC.1:2022, 10.18

Point = tuple[float, float]


class Primaries(NamedTuple):
    """CIE xy of white and of the three primaries."""

    white: Point
    red: Point
    green: Point
    blue: Point


@dataclass(frozen=True)
class Curve:
    """Light of a value x in [0, 1]: (a x + b)^gamma from d on, and c x below it.

    Attributes:
        gamma: exponent.
        a, b, c, d: of the linear start; none if d is 0.
    """

    gamma: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0


D65 = (0.3127, 0.3290)
SRGB_PRIMARIES = Primaries(D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
SRGB_CURVE = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def rgb_profile(primaries: Primaries, curve: Curve) -> bytes:
    """Return a profile of RGB colors.

    Raises:
        ValueError: the primaries span no colors.
    """
    columns = np.array([_xyz(point) for point in primaries[1:]]).T
    try:
        with np.errstate(all="ignore"):  # the result is checked
            white, adaptation = _white(primaries.white)
            matrix = adaptation @ (columns * np.linalg.solve(columns, white))
    except np.linalg.LinAlgError as error:
        raise ValueError("the primaries span no colors") from error
    values = np.concatenate([matrix, adaptation])
    if not np.isfinite(values).all() or np.abs(values).max() > _LARGEST:
        raise ValueError("the primaries span no colors")
    parts = {
        b"rXYZ": _xyz_tag(matrix[:, 0]), b"gXYZ": _xyz_tag(matrix[:, 1]), b"bXYZ": _xyz_tag(matrix[:, 2]),
        b"rTRC": _curve_tag(curve), b"gTRC": _curve_tag(curve), b"bTRC": _curve_tag(curve),
        b"chad": b"sf32\0\0\0\0" + b"".join(map(_fixed, adaptation.flatten())),
    }  # fmt: skip
    return _profile(b"RGB ", parts)


def gray_profile(curve: Curve) -> bytes:
    """Return a profile of gray values."""
    return _profile(b"GRAY", {b"kTRC": _curve_tag(curve)})


def to_srgb(image: Image.Image, icc: bytes) -> Image.Image | None:
    """Return an image in the colors of a profile as an RGB image in sRGB; None if the profile does not fit it."""
    try:
        return ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):  # littlecms reports only that it failed
        return None


def _xyz(point: Point) -> NDArray[np.float64]:
    x, y = point
    if y <= 0:
        raise ValueError("the primaries span no colors")
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _white(point: Point) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the XYZ of a white, and the matrix that adapts colors seen under it to D50 (Bradford)."""
    white = _xyz(point)
    cones = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    return white, np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD


def _profile(space: bytes, parts: dict[bytes, bytes]) -> bytes:
    """Return a display profile of version 4.3 with the given tags and those that every profile needs."""
    tags = {
        b"desc": _text_tag("described by the photo's file"), b"cprt": _text_tag("no copyright"),
        b"wtpt": _xyz_tag(_D50), **parts,
    }  # fmt: skip
    table, data, places = struct.pack(">I", len(tags)), b"", dict[bytes, int]()
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        if content not in places:
            places[content] = start + len(data)
            data += content.ljust(-(-len(content) // 4) * 4, b"\0")
        table += struct.pack(">4sII", name, places[content], len(content))
    header = struct.pack(
        ">I4sI4s4s4s6H4s", start + len(data), b"", 0x04300000, b"mntr", space, b"XYZ ", *_DATE, b"acsp"
    ).ljust(68, b"\0") + b"".join(map(_fixed, _D50))
    return header.ljust(128, b"\0") + table + data


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz_tag(values: Sequence[float] | NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _curve_tag(curve: Curve) -> bytes:
    if curve.d == 0:
        kind, values = _GAMMA_TYPE, [curve.gamma]
    else:
        kind, values = _LINEAR_START_TYPE, [curve.gamma, curve.a, curve.b, curve.c, curve.d]
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + b"".join(map(_fixed, values))


def _text_tag(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded
