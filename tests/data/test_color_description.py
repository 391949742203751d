"""A photo looks the same after as before, however its file describes its colors.

The oracle is the colorimetry of CSS Color 4 (https://www.w3.org/TR/css-color-4/#color-conversion-code), whose matrices
are copied below; the written files are shown by littlecms.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from onlymymodel.data.image_io import Photo, PhotoError, decode, encode

P3_TO_XYZ = np.array([
    [608311 / 1250200, 189793 / 714400, 198249 / 1000160],
    [35783 / 156275, 247089 / 357200, 198249 / 2500400],
    [0, 32229 / 714400, 5220557 / 5000800],
])  # fmt: skip
REC2020_TO_XYZ = np.array([
    [63426534 / 99577255, 20160776 / 139408157, 47086771 / 278816314],
    [26158966 / 99577255, 472592308 / 697040785, 8267143 / 139408157],
    [0, 19567812 / 697040785, 295819943 / 278816314],
])  # fmt: skip
XYZ_TO_SRGB = np.array([
    [12831 / 3959, -329 / 214, -1974 / 3959],
    [-851781 / 878810, 1648619 / 878810, 36519 / 878810],
    [705 / 12673, -2585 / 12673, 705 / 667],
])  # fmt: skip
P3_POINTS = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
SRGB_POINTS = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
# muted colors, which sRGB has as well
PIXELS = np.random.default_rng(0).integers(90, 170, (20, 24, 3), dtype=np.uint8)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(*chunks: bytes, pixels: NDArray[np.uint8] = PIXELS, icc: bytes | None = None) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", icc_profile=icc)
    return out.getvalue()[:33] + b"".join(chunks) + out.getvalue()[33:]


def avif(primaries: int, transfer: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "AVIF", quality=100, subsampling="4:4:4")
    data = out.getvalue()
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


def bmp(kind: bytes, fields: bytes = b"", profile: bytes = b"") -> bytes:
    """Return a BMP with a header of version 5; fields: end points and gammas, 48 bytes."""
    rows = np.zeros((20, 72), np.uint8)
    rows[:] = PIXELS[::-1, :, ::-1].reshape(20, 72)
    header = struct.pack("<IiiHHIIiiII", 124, 24, 20, 1, 24, 0, rows.size, 2835, 2835, 0, 0) + bytes(16)
    header += kind[::-1] + fields.ljust(48, b"\0") + struct.pack("<IIII", 4, 124 + rows.size, len(profile), 0)
    start = 14 + len(header)
    return (
        b"BM" + struct.pack("<IHHI", start + rows.size + len(profile), 0, 0, start) + header + rows.tobytes() + profile
    )


def curve_of_srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def expected(pixels: NDArray[np.uint8], to_xyz: NDArray[np.float64], gamma: float | None) -> NDArray[np.float64]:
    """Return sRGB values in [0, 255] of pixels in other primaries, by an exponent or by sRGB's curve."""
    values = pixels / 255
    light = curve_of_srgb(values) if gamma is None else values**gamma
    shown: NDArray[np.float64] = np.clip(light @ to_xyz.T @ XYZ_TO_SRGB.T, 0, 1)
    values = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    return 255 * values


def shown(photo: Photo, format: str = "png") -> NDArray[np.uint8]:
    """Return what a program shows that manages colors, for the file that is written for a photo."""
    image = Image.open(io.BytesIO(encode(photo.pixels, like=photo, format=format)))  # type: ignore[arg-type]
    profile = image.info.get("icc_profile")
    if profile is None:
        return np.asarray(image.convert("RGB"))
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    converted = ImageCms.profileToProfile(image, source, target, renderingIntent=intent, outputMode="RGB")
    assert converted is not None
    return np.asarray(converted)


def icc_of(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["png", "webp"])
@pytest.mark.parametrize(
    ("data", "to_xyz", "gamma"),
    [
        (png(chunk(b"cICP", bytes((12, 13, 0, 1)))), P3_TO_XYZ, None),
        (png(chunk(b"cICP", bytes((9, 13, 0, 1)))), REC2020_TO_XYZ, None),
        (png(chunk(b"cICP", bytes((12, 4, 0, 1)))), P3_TO_XYZ, 2.2),
        (png(chunk(b"cICP", bytes((12, 8, 0, 1)))), P3_TO_XYZ, 1.0),
        (png(chunk(b"cICP", bytes((12, 13, 0, 1))), icc=icc_of("sRGB")), P3_TO_XYZ, None),
        (png(chunk(b"cHRM", struct.pack(">8I", *P3_POINTS))), P3_TO_XYZ, None),
        (png(chunk(b"cHRM", struct.pack(">8I", *P3_POINTS)), chunk(b"gAMA", struct.pack(">I", 45455))), P3_TO_XYZ, 2.2),
        (png(chunk(b"gAMA", struct.pack(">I", 100_000))), np.linalg.inv(XYZ_TO_SRGB), 1.0),
        (avif(12, 13), P3_TO_XYZ, None),
        (avif(9, 4), REC2020_TO_XYZ, 2.2),
        (
            bmp(
                b"\0\0\0\0",
                struct.pack("<9i", *(round(value * 2**30) for value in P3_TO_XYZ.T.flatten()))
                + struct.pack("<3I", *[round(2.2 * 65536)] * 3),
            ),
            P3_TO_XYZ,
            2.2,
        ),
    ],
)
def test_described_colors_become_a_profile(
    data: bytes, to_xyz: NDArray[np.float64], gamma: float | None, format: str
) -> None:
    photo = decode(data)
    assert np.abs(photo.pixels.astype(int) - PIXELS).max() <= (0 if photo.source_format != "AVIF" else 3)
    assert photo.icc is not None
    assert [note for note in photo.notes if "was written as a color profile" in note] == list(photo.notes)
    assert len(photo.notes) == 1
    difference = shown(photo, format) - expected(photo.pixels, to_xyz, gamma)
    assert np.abs(difference).max() < 1.6
    assert np.abs(difference).mean() < 0.4
    assert decode(data).icc == photo.icc


@pytest.mark.parametrize(
    "data",
    [
        png(),
        png(chunk(b"cICP", bytes((1, 13, 0, 1)))),
        png(chunk(b"cICP", bytes((2, 2, 0, 1)))),
        png(chunk(b"sRGB", b"\0"), chunk(b"cHRM", struct.pack(">8I", *P3_POINTS))),
        png(chunk(b"cHRM", struct.pack(">8I", *SRGB_POINTS)), chunk(b"gAMA", struct.pack(">I", 45455))),
        png(chunk(b"gAMA", struct.pack(">I", 45455))),
        bmp(b"sRGB"),
        bmp(b"Win "),
        bmp(b"\0\0\0\0"),
        avif(1, 13),
        avif(2, 2),
    ],
)
def test_srgb_is_left_as_it_is(data: bytes) -> None:
    photo = decode(data)
    assert (photo.icc, photo.notes) == (None, ())


def test_gray_with_a_gamma_looks_the_same() -> None:
    gray = PIXELS[..., 0]
    photo = decode(png(chunk(b"gAMA", struct.pack(">I", 100_000)), pixels=gray))
    assert photo.pixels.shape == (20, 24, 1)
    wanted = expected(np.repeat(gray[..., None], 3, axis=2), np.linalg.inv(XYZ_TO_SRGB), 1.0)
    assert np.abs(shown(photo) - wanted).max() < 1.6


@pytest.mark.parametrize(
    ("data", "icc", "note"),
    [
        (png(chunk(b"cICP", bytes((99, 13, 0, 1)))), None, "the color description cICP was dropped: it is not known"),
        (png(chunk(b"cICP", bytes((12, 13, 1, 1)))), None, "the color description cICP was dropped: it is not known"),
        (
            png(chunk(b"cICP", bytes((99, 13, 0, 1))), icc=icc_of("sRGB")),
            icc_of("sRGB"),
            "the color description cICP was dropped: it is not known",
        ),
        (
            png(chunk(b"cHRM", struct.pack(">8I", *[0] * 8))),
            None,
            "the color description in cHRM and gAMA was dropped: it is broken",
        ),
        (
            png(chunk(b"gAMA", struct.pack(">I", 1))),
            None,
            "the color description in cHRM and gAMA was dropped: it is broken",
        ),
        (png(chunk(b"iCCP", b"x\0\0rubbish")), None, "the color profile was dropped: it is broken or too large"),
        (bmp(b"LINK"), None, "the color profile was dropped: it is in another file"),
        (bmp(b"MBED", profile=b"rubbish"), None, "the color profile was dropped: it is broken"),
        (avif(99, 13), None, "the color description nclx was dropped: it is not known"),
    ],
)
def test_what_cannot_be_carried_over_is_noted(data: bytes, icc: bytes | None, note: str) -> None:
    photo = decode(data)
    assert (photo.icc, photo.notes) == (icc, (note,))


@pytest.mark.parametrize("data", [png(chunk(b"cICP", bytes((9, 16, 0, 1)))), avif(9, 18)])
def test_hdr_pictures_are_skipped(data: bytes) -> None:
    with pytest.raises(PhotoError, match=r"HDR pixels \((PQ|HLG)\) have no faithful 8-bit form") as caught:
        decode(data)
    assert caught.value.status == "skipped"


def test_the_profile_in_a_bmp_is_carried_over() -> None:
    profile = decode(png(chunk(b"cICP", bytes((12, 13, 0, 1))))).icc
    assert profile is not None
    photo = decode(bmp(b"MBED", profile=profile))
    assert (photo.icc, photo.notes) == (profile, ())
    assert np.array_equal(photo.pixels, PIXELS)


def test_a_profile_too_large_for_png_is_applied() -> None:
    profile = decode(png(chunk(b"cICP", bytes((12, 13, 0, 1))))).icc
    assert profile is not None
    size = 2 << 20
    large = struct.pack(">I", size) + profile[4:] + bytes(size - len(profile))
    photo = decode(png(chunk(b"iCCP", b"large\0\0" + zlib.compress(large))))
    assert photo.icc is None
    assert photo.notes == ("colors were converted to sRGB: the color profile is too large to be carried over",)
    assert np.abs(photo.pixels - expected(PIXELS, P3_TO_XYZ, None)).max() < 1.6
    rubbish = decode(png(chunk(b"iCCP", b"large\0\0" + zlib.compress(b"x" * size))))
    assert rubbish.icc is None
    assert np.array_equal(rubbish.pixels, PIXELS)
    assert rubbish.notes == ("the color profile was dropped: it is too large, and does not describe the pixels",)
    bomb = decode(png(chunk(b"iCCP", b"bomb\0\0" + zlib.compress(bytes(50 << 20)))))
    assert bomb.notes == ("the color profile was dropped: it is broken or too large",)


@pytest.mark.slow
def test_hostile_descriptions_give_a_note_or_a_profile_that_works() -> None:
    random = np.random.default_rng(2)
    for _ in range(500):
        numbers = random.integers(0, 2 ** int(random.integers(1, 33)), 9, dtype=np.uint64).astype(">u4").tobytes()
        fields = random.integers(0, 2 ** int(random.integers(1, 33)), 12, dtype=np.uint64).astype("<u4").tobytes()
        codes = random.integers(0, 20, 4, dtype=np.uint8).tobytes()
        for data in (
            png(chunk(b"cHRM", numbers[:32]), chunk(b"gAMA", numbers[32:])),
            png(chunk(b"cICP", codes)),
            bmp(b"\0\0\0\0", fields),
        ):
            try:
                photo = decode(data)
            except PhotoError as error:
                assert error.reason.startswith("HDR")  # noqa: PT017
                continue
            assert all(note.startswith("the color description") for note in photo.notes)
            if photo.icc is not None:
                assert shown(photo).shape == PIXELS.shape


def test_the_shared_cases_look_the_same(cases: Path) -> None:
    for name, gamma in (("cicp_p3.png", None), ("chrm_p3.png", 2.2)):
        data = (cases / name).read_bytes()
        plain = np.asarray(Image.open(io.BytesIO(data)))
        photo = decode(data)
        assert np.array_equal(photo.pixels, plain)
        muted = (np.abs(plain.astype(int) - 128) < 50).all(-1)
        difference = shown(photo)[muted] - expected(plain[muted], P3_TO_XYZ, gamma)
        assert muted.sum() > 100
        assert np.abs(difference).max() < 2
    data = (cases / "f_v5_icc.bmp").read_bytes()
    photo = decode(data)
    assert photo.icc is not None
    assert data.endswith(photo.icc)
    assert np.array_equal(photo.pixels, np.asarray(Image.open(io.BytesIO(data))))
