"""Colors that PNG, BMP and AVIF files describe without an ICC profile, as a profile that a written photo can carry."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from onlymymodel.data.icc import D65, SRGB_CURVE, SRGB_PRIMARIES, Curve, Primaries, gray_profile, rgb_profile
from onlymymodel.data.png_chunks import PngChunks

_C = (0.310, 0.316)
# code points of ITU-T H.273
_SRGB_CODES = (1, 13)
_UNSPECIFIED = 2
_PRIMARIES: Mapping[int, Primaries] = {
    1: SRGB_PRIMARIES,
    4: Primaries(_C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: Primaries(D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: Primaries(D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: Primaries(D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    8: Primaries(_C, (0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),
    9: Primaries(D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: Primaries((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: Primaries(D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_TV_CURVE = Curve(1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_CURVES: Mapping[int, Curve] = {
    1: _TV_CURVE, 4: Curve(2.2), 5: Curve(2.8), 6: _TV_CURVE, 8: Curve(1.0), 13: SRGB_CURVE, 14: _TV_CURVE,
    15: _TV_CURVE,
}  # fmt: skip
_HDR = {16: "PQ", 18: "HLG"}
_USUAL_GAMMA, _GAMMA_TOLERANCE = 2.2, 0.005
_POINT_TOLERANCE = 0.002  # of rounded coordinates
_GAMMAS = (0.1, 10.0)

# BITMAPV4HEADER and BITMAPV5HEADER
_V4_SIZE, _V5_SIZE = 108, 124
_HEADER_START = 14


@dataclass(frozen=True)
class ColorDescription:
    """Color description of a file besides an ICC profile.

    Attributes:
        icc: a profile that says the same; None where the colors are sRGB, or where nothing is said.
        notes: on what was converted or dropped.
        refusal: why the colors cannot be kept in 8 bits; None if they can.
    """

    icc: bytes | None = None
    notes: tuple[str, ...] = ()
    refusal: str | None = None


NOTHING = ColorDescription()


def of_png(chunks: PngChunks, gray: bool) -> ColorDescription:
    """Return the colors of a PNG, in the order of precedence of its specification: cICP, iCCP, sRGB, cHRM and gAMA."""
    found = chunks.descriptions
    codes = found.get(b"cICP", b"")
    if len(codes) == 4:
        description = _of_codes(codes[0], codes[1], bool(codes[3]) and codes[2] == 0, gray, "cICP")
        if description is not None:
            return description
    unused: tuple[str, ...] = ("the color description cICP was dropped: it is not known",) if codes else ()
    if chunks.icc is not None:
        return ColorDescription(chunks.icc, unused)
    if b"iCCP" in found:
        unused += ("the color profile was dropped: it is broken or too large",)
    if b"sRGB" in found:
        return ColorDescription(notes=unused)
    numbers = [
        struct.unpack(f">{size}I", found[name]) if len(found.get(name, b"")) == 4 * size else None
        for name, size in ((b"cHRM", 8), (b"gAMA", 1))
    ]
    primaries = None if numbers[0] is None else _points([value / 100_000 for value in numbers[0]])
    gamma = None if numbers[1] is None or numbers[1][0] == 0 else 100_000 / numbers[1][0]
    described = _described(primaries, gamma, gray, "cHRM and gAMA")
    return ColorDescription(described.icc, unused + described.notes)


def of_bmp(data: bytes, gray: bool) -> ColorDescription:
    """Return the colors of a BMP with a header of version 4 or 5."""
    size = struct.unpack_from("<I", data, _HEADER_START)[0] if len(data) >= _HEADER_START + 4 else 0
    if size < _V4_SIZE or len(data) < _HEADER_START + size:
        return NOTHING
    kind = struct.unpack_from("<I", data, _HEADER_START + 56)[0]
    if kind == int.from_bytes(b"MBED", "big") and size >= _V5_SIZE:
        offset, length = struct.unpack_from("<II", data, _HEADER_START + 112)
        profile = data[_HEADER_START + offset : _HEADER_START + offset + length]
        if len(profile) == length and profile[36:40] == b"acsp":
            return ColorDescription(profile)
        return ColorDescription(notes=("the color profile was dropped: it is broken",))
    if kind == int.from_bytes(b"LINK", "big"):
        return ColorDescription(notes=("the color profile was dropped: it is in another file",))
    if kind != 0:  # sRGB, or that of the system
        return NOTHING
    ends = struct.unpack_from("<9i", data, _HEADER_START + 60)
    gammas = [value / 65536 for value in struct.unpack_from("<3I", data, _HEADER_START + 96)]
    if min(ends) < 0 or sum(ends) == 0 or 0 in gammas or max(gammas) - min(gammas) > 0.01:
        return NOTHING  # most programs leave these fields empty
    colors = [tuple(value / 2**30 for value in ends[start : start + 3]) for start in (0, 3, 6)]
    white = tuple(map(sum, zip(*colors, strict=True)))
    if any(sum(color) == 0 for color in colors):
        return NOTHING
    flat = [value for color in (white, *colors) for value in (color[0] / sum(color), color[1] / sum(color))]
    return _described(_points(flat), gammas[0], gray, "the BMP header")


def of_avif(data: bytes, icc: bytes | None, gray: bool) -> ColorDescription:
    """Return the colors of an AVIF file: those of its profile, or else of the code points in its first `colr` box."""
    at = data.find(b"colrnclx")
    if icc is not None or at < 0 or at + 15 > len(data):
        return ColorDescription(icc)
    primaries, transfer = struct.unpack_from(">HH", data, at + 8)
    # the decoder has undone the matrix and the range
    description = _of_codes(primaries, transfer, True, gray, "nclx")
    return description or ColorDescription(notes=("the color description nclx was dropped: it is not known",))


def _of_codes(primaries: int, transfer: int, is_rgb: bool, gray: bool, name: str) -> ColorDescription | None:
    """Return the colors of code points; None if they are not known."""
    if transfer in _HDR:
        return ColorDescription(refusal=f"HDR pixels ({_HDR[transfer]}) have no faithful 8-bit form")
    # what is not specified is taken as sRGB, as browsers do
    primaries, transfer = (
        usual if code == _UNSPECIFIED else code for code, usual in zip((primaries, transfer), _SRGB_CODES, strict=True)
    )
    if not is_rgb or primaries not in _PRIMARIES or transfer not in _CURVES:
        return None
    if (primaries, transfer) == _SRGB_CODES:
        return NOTHING
    return _profile(_PRIMARIES[primaries], _CURVES[transfer], gray, name)


def _described(primaries: Primaries | None, gamma: float | None, gray: bool, name: str) -> ColorDescription:
    """Return the colors of primaries and an exponent, either of which may be missing."""
    if primaries is not None and _is_near(primaries, SRGB_PRIMARIES):
        primaries = None
    if gamma is not None and not _GAMMAS[0] <= gamma <= _GAMMAS[1]:
        return ColorDescription(notes=(f"the color description in {name} was dropped: it is broken",))
    if gamma is not None and abs(gamma - _USUAL_GAMMA) <= _GAMMA_TOLERANCE and (primaries is None or gray):
        gamma = None  # readers take it for sRGB
    if gamma is None and (primaries is None or gray):
        return NOTHING
    return _profile(primaries or SRGB_PRIMARIES, SRGB_CURVE if gamma is None else Curve(gamma), gray, name)


def _profile(primaries: Primaries, curve: Curve, gray: bool, name: str) -> ColorDescription:
    try:
        icc = gray_profile(curve) if gray else rgb_profile(primaries, curve)
    except ValueError:
        return ColorDescription(notes=(f"the color description in {name} was dropped: it is broken",))
    return ColorDescription(icc, (f"the color description in {name} was written as a color profile",))


def _points(numbers: list[float]) -> Primaries:
    """Return the primaries of the numbers x and y of white, red, green and blue."""
    return Primaries(*zip(numbers[::2], numbers[1::2], strict=True))


def _is_near(left: Primaries, right: Primaries) -> bool:
    pairs = zip((x for point in left for x in point), (x for point in right for x in point), strict=True)
    return all(abs(a - b) <= _POINT_TOLERANCE for a, b in pairs)
