import pytest
import torch
import torch.nn.functional as F

from onlymymodel.data import strips
from onlymymodel.surrogates.model_card import Preprocess
from onlymymodel.surrogates.resize import resize

SIZES = [(401, 613), (613, 401), (97, 1003), (30, 50)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_strips_of_8_bit_pixels_give_what_one_resize_of_floats_gives(
    size: tuple[int, int], channels: int, interpolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (1, channels, *size), dtype=torch.uint8, generator=generator)
    mode = "nearest-exact" if interpolation == "nearest" else interpolation
    for pixels_of_strip in (1, 10_000, 1 << 20):
        monkeypatch.setattr(strips, "STRIP_PIXELS", pixels_of_strip)
        for target in ((48, 64), (257, 129), size):
            expected = F.interpolate(pixels.float() / 255, target, mode=mode, antialias=mode != "nearest-exact")
            assert torch.equal(resize(pixels, target, interpolation), expected)


@pytest.mark.parametrize("fit", ["crop", "squash", "squash-crop", "align"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_canvas_of_8_bit_pixels_is_that_of_floats(channels: int, fit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", 10_000)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (1, channels, 301, 403), dtype=torch.uint8, generator=generator)
    preprocess = Preprocess(112, 96, fit=fit)  # type: ignore[arg-type]
    eyes, nose, mouth = [[150.0, 120], [220, 125]], [[185.0, 160]], [[160.0, 210], [215, 205]]
    landmarks = torch.tensor([eyes + nose + mouth])
    expected = preprocess.canvas(pixels.float() / 255, landmarks)
    assert torch.equal(preprocess.canvas(pixels, landmarks), expected)
