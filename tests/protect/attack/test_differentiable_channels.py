import io

import numpy as np
import pytest
import torch
from PIL import Image

from onlymymodel.data.portraits import render
from onlymymodel.evaluate.channels import CHANNELS
from onlymymodel.protect.attack.differentiable_channels import (
    BLURS,
    CLEANING,
    QUALITIES,
    SIZES,
    draw_channels,
    random_cleaning,
    random_jpeg,
    random_resize,
)
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.attack.tables import AGAINST

# the channel of an evaluation that each party is, and the draw at which it is that one
REAL = {
    "jpeg": ("jpeg75", (75 - QUALITIES[0]) / (QUALITIES[1] - QUALITIES[0])),
    "jpeg-ladder": ("jpeg-ladder", 0.0),
    "resize": ("resize", (0.5 - SIZES[0]) / (SIZES[1] - SIZES[0])),
    "averaged": ("averaged", 0.0),
    "blur": ("blur", (1 - BLURS[0]) / (BLURS[1] - BLURS[0])),
    "purifier": ("purifier", 0.0),
}


def streams(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(count)]


def test_an_empty_selection_has_no_layer() -> None:
    assert draw_channels(make_recipe("default"), [torch.Generator()]) == (None, None)


@pytest.mark.parametrize("name", AGAINST)
def test_each_party_cleans_as_its_channel_does(name: str) -> None:
    """Up to the rounding of the real codecs and filters, the cleaned photo is that of the evaluation."""
    image = render(identity=1, emotion=2, seed=3, size=64)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    channel, amount = REAL[name]
    cleaned = CLEANING[name](amount)(pixels)
    real = torch.from_numpy(CHANNELS[channel].apply(image)).permute(2, 0, 1)[None].float() / 255
    assert (cleaned - real).abs().mean() < 0.5 * (pixels - real).abs().mean() + 0.5 / 255


def test_parties_and_none_are_drawn_alike_for_each_photo_from_its_own_stream() -> None:
    names, pixels = tuple(AGAINST), torch.rand(60, 3, 16, 16)
    cleaned = random_cleaning(names, streams(60))(pixels)
    for row, generator in enumerate(streams(60)):
        choice, amount = torch.rand(2, generator=generator).tolist()
        drawn = int(choice * 7)
        photo = pixels[row : row + 1]
        assert torch.equal(cleaned[row : row + 1], photo if drawn == 6 else CLEANING[names[drawn]](amount)(photo))
    assert {int(torch.rand(2, generator=generator)[0] * 7) for generator in streams(60)} == set(range(7))


def test_cleaning_applies_to_the_push_alone_and_after_what_all_models_see() -> None:
    recipe, pixels, numbers = make_recipe("robust", against=("blur",)), torch.rand(4, 1, 24, 24), streams(4)
    channels = draw_channels(recipe, streams(4))
    assert channels.all is not None
    assert channels.push is not None
    resize, jpeg = random_resize(0.5, numbers), random_jpeg(60, numbers)
    assert torch.equal(channels.all(pixels), jpeg(resize(pixels)))
    assert torch.equal(channels.push(pixels), random_cleaning(("blur",), numbers)(jpeg(resize(pixels))))
    alone = draw_channels(make_recipe("default", against=("blur",)), streams(4))
    assert alone.all is None
    assert alone.push is not None
    assert alone.push(pixels).shape == (4, 3, 24, 24)


@pytest.mark.parametrize("size", [(64, 48), (51, 33)])
def test_the_resize_is_the_real_one_at_the_share_drawn(size: tuple[int, int]) -> None:
    """To half and back, as Pillow's bicubic does it, up to its rounding to 8 bits on the way."""
    pixels = torch.from_numpy(render(identity=1, emotion=2, seed=3, size=64)[: size[0], : size[1]])
    generator = next(
        torch.Generator().manual_seed(seed)
        for seed in range(100_000)
        if (draw := torch.rand(2, generator=torch.Generator().manual_seed(seed)))[0] < 0.5 and draw[1] < 1e-3
    )
    resized = random_resize(0.5, [generator])(pixels.permute(2, 0, 1)[None].float() / 255)
    real = torch.from_numpy(CHANNELS["resize"].apply(pixels.numpy())).permute(2, 0, 1)[None].float() / 255
    if all(side % 2 == 0 for side in size):
        assert (resized - real).abs().max() < 2 / 255
    assert (resized - real).abs().mean() < 0.02


def test_half_of_the_photos_are_resized_each_by_its_own_draw() -> None:
    pixels = torch.rand(40, 3, 32, 32)
    resized = random_resize(0.5, [torch.Generator().manual_seed(row) for row in range(40)])(pixels)
    kept = [torch.equal(before, after) for before, after in zip(pixels, resized, strict=True)]
    draws = [torch.rand(2, generator=torch.Generator().manual_seed(row)).tolist() for row in range(40)]
    wanted = [chance >= 0.5 or round(32 * (0.5 + 0.5 * position)) == 32 for chance, position in draws]
    assert kept == wanted
    alone = random_resize(0.5, [torch.Generator().manual_seed(7)])(pixels[7:8])
    assert torch.equal(alone, resized[7:8])


def test_both_together_are_one_after_the_other() -> None:
    pixels, numbers = torch.rand(3, 3, 32, 40), streams(3)
    both = draw_channels(make_recipe("robust"), streams(3)).all
    assert both is not None
    resize, jpeg = random_resize(0.5, numbers), random_jpeg(60, numbers)
    assert torch.equal(both(pixels), jpeg(resize(pixels)))


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_the_layer_does_what_pillows_codec_does(quality: int) -> None:
    image = render(identity=1, emotion=2, seed=3, size=128)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    layer = random_jpeg(quality, [_FirstDrawIsZero()])
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    codec = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)[None].float() / 255
    coded = layer(pixels)
    # far nearer to the codec than to the photo, though it rounds softly
    assert (coded - codec).abs().mean() < 0.5 * (pixels - codec).abs().mean() + 0.5 / 255


def test_gradients_pass_and_gray_becomes_three_channels() -> None:
    pixels = torch.rand(2, 1, 24, 40, requires_grad=True)
    layer = random_jpeg(75, [torch.Generator().manual_seed(row) for row in range(2)])
    coded = layer(pixels)
    assert coded.shape == (2, 3, 24, 40)
    (gradient,) = torch.autograd.grad(coded.square().sum(), pixels)
    assert (gradient.flatten(1).abs().amax(1) > 0).all()


def _FirstDrawIsZero() -> torch.Generator:
    """A generator whose first number is nearly 0, so that the quality drawn is the worst allowed."""
    for seed in range(10_000):
        if torch.rand(1, generator=torch.Generator().manual_seed(seed)) < 1e-3:
            return torch.Generator().manual_seed(seed)
    raise AssertionError("no such seed")
