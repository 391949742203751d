"""Classifiers: preprocessing against the official transforms, and their guarantees."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn
from torchvision.transforms import functional as official
from torchvision.transforms.functional import InterpolationMode
from toys import SIZE, linear, small_cnn

from onlymymodel.data.portraits import render
from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess

# Pillow resizes in two passes and rounds to 8 bits after each: half a level, times the second filter's sum of
# magnitudes (below 1.4 for bicubic), and another half
PILLOW_ROUNDING = 1.25 / 255


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """A portrait with noise, for texture; far from black and white, where Pillow would clip between its passes."""
    rng = np.random.default_rng(seed)
    face = np.asarray(Image.fromarray(render(3, 2, seed)).resize((width, height))) // 3
    return Image.fromarray((face + 64 + rng.integers(0, 64, face.shape)).astype(np.uint8))


def pixels_of(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def preprocessed(preprocess: Preprocess, image: Image.Image) -> Tensor:
    return preprocess.center(preprocess.canvas(pixels_of(image)))[0]


def assert_seen_alike(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= PILLOW_ROUNDING
    assert (ours - theirs).abs().mean() <= 0.5 / 255


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("height", "width"), [(299, 299), (301, 451), (640, 427), (97, 130), (256, 256)])
def test_a_photo_is_resized_and_cut_as_by_torchvision(height: int, width: int, interpolation: Any) -> None:
    image = photo(height, width)
    theirs = official.resize(image, [256], InterpolationMode(interpolation))
    theirs = official.to_tensor(official.center_crop(theirs, [224, 224]))
    assert_seen_alike(preprocessed(Preprocess(interpolation=interpolation), image), theirs)


@pytest.mark.parametrize(
    ("crop_mode", "fit", "crop_pct"),
    [("center", "crop", 0.95), ("center", "crop", 1.0), ("squash", "squash-crop", 0.9), ("squash", "squash", 1.0)],
)
@pytest.mark.parametrize("side", [160, 65])
def test_a_photo_is_resized_and_cut_as_by_timm(crop_mode: str, fit: Any, crop_pct: float, side: int) -> None:
    image = photo(211, 333)
    transform: Any = create_transform(
        (3, side, side), interpolation="bicubic", crop_pct=crop_pct, crop_mode=crop_mode, mean=(0, 0, 0), std=(1, 1, 1)
    )
    assert_seen_alike(preprocessed(Preprocess(side, side, crop_pct, fit), image), transform(image))


def test_nearest_is_pillows_nearest() -> None:
    image = photo(211, 333)
    theirs = official.to_tensor(image.resize((50, 40), Image.Resampling.NEAREST))
    assert torch.equal(preprocessed(Preprocess(40, 50, fit="squash", interpolation="nearest"), image), theirs)


def test_a_photo_of_the_canvas_size_is_not_touched() -> None:
    image = photo(256, 256)
    assert torch.equal(preprocessed(Preprocess(), image), pixels_of(image)[0, :, 16:240, 16:240])


def test_canvas_sizes_are_torchvisions_for_every_size() -> None:
    rng = np.random.default_rng(0)
    sides = [1, 2, 3, 223, 224, 225, 255, 256, 257, 4095, *rng.integers(1, 3000, 40).tolist()]
    covers = {224: 0.875, 235: 224 / 235, 320: 0.9, 342: 299 / 342}
    targets = {224: 224, 235: 224, 320: 288, 342: 299}
    for (height, width), cover in itertools.product(itertools.product(sides, sides), covers):
        preprocess = Preprocess(targets[cover], targets[cover], crop_pct=targets[cover] / cover)
        theirs = official._compute_resized_output_size((height, width), [cover])
        assert preprocess.canvas_size(height, width) == tuple(theirs), (height, width, cover)


def test_the_covered_side_is_timms_for_all_its_weights() -> None:
    configs: list[Any] = [timm.get_pretrained_cfg(name) for name in timm.list_pretrained()]
    shapes = {(config.input_size[-1], config.crop_pct) for config in configs}
    assert len(shapes) > 50
    for side, crop_pct in sorted(shapes):
        transform: Any = create_transform((3, side, side), crop_pct=crop_pct)
        assert Preprocess(side, side, crop_pct).canvas_size(901, 901) == (transform.transforms[0].size,) * 2


@pytest.mark.parametrize(("height", "width"), list(itertools.product(range(223, 228), repeat=2)))
def test_crops_are_torchvisions(height: int, width: int) -> None:
    canvas = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    assert torch.equal(Preprocess(221, 222).center(canvas), official.center_crop(canvas, [221, 222]))


def test_pixels_stay_in_range_where_bicubic_overshoots() -> None:
    edge = torch.zeros(1, 3, 60, 60)
    edge[..., 30:] = 1
    canvas = Preprocess(32, 32).canvas(edge)
    assert canvas.min() == 0
    assert canvas.max() == 1


def test_gray_is_read_as_three_equal_channels() -> None:
    model, gray = small_cnn(seed=1), torch.rand(2, 1, 37, 23, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(gray), model(gray.expand(-1, 3, -1, -1)), rtol=0, atol=1e-6)


def test_four_channels_are_refused() -> None:
    with pytest.raises(RuntimeError, match="expand"):
        small_cnn(seed=1)(torch.rand(1, 4, SIZE, SIZE))


def test_normalization_and_gradient_of_a_linear_classifier_are_known() -> None:
    inner = linear(seed=2, classes=3, scale=0.1)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    how = Preprocess(SIZE, SIZE, fit="squash", mean=mean, std=std)
    model = Classifier(inner.net, ModelCard("toy", "toy", 3, how))
    pixels = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights, bias = inner.net.get_parameter("weights").double(), inner.net.get_parameter("bias").double()
    deviation = torch.tensor(std).double().view(3, 1, 1)
    normalized = (pixels.detach().double() - torch.tensor(mean).double().view(3, 1, 1)) / deviation
    logits = model(pixels)
    torch.testing.assert_close(logits.double(), normalized.flatten(1) @ weights.T + bias, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(logits[0, 1], pixels)
    torch.testing.assert_close(gradient[0].double(), weights[1].view(3, SIZE, SIZE) / deviation, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [small_cnn, linear])
def test_one_photo_alone_reads_as_in_a_batch_and_as_in_float64(make: Callable[..., Classifier]) -> None:
    model = make(seed=4)
    pixels = torch.rand(5, 3, 40, 29, generator=torch.Generator().manual_seed(3))
    together = model(pixels)
    exact = copy.deepcopy(model).double()(pixels.double())
    for row in range(5):
        torch.testing.assert_close(model(pixels[row : row + 1])[0], together[row], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together.double(), exact, rtol=1e-4, atol=1e-4)


def test_a_classifier_is_frozen() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(2))
    net.train()
    with torch.no_grad():
        net(torch.zeros(2, 3, SIZE, SIZE))
    card = ModelCard("toy", "toy", 2, Preprocess(SIZE, SIZE, fit="squash"))
    model = Classifier(net, card)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    before = copy.deepcopy(model.state_dict())
    pixels = torch.rand(4, 3, 20, 20)
    assert torch.equal(model(pixels), model(pixels))
    with pytest.raises(RuntimeError, match="frozen"):
        model.train()
    assert model.train(False) is model
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def card(**changes: Any) -> ModelCard:
    return ModelCard(**{"uri": "toy", "sha256": "0", "classes": 2, "preprocess": Preprocess(), **changes})


def test_a_card_names_classes_and_goes_to_json_without_them() -> None:
    named = card(labels=("cat", "dog"))
    assert [named.name_of(index) for index in (-1, 0, 1, 2)] == ["-1", "cat", "dog", "2"]
    written = named.to_json()
    assert "labels" not in written
    assert written["preprocess"]["mean"] == (0.485, 0.456, 0.406)


def test_models_that_differ_in_normalization_only_share_a_canvas() -> None:
    assert Preprocess().resize_key == Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).resize_key
    assert Preprocess().resize_key != Preprocess(interpolation="bilinear").resize_key
