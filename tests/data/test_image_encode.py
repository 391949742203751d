"""Encoding photos: `decode` returns what `encode` has written, bit for bit."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from onlymymodel.data.exif import clean
from onlymymodel.data.image_io import Photo, PhotoError, decode, encode

Pixels = NDArray[np.uint8]


def noise(height: int = 20, width: int = 30, channels: int = 3, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def exif_bytes() -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Camera maker"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"
    block = clean(exif.tobytes()).data
    assert block is not None
    return block


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def same(left: Pixels | None, right: Pixels | None) -> bool:
    return np.array_equal(left, right) if left is not None and right is not None else left is right


def photo(pixels: Pixels, alpha: Pixels | None = None, icc: bytes | None = None, exif: bool = False) -> Photo:
    return Photo(pixels, alpha, exif_bytes() if exif else None, icc, "PNG", ())


@pytest.mark.parametrize("format", ["png", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("metadata", [False, True])
def test_round_trip(format: Any, channels: int, alpha: bool, metadata: bool) -> None:
    original = photo(
        noise(channels=channels),
        noise(channels=1, seed=2)[..., 0] // 200 if alpha else None,  # mostly 0: colors under it must survive
        srgb_profile() if metadata else None,
        metadata,
    )
    changed = noise(channels=channels, seed=3)
    data = encode(changed, like=original, format=format)
    back = decode(data)
    shown = np.repeat(changed, 3, axis=2) if format == "webp" and channels == 1 else changed
    assert same(back.pixels, shown)
    assert same(back.alpha, original.alpha)
    assert (back.exif, back.icc, back.notes) == (original.exif, original.icc, ())
    assert encode(changed, like=original, format=format) == data


def test_odd_lengths_survive_in_both_formats() -> None:
    original = Photo(noise(), None, exif_bytes(), srgb_profile() + b"y", "PNG", ())
    for format in ("png", "webp"):
        back = decode(encode(noise(), like=original, format=format))
        assert (back.exif, back.icc) == (original.exif, original.icc)


@pytest.mark.slow
def test_photos_that_a_format_cannot_hold_are_refused() -> None:
    wide = photo(np.zeros((820, 16384, 3), np.uint8))
    with pytest.raises(PhotoError, match="WebP allows 16383 pixels a side"):
        encode(wide.pixels, like=wide, format="webp")
    assert same(decode(encode(wide.pixels, like=wide)).pixels, wide.pixels)
    gray = photo(noise(channels=1), icc=b"\x00" * 16 + b"GRAY")
    with pytest.raises(PhotoError, match="gray color profile"):
        encode(gray.pixels, like=gray, format="webp")
    heavy = photo(noise(), icc=bytes((1 << 20) + 1))
    with pytest.raises(PhotoError, match="color profile is too large"):
        encode(heavy.pixels, like=heavy)
    limit = photo(noise(), icc=noise(1, 1 << 20, 1).tobytes())
    assert decode(encode(limit.pixels, like=limit)).icc == limit.icc


@pytest.mark.parametrize("pixels", [noise().astype(np.float32), noise()[..., 0], noise(channels=4), noise(30, 20)])
def test_wrong_pixels_are_refused(pixels: Any) -> None:
    with pytest.raises(ValueError, match="pixels"):
        encode(pixels, like=photo(noise()))


def test_opaque_alpha_is_kept_by_png_and_dropped_by_webp() -> None:
    opaque = photo(noise(), np.full((20, 30), 255, np.uint8))
    assert same(decode(encode(noise(), like=opaque)).alpha, opaque.alpha)
    assert decode(encode(noise(), like=opaque, format="webp")).alpha is None
