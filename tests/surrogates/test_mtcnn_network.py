"""MTCNN with gradients: what facenet-pytorch finds, and scores that follow the pixels."""

from dataclasses import replace

import pytest
import torch
from face_scenes import TWO
from toys import Linear, classifier, generators

from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.recipe import RECIPES
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.surrogates.checks import check_model
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.detector import Detects, detector_of
from onlymymodel.surrogates.face_detector import MIN_PROBABILITY, find_faces
from onlymymodel.surrogates.kept_objects import crop_margins, kept_objects
from onlymymodel.surrogates.load import load_black_box, load_model

SIDE = 96


def portrait() -> torch.Tensor:
    """(1,3,96,96) uint8 of a rendered face that MTCNN finds."""
    return to_tensor(render(1, 1, 1, SIDE))[None]


def mtcnn() -> Classifier:
    return load_model(f"mtcnn:faces?size={SIDE}")


def test_it_finds_what_facenet_pytorch_finds() -> None:
    height, width = TWO.shape[:2]
    model = load_model(f"mtcnn:faces?size={height}x{width}")
    found = detector_of(model).detect(model.network_input(to_tensor(TWO)[None]))[0]
    expected = sorted(find_faces(TWO), key=lambda face: -face.probability)
    assert len(found) == len(expected) == 2
    size = torch.tensor([width, height] * 2)
    boxes = torch.stack([box.clamp(torch.zeros(4), size) for box in found.boxes * size])
    torch.testing.assert_close(boxes, torch.tensor([face.box for face in expected]), atol=1e-2, rtol=0)
    assert found.scores.tolist() == pytest.approx([face.probability for face in expected], abs=1e-5)


def test_the_judge_at_one_size_is_the_same_network() -> None:
    judge, guide = load_black_box(f"mtcnn:faces?size={SIDE}"), mtcnn()
    own_size = load_black_box("mtcnn:faces")
    assert judge.card == guide.card
    assert isinstance(judge, Detects)
    assert len(judge.detect(render(1, 1, 1, SIDE))) == 1
    assert judge.card.same_weights(own_size.card)
    assert (judge.card.labels, judge.card.parent) == (own_size.card.labels, own_size.card.parent)


def test_photos_of_a_batch_do_not_depend_on_each_other() -> None:
    model = mtcnn()
    photos = torch.cat([portrait(), torch.zeros_like(portrait()), portrait().flip(-1)])
    together, alone = model(photos), torch.cat([model(photo[None]) for photo in photos])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-4)
    assert all(result.passed for result in check_model(model))


def test_the_gradient_is_that_of_the_score() -> None:
    """Along the gradient the margin grows by its square, to first order, and it is zero far from any proposal."""
    model, photo = mtcnn(), portrait().float() / 255
    objects = [kept_objects(model, photo[0])]
    start = photo.clone().requires_grad_()
    value = crop_margins(model, start, torch.tensor([0]), objects)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(value.sum(), start)
    step = 0.01 / float(gradient.square().sum())
    after = crop_margins(model, photo + step * gradient, torch.tensor([0]), objects)  # type: ignore[arg-type]
    assert float((after - value).detach()) == pytest.approx(0.01, rel=0.2)
    assert not gradient[..., :3].any()  # left of the face


def test_it_is_authorized_while_another_model_is_misled() -> None:
    pixels, model = portrait(), mtcnn()
    weights = torch.randn(2, 3 * 16 * 16, generator=torch.Generator().manual_seed(2)) * 0.05
    stand_in = classifier(Linear(weights, torch.zeros(2)), 2, "linear")
    settings = replace(RECIPES["default"], steps=4, views=("center",), kappa=1.0, keep_through=("mirror", "jpeg-90"))
    result = protect_batch(
        pixels, torch.tensor([0]), authorized=model, surrogates=[stand_in], budget=Budget(16 / 255), recipe=settings,
        generators=generators(1),
    )  # fmt: skip
    assert result.admissible.all()
    assert float(result.margins[0]) >= 1
    faces = find_faces(result.pixels[0].permute(1, 2, 0).numpy())
    assert faces
    assert faces[0].probability >= MIN_PROBABILITY


def test_as_a_stand_in_it_is_made_uncertain_of_the_face() -> None:
    pixels, model = portrait(), mtcnn()
    weights = torch.randn(2, 3 * 16 * 16, generator=torch.Generator().manual_seed(2))
    authorized = classifier(Linear(weights, torch.zeros(2)), 2, "linear")
    settings = replace(RECIPES["exact"], steps=10, kappa=0.0)
    result = protect_batch(
        pixels, authorized(pixels).argmax(1), authorized=authorized, surrogates=[model], budget=Budget(16 / 255),
        recipe=settings, generators=generators(1),
    )  # fmt: skip
    assert float(model(result.pixels)[0, 0]) < float(model(pixels)[0, 0]) - 2


def test_what_is_missing_is_said() -> None:
    with pytest.raises(UserError, match=r"MTCNN needs the size that photos are brought to: add \?size=640"):
        load_model("mtcnn:faces")
    with pytest.raises(UserError, match=r"write mtcnn:faces\?size=640"):
        load_model("mtcnn:people?size=64")
    with pytest.raises(UserError, match="a threshold is for MTCNN at one size"):
        load_black_box("mtcnn:faces?threshold=0.7")
    assert detector_of(load_model("mtcnn:faces?size=64&threshold=0.7")).found == 0.7
