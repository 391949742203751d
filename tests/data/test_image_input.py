"""Pictures as Python programs have them become the bytes of a file with the same pixels."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image

from onlymymodel.data.image_input import picture_bytes
from onlymymodel.data.image_io import decode
from onlymymodel.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
GRAY = PIXELS[..., :1]


def pixels_of(picture: Any) -> NDArray[np.uint8]:
    return decode(picture_bytes(picture)).pixels


def test_every_kind_of_picture_keeps_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(PIXELS).save(path)
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    floats = tensor / 255
    for picture in (
        path,
        str(path),
        path.read_bytes(),
        bytearray(path.read_bytes()),
        Image.open(path),
        Image.fromarray(PIXELS),
        PIXELS,
        PIXELS / 255,
        np.asfortranarray(PIXELS),
        tensor,
        floats.requires_grad_(),
        floats.double(),
    ):
        assert np.array_equal(pixels_of(picture), PIXELS)
    for picture in (GRAY, GRAY[..., 0], torch.from_numpy(GRAY[..., 0])[None]):
        assert np.array_equal(pixels_of(picture), GRAY)


def test_equal_pixels_are_equal_bytes_so_that_they_get_equal_random_numbers() -> None:
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    assert picture_bytes(PIXELS) == picture_bytes(tensor) == picture_bytes(Image.fromarray(PIXELS))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_tensor_of_short_floats_is_rounded_to_8_bits(dtype: torch.dtype) -> None:
    tensor = (torch.from_numpy(PIXELS).permute(2, 0, 1) / 255).to(dtype)
    expected = (tensor.double() * 255).round().to(torch.uint8)
    assert np.array_equal(pixels_of(tensor), expected.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("name", ["TIFF", "PNG"])
def test_an_image_is_turned_upright_once(name: str, loaded: bool, orientation: int) -> None:
    """Pillow turns the pixels of a TIFF when it loads them."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(PIXELS).save(file, name, exif=exif)
    image = Image.open(file)
    if loaded:
        image.load()
    assert np.array_equal(pixels_of(image), decode(file.getvalue()).pixels)


def test_floats_are_rounded_not_truncated() -> None:
    assert (pixels_of(np.full((16, 16, 3), 0.999)) == 255).all()


def test_transparency_exif_and_color_profile_are_kept() -> None:
    alpha = np.dstack([PIXELS, GRAY])
    kept = decode(picture_bytes(alpha))
    assert np.array_equal(kept.pixels, PIXELS)
    assert kept.alpha is not None
    assert np.array_equal(kept.alpha, GRAY[..., 0])
    image = Image.fromarray(PIXELS)
    exif = Image.Exif()
    exif[274] = 6  # the picture is to be turned
    exif[271] = "Camera"
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, quality=100, subsampling=0)
    opened = Image.open(file)
    from_file, from_image = decode(file.getvalue()), decode(picture_bytes(opened))
    assert from_image.pixels.shape == from_file.pixels.shape == (30, 20, 3)
    assert np.array_equal(from_image.pixels, from_file.pixels)
    assert from_image.exif == from_file.exif is not None


def cut_short() -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "BMP")
    return Image.open(io.BytesIO(file.getvalue()[:500]))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (cut_short(), "the Pillow image cannot be read: image file is truncated"),
        (np.zeros((3, 20, 30), np.uint8), r"\(3, 20, 30\): one picture, with its channels last"),
        (np.zeros((2, 20, 30, 3), np.uint8), "one picture, with its channels last"),
        (torch.zeros(2, 3, 20, 30), r"has the shape \(3,H,W\) or \(1,H,W\), not \(2, 3, 20, 30\)"),
        (np.zeros((0, 30, 3), np.uint8), "one picture"),
        (np.full((20, 30, 3), 200.0), "pixels that are floats lie from 0 to 1; pass uint8"),
        (np.full((20, 30, 3), np.nan), "pixels that are floats lie from 0 to 1"),
        (torch.full((3, 20, 30), -0.1), "pixels that are floats lie from 0 to 1"),
        (np.zeros((20, 30, 3), np.int64), "not int64"),
        (Image.new("CMYK", (20, 20)), r"mode CMYK has to be converted first: image.convert\('RGB'\)"),
        (Path("missing.png"), "missing.png cannot be read: No such file or directory"),
        (Path(), "cannot be read: not a regular file"),
        (None, "not NoneType"),
        ([1, 2], "not list"),
    ],
)
def test_what_is_no_picture_is_an_error_that_says_what_is_one(picture: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        picture_bytes(picture)
