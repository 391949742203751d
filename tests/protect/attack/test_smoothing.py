"""Smooth steps at the scale of the face."""

import math
from dataclasses import replace

import pytest
import torch
from batches import attack_batch
from face_scenes import ALIGN
from torch import nn
from toys import generators, photos

from onlymymodel.protect.attack import smoothing
from onlymymodel.protect.attack.optimizer import optimize
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.smoothing import smooth_gradient, smoothing_scales
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.filters import gaussian
from onlymymodel.surrogates.alignment import ARCFACE, face_scale
from onlymymodel.surrogates.classifier import Classifier, ModelCard


def face(scale: float, degrees: float = 0.0) -> torch.Tensor:
    """Return the template's landmarks, larger and rotated."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return scale * torch.from_numpy(ARCFACE).float() @ torch.tensor([[cosine, sine], [-sine, cosine]]) + 7


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_scale_of_a_face_is_that_of_its_landmarks(scale: float) -> None:
    assert face_scale(face(scale, degrees=20)) == pytest.approx(scale)


def test_without_a_face_a_pixel_is_a_pixel() -> None:
    assert face_scale(torch.full((5, 2), torch.nan)) == 1
    assert smoothing_scales(None, 3) == [1, 1, 1]
    assert smoothing_scales(torch.stack([face(2.0), face(0.5)]), 2) == pytest.approx([2, 0.5])


def test_each_photo_is_filtered_at_its_own_scale() -> None:
    gradient = torch.rand(3, 3, 20, 24)
    filtered = smooth_gradient(gradient, [1.0, 2.5, 1.0])
    for photo, sigma in ((0, 1.0), (1, 2.5), (2, 1.0)):
        assert torch.equal(filtered[photo], gaussian(gradient[photo : photo + 1], sigma)[0])
    torch.testing.assert_close(smooth_gradient(gradient, [1.5] * 3), gaussian(gradient, 1.5))


def test_a_larger_face_gets_larger_spots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A blur of 1 on a face of twice the template's size is one of 2 pixels of the photo."""
    net = nn.Sequential(nn.Conv2d(3, 4, 7, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    card = ModelCard("aligned", sha256="aligned", classes=4, preprocess=ALIGN, task="toy")
    model, pixels = Classifier(net, card), to_float(photos(2, size=48))
    plain = attack_batch(pixels, torch.tensor([0, 1]), streams=generators(2))
    batch = replace(plain, landmarks=torch.stack([face(2.0) / 8, face(2.0) / 8 + 3]))

    def changed(smooth: float) -> torch.Tensor:
        again = replace(batch, generators=generators(2))
        recipe = Recipe(smooth=smooth, steps=2, views=("center",), guard=False)
        return optimize(again, authorized=model, surrogates=[model], recipe=recipe).delta

    relative = changed(4.0)
    assert not torch.equal(relative, changed(1.0))
    monkeypatch.setattr(smoothing, "face_scale", lambda _: 1.0)
    assert torch.equal(relative, changed(1.0)), "0.25 pixels of the photo for each of the template"
