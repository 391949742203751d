"""The channels against their definitions, on pictures of every kind that a folder holds."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.evaluate.channels import CHANNELS, get_channels
from onlymymodel.surrogates.purifier import purify

Pixels = NDArray[np.uint8]
SHAPES = [(1, 1), (1, 7), (5, 1), (16, 16), (17, 30), (64, 51)]
every_channel = pytest.mark.parametrize("name", CHANNELS)


def noise(height: int, width: int, channels: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def reopened(picture: Image.Image, codec: str, quality: int) -> Pixels:
    buffer = io.BytesIO()
    picture.save(buffer, format=codec, quality=quality)
    return np.asarray(Image.open(io.BytesIO(buffer.getvalue())))


def test_channel_names_and_order() -> None:
    names = [
        "png", "jpeg95", "jpeg75", "jpeg50", "webp90", "resize", "blur", "bits4", "jpeg-ladder", "averaged", "purifier",
    ]  # fmt: skip
    assert list(CHANNELS) == names
    assert [channel.name for channel in CHANNELS.values()] == names
    assert len({channel.meaning for channel in CHANNELS.values()}) == len(names)


@every_channel
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_channel_accepts_any_picture_and_keeps_its_shape(name: str, channels: int, shape: tuple[int, int]) -> None:
    image = noise(*shape, channels)
    image.flags.writeable = False  # as decoded files are: a channel that writes into its input would raise
    kept = image.copy()
    out = CHANNELS[name].apply(image)
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    assert out.flags.writeable
    assert not np.shares_memory(out, image)
    assert np.array_equal(image, kept)
    assert np.array_equal(out, CHANNELS[name].apply(image))


@every_channel
def test_array_view_gives_the_same_result_as_a_copy(name: str) -> None:
    mirrored = noise(20, 24, 3)[:, ::-1]
    assert np.array_equal(CHANNELS[name].apply(mirrored), CHANNELS[name].apply(mirrored.copy()))


@every_channel
def test_uniform_picture_stays_uniform(name: str) -> None:
    """Quantization may move the color a little, but nothing may be drawn into the picture, its rim included."""
    image = np.full((40, 33, 3), (200, 100, 37), np.uint8)
    out = CHANNELS[name].apply(image).astype(int)
    assert np.abs(out - image).max() <= (8 if name in ("jpeg50", "jpeg75", "bits4", "jpeg-ladder") else 4)
    if name != "purifier":
        assert np.ptp(out, axis=(0, 1)).max() == 0
    if name in ("png", "resize", "blur"):
        assert np.array_equal(out, image)


@every_channel
@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_do_not_wrap_around(name: str, value: int) -> None:
    image = np.full((32, 32, 3), value, np.uint8)
    assert np.abs(CHANNELS[name].apply(image).astype(int) - value).max() <= 3


@pytest.mark.parametrize("quality", [95, 75, 50])
def test_jpeg_equals_pillow(quality: int) -> None:
    image = render(1, 1, 1, 97)
    out = CHANNELS[f"jpeg{quality}"].apply(image)
    assert np.array_equal(out, reopened(Image.fromarray(image), "JPEG", quality))
    gray = image[..., :1]
    expected = reopened(Image.fromarray(gray[..., 0]), "JPEG", quality)[..., None]
    assert np.array_equal(CHANNELS[f"jpeg{quality}"].apply(gray), expected)


def test_jpeg_halves_the_resolution_of_colors() -> None:
    """Red and blue columns of one brightness in turn: 4:2:0 mixes them, 4:4:4 would keep them apart."""
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, ::2], image[:, 1::2] = (200, 0, 0), (0, 0, 255)
    out = CHANNELS["jpeg95"].apply(image).astype(int)
    assert np.abs(out[:, ::2, 0] - out[:, 1::2, 0]).mean() < 100


def test_the_ladder_is_one_compression_after_the_other() -> None:
    image = render(1, 1, 1, 97)
    expected = image
    for quality in (90, 75, 60):
        expected = reopened(Image.fromarray(expected), "JPEG", quality)
    assert np.array_equal(CHANNELS["jpeg-ladder"].apply(image), expected)


def test_averaged_is_the_mean_of_pillows_resizes() -> None:
    image = render(2, 1, 1, 80)
    picture = Image.fromarray(image)
    copies = [
        picture.resize((size, size), Image.Resampling.BICUBIC).resize(picture.size, Image.Resampling.BICUBIC)
        for size in (40, 52, 64, 76)
    ]
    mean = np.mean([np.asarray(copy, np.float64) for copy in copies], axis=0)
    assert np.abs(CHANNELS["averaged"].apply(image) - mean).max() <= 0.5 + 1e-3


def test_webp_is_lossy_and_equals_pillow() -> None:
    image = render(2, 3, 4, 64)
    out = CHANNELS["webp90"].apply(image)
    assert np.array_equal(out, reopened(Image.fromarray(image), "WEBP", 90))
    assert not np.array_equal(out, image)
    gray = image[..., 1:2]
    assert np.abs(CHANNELS["webp90"].apply(gray).astype(int) - gray).mean() < 6


def test_lower_jpeg_quality_changes_more() -> None:
    image = render(5, 2, 7)
    errors = [np.square(CHANNELS[f"jpeg{q}"].apply(image).astype(float) - image).mean() for q in (95, 75, 50)]
    assert errors[0] < errors[1] < errors[2]


def test_four_bits_are_the_nearest_of_sixteen_levels() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    out = CHANNELS["bits4"].apply(image)
    levels = np.arange(16) * 17
    nearest = levels[np.abs(image.astype(int) - levels).argmin(2)]
    assert np.array_equal(out[..., 0], nearest)
    assert np.array_equal(CHANNELS["bits4"].apply(out), out)


def test_resize_removes_high_frequencies() -> None:
    columns = np.zeros((32, 32, 1), np.uint8)
    columns[:, ::2] = 200
    assert np.abs(CHANNELS["resize"].apply(columns).astype(int) - 100).max() < 30
    ramp = np.tile(np.arange(40, 104, dtype=np.uint8)[:, None, None], (1, 30, 3))
    assert np.abs(CHANNELS["resize"].apply(ramp).astype(int) - ramp)[4:-4].max() <= 1


def test_blur_approximates_a_gaussian_of_sigma_1() -> None:
    image = noise(40, 50, 3)
    exact = gaussian_filter(image.astype(float), (1, 1, 0), mode="nearest")
    out = CHANNELS["blur"].apply(image)
    assert np.abs(out - exact)[3:-3, 3:-3].mean() < 4
    assert np.abs(image - exact)[3:-3, 3:-3].mean() > 40


def test_purifier_channel_is_the_bundled_network() -> None:
    image = noise(30, 20, 3)
    assert np.array_equal(CHANNELS["purifier"].apply(image), purify(image))


@pytest.mark.parametrize(("name", "side"), [("webp90", 16384), ("jpeg75", 65501)])
def test_picture_too_long_for_its_codec_is_a_clear_error(name: str, side: int) -> None:
    with pytest.raises(UserError, match=f"1 x {side} pixels cannot be written"):
        CHANNELS[name].apply(np.zeros((side, 1, 1), np.uint8))
    CHANNELS[name].apply(np.zeros((side - 1, 1, 1), np.uint8))


def test_channels_by_name() -> None:
    assert get_channels([]) == []
    assert get_channels(["blur", "png"]) == [CHANNELS["blur"], CHANNELS["png"]]
    with pytest.raises(UserError, match="unknown channel 'jpeg80'; did you mean 'jpeg50'"):
        get_channels(["png", "jpeg80"])
    with pytest.raises(UserError, match="known are png, jpeg95"):
        get_channels(["?"])
    with pytest.raises(UserError, match="'blur' is listed twice"):
        get_channels(["blur", "png", "blur"])
