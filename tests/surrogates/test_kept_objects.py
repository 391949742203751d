"""Test the objects that an authorized detector has to keep, and their margins."""

import math
from pathlib import Path

import pytest
import torch
import torchvision
from detectors import Quarters, corners, decode_quarters, quarter_photo, quarters
from torch import Tensor
from toys import linear

from onlymymodel.errors import UserError
from onlymymodel.protect.kept_object import objects_of, record_objects
from onlymymodel.surrogates.answers import margin
from onlymymodel.surrogates.detector import SMALLEST_SCORE, Detections, Detector, detector_of
from onlymymodel.surrogates.kept_objects import answer_of_objects, crop_margins, kept_answer, kept_objects
from onlymymodel.surrogates.load import load_black_box, load_model
from onlymymodel.surrogates.object_matches import mirror_boxes, scores_at

RED, GREEN, NOTHING = 0, 1, 2
ANY = torch.tensor([RED])


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def of_photo(photo: Tensor) -> Detections:
    objects = kept_objects(quarters(), photo[0])
    assert objects is not None
    return objects


def test_the_margin_is_that_of_the_object_that_is_least_certain() -> None:
    objects = of_photo(quarter_photo(0.8, 0.7))
    assert objects.classes.tolist() == [RED, GREEN]
    for red, green, least in ((0.8, 0.7, 0.7), (0.6, 0.7, 0.6), (0.9, 0.4, 0.4)):
        found = crop_margins(quarters(), quarter_photo(red, green), ANY, [objects])
        assert found.tolist() == pytest.approx([logit(least)], abs=1e-4)  # the threshold is 0.5, whose logit is 0


def test_the_threshold_is_subtracted_in_logits() -> None:
    model = quarters()
    model.net = Detector(Quarters(), decode_quarters, 0.6, None)
    photo = quarter_photo(0.8, 0.7)
    found = crop_margins(model, photo, ANY, [of_photo(photo)])
    assert found.tolist() == pytest.approx([logit(0.7) - logit(0.6)], abs=1e-4)


def test_an_object_that_is_gone_or_of_another_class_or_place_is_lost() -> None:
    objects = of_photo(quarter_photo(0.8, 0.7))
    lost = logit(SMALLEST_SCORE)
    other_class = quarter_photo(0.8, 0.2)
    other_class[0, 0, 8:, 8:] = 0.9  # red where green was
    assert crop_margins(quarters(), other_class, ANY, [objects]).tolist() == pytest.approx([logit(0.2)], abs=1e-4)
    elsewhere = objects.boxes.clone() + 0.25  # which overlaps no candidate by half
    moved = Detections(elsewhere[:1], objects.scores[:1], objects.classes[:1])
    assert crop_margins(quarters(), quarter_photo(0.8, 0.7), ANY, [moved]).tolist() == pytest.approx([lost], abs=1e-2)


def test_a_photo_without_objects_has_the_margin_of_nothing() -> None:
    photo = quarter_photo(0.3, 0.4)
    objects = of_photo(photo)
    assert len(objects) == 0
    for changed in (photo, quarter_photo(0.6, 0.4)):
        found = crop_margins(quarters(), changed, ANY, [objects])
        torch.testing.assert_close(found, margin(quarters()(changed), torch.tensor([NOTHING])))


def test_each_photo_of_a_batch_has_its_own_objects_and_gradient() -> None:
    photos = torch.cat([quarter_photo(0.8, 0.7), quarter_photo(0.6, 0.3), quarter_photo(0.3, 0.25)]).requires_grad_()
    objects = [of_photo(photo[None]) for photo in photos.detach()]
    found = crop_margins(quarters(), photos, ANY.expand(3), objects)
    assert found.tolist() == pytest.approx([logit(0.7), logit(0.6), -logit(0.3)], abs=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), photos)
    moved = gradient.abs().amax((2, 3)) > 0
    assert moved.tolist() == [[False, True, False], [True, False, False], [True, False, False]]
    assert (gradient[0, 1, 8:, 8:] > 0).all()  # the place of the green object
    assert not gradient[0, 1, :8].any()


def test_boxes_follow_a_mirrored_photo() -> None:
    photo = quarter_photo(0.8, 0.7)
    objects = of_photo(photo)
    expected = crop_margins(quarters(), photo, ANY, [objects])
    torch.testing.assert_close(crop_margins(quarters(), photo.flip(-1), ANY, [mirror_boxes(objects)]), expected)
    assert float(crop_margins(quarters(), photo.flip(-1), ANY, [objects])) < 0
    torch.testing.assert_close(mirror_boxes(mirror_boxes(objects)).boxes, objects.boxes)


def test_the_answer_is_nothing_as_soon_as_an_object_is_lost() -> None:
    photo = quarter_photo(0.8, 0.7)
    objects = of_photo(photo)
    assert kept_answer(quarters(), photo, objects) == RED
    assert kept_answer(quarters(), quarter_photo(0.6, 0.9), objects) == RED  # both are there, whichever is more certain
    assert kept_answer(quarters(), quarter_photo(0.8, 0.4), objects) == NOTHING
    empty = of_photo(quarter_photo(0.2, 0.2))
    assert answer_of_objects(empty, empty, NOTHING) == NOTHING
    assert answer_of_objects(empty, objects, NOTHING) == RED


def test_other_models_have_no_objects() -> None:
    assert kept_objects(linear(0), torch.zeros(3, 16, 16)) is None


def test_a_record_holds_the_objects() -> None:
    objects = of_photo(quarter_photo(0.8, 0.7))
    again = objects_of(record_objects(objects, quarters().card.labels))
    torch.testing.assert_close(again.boxes, objects.boxes.double(), rtol=0, atol=0)
    assert torch.equal(again.classes, objects.classes)
    assert [record.name for record in record_objects(objects, ("red", "green", "nothing"))] == ["red", "green"]
    assert [record.name for record in record_objects(objects, ())] == ["0", "1"]


def test_keep_limits_a_detector_to_some_classes() -> None:
    model = load_model("python:detectors:quarters?keep=green", allow_python=True)
    assert model.card.keep == ("green",)
    photo = quarter_photo(0.8, 0.7)
    objects = kept_objects(model, photo[0])
    assert objects is not None
    assert objects.classes.tolist() == [GREEN]
    assert crop_margins(model, quarter_photo(0.1, 0.7), ANY, [objects]).tolist() == pytest.approx(
        [logit(0.7)], abs=1e-4
    )
    everything = quarters()(photo)
    logits = model(photo)
    torch.testing.assert_close(logits[:, GREEN:], everything[:, GREEN:])
    assert float(logits[0, RED]) == pytest.approx(logit(SMALLEST_SCORE), abs=1e-2)
    judge = load_black_box("python:detectors:quarters?keep=green", allow_python=True)
    assert judge.card.keep == ("green",)
    with pytest.raises(UserError, match="keep names 'nothing'"):
        load_model("python:detectors:quarters?keep=nothing", allow_python=True)


def test_scores_are_the_largest_at_the_place_of_each_object() -> None:
    objects = Detections(torch.tensor([[0.0, 0.0, 0.4, 0.4]]), torch.ones(1), torch.tensor([1]))
    boxes = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.0, 0.0, 0.4, 0.21], [0.0, 0.0, 0.4, 0.19], [0.5, 0.5, 1.0, 1.0]])
    scores = torch.tensor([[0.9, 0.1], [0.0, 0.3], [0.0, 0.6], [0.0, 0.8]])
    assert scores_at(objects, boxes, scores).tolist() == pytest.approx([0.3])


def test_an_untrained_detector_of_torchvision_has_gradients(tmp_path: Path) -> None:
    torch.manual_seed(0)
    name = "ssdlite320_mobilenet_v3_large"
    net = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=4)
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    model = load_model(f"checkpoint:{tmp_path / 'weights.pt'}?arch=torchvision:{name}&classes=4&threshold=0.2")
    photo = torch.rand(1, 3, 60, 80, generator=torch.Generator().manual_seed(1))
    objects = kept_objects(model, photo[0])
    assert objects is not None
    assert len(objects)
    crop = model.card.preprocess.canvas(photo).requires_grad_()
    found = crop_margins(model, crop, ANY, [objects])
    least = float(objects.scores.min())
    assert float(found.detach()) >= logit(least) - logit(0.2) - 1e-3  # another candidate may be there, too
    (gradient,) = torch.autograd.grad(found.sum(), crop)
    assert bool(gradient.abs().sum() > 0)
    assert kept_answer(model, photo, objects) == int(objects.classes[0])


def test_the_presence_of_objects_is_what_it_was() -> None:
    detector = detector_of(corners())
    photo = quarter_photo(0.8, 0.7)
    torch.testing.assert_close(detector(photo), detector.presence(detector.candidates(photo).scores))
