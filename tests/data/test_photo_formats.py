"""Formats that phones, browsers and messengers write: AVIF, HEIC, GIF, and what only looks like a photo."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from onlymymodel.data.image_io import Header, PhotoError, decode, encode, probe
from onlymymodel.data.portraits import render

FRAMES = [Image.fromarray(render(identity=seed, emotion=1, seed=seed, size=48)[:40]) for seed in range(2)]
PIXELS = np.asarray(FRAMES[0])


def coded(format: str, image: Image.Image = FRAMES[0], **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def refusal(data: bytes, **options: Any) -> tuple[str, str]:
    with pytest.raises(PhotoError) as caught:
        decode(data, **options)
    return caught.value.status, caught.value.reason


def camera() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Camera maker", 6
    return exif


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_photos_of_phones_are_read_upright_with_their_exif(format: str, tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    data = coded(format, quality=100, subsampling="4:4:4", exif=camera().tobytes())
    photo = decode(data)
    assert photo.source_format == format
    upright = np.rot90(PIXELS, -1)
    assert photo.pixels.shape == upright.shape == (48, 40, 3)
    assert np.abs(photo.pixels.astype(int) - upright).mean() < 4
    read = Image.Exif()
    read.load(photo.exif or b"")
    assert dict(read) == {0x010F: "Camera maker", 0x0112: 1}
    (tmp_path / "photo").write_bytes(data)
    assert probe(tmp_path / "photo") == Header(40, 48, 3)
    again = decode(encode(photo.pixels, like=photo))
    assert np.array_equal(again.pixels, photo.pixels)
    assert again.exif == photo.exif
    for length in (len(data) // 2, len(data) - 1):
        assert refusal(data[:length])[0] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("format", ["AVIF", "HEIF", "GIF"])
def test_damaged_files_raise_only_photo_error(format: str) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = coded(format, exif=camera().tobytes()) if format != "GIF" else coded(format)
    random = np.random.default_rng(1)
    for _ in range(300):
        mutant = bytearray(data[: random.integers(0, len(data) + 1)] if random.random() < 0.2 else data)
        for at in random.integers(0, len(data), size=random.integers(1, 5)):
            if at < len(mutant):
                mutant[at] = random.integers(0, 256)
        try:
            photo = decode(bytes(mutant), max_pixels=1_000_000, first_frame=True)
        except PhotoError:
            continue
        assert photo.pixels.dtype == np.uint8


def test_a_still_gif_is_read() -> None:
    palette = FRAMES[0].quantize(32)
    photo = decode(coded("GIF", palette))
    assert np.array_equal(photo.pixels, np.asarray(palette.convert("RGB")))
    assert photo.notes == ("palette colors were converted to RGB",)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_the_first_frame_of_an_animation_is_read_on_request(format: str, tmp_path: Path) -> None:
    lossless = {"lossless": True} if format == "WEBP" else {"quality": 100} if format == "AVIF" else {}
    data = coded(format, save_all=True, append_images=FRAMES[1:], **lossless)
    assert refusal(data) == (
        "skipped", "an animation: only single pictures can be protected (--first-frame takes its first)",
    )  # fmt: skip
    photo = decode(data, first_frame=True)
    assert np.abs(photo.pixels.astype(int) - PIXELS).mean() < 6
    assert "only the first of 2 frames was used" in photo.notes
    (tmp_path / "photo").write_bytes(data)
    assert probe(tmp_path / "photo", first_frame=True) == Header(48, 40, 3)
    with pytest.raises(PhotoError, match="an animation"):
        probe(tmp_path / "photo")


def test_the_preview_of_a_raw_file_is_not_taken_for_the_photo() -> None:
    digital_negative, with_preview = (TiffImagePlugin.ImageFileDirectory_v2() for _ in range(2))
    digital_negative[50706] = b"\x01\x04\x00\x00"
    with_preview[254], with_preview[330] = 1, 8
    for tags in (digital_negative, with_preview):
        assert refusal(coded("TIFF", tiffinfo=tags)) == ("skipped", "not a supported format (camera RAW)")
    pages = coded("TIFF", save_all=True, append_images=FRAMES[1:])
    assert refusal(pages, first_frame=True)[1].startswith("several pages")


def test_the_shared_cases_are_read_by_their_content(cases: Path) -> None:
    for name in ("h_a.jfif", "h_b.HEIC"):
        assert decode((cases / name).read_bytes()).source_format == "JPEG"
    assert refusal((cases / "g_hevc.jpg").read_bytes()) == ("failed", "a damaged HEIC file, or one of an unusual kind")
