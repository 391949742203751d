"""Object detectors: how their outputs are read, what is found, and presence as the answer of a classifier."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from detectors import corners, write_yolo
from face_scenes import TWO
from numpy.typing import NDArray
from tiny_onnx import write_onnx
from torch import Tensor
from torchvision.ops import box_convert, nms

from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import query
from onlymymodel.surrogates.checks import check_model
from onlymymodel.surrogates.detector import Detections, Detector, DetectorBlackBox, Detects, as_judge, detector_of
from onlymymodel.surrogates.detector_formats import FORMATS
from onlymymodel.surrogates.load import load_black_box, load_model
from onlymymodel.surrogates.model_card import Preprocess


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def found(name: str, output: Any, height: int, width: int, threshold: float = 0.3) -> Detections:
    kind = FORMATS[name]
    detector = Detector(torch.nn.Identity(), kind.decode, threshold, kind.overlap)
    boxes, scores = kind.decode(output, height, width)
    return detector._found(boxes[0], scores[0])


def by_hand(boxes: Tensor, scores: Tensor, threshold: float, overlap: float | None) -> list[tuple[int, float]]:
    """Class and score of what is left, class by class with torchvision's plain suppression."""
    kept = []
    for index in range(scores.shape[1]):
        mine = [
            row for row in range(len(scores)) if int(scores[row].argmax()) == index and scores[row, index] >= threshold
        ]
        chosen = torch.tensor(mine, dtype=torch.long)
        if overlap is not None:
            chosen = chosen[nms(boxes[chosen], scores[chosen, index], overlap)]
        kept += [(index, float(scores[row, index])) for row in chosen.tolist()]
    return sorted(kept, key=lambda pair: -pair[1])


def raw_boxes(count: int, height: int, width: int) -> Tensor:
    """Boxes by their centers in pixels."""
    size = torch.tensor([width, height, width, height])
    return (torch.rand(count, 4, generator=stream(1)) * 0.5 + 0.25) * size


@pytest.mark.parametrize("name", ["yolov5", "yolov8"])
def test_yolo_outputs_equal_plain_suppression(name: str) -> None:
    height, width, count, classes = 64, 96, 60, 4
    boxes, scores = raw_boxes(count, height, width), torch.rand(count, classes, generator=stream(2))
    if name == "yolov5":
        objectness = torch.rand(count, 1, generator=stream(3))
        output = torch.cat([boxes, objectness, scores], dim=1)[None]
        scores = objectness * scores
    else:
        output = torch.cat([boxes, scores], dim=1).T[None]
    detections = found(name, (output,), height, width)
    corners_ = box_convert(boxes, "cxcywh", "xyxy")
    expected = by_hand(corners_, scores, 0.3, 0.45)
    assert detections.classes.tolist() == [index for index, _ in expected]
    assert detections.scores.tolist() == pytest.approx([score for _, score in expected])
    first = int(scores.amax(1).argmax())
    torch.testing.assert_close(detections.boxes[0], corners_[first] / torch.tensor([width, height, width, height]))


@pytest.mark.parametrize("swapped", [False, True])
def test_detr_outputs_equal_the_authors_post_processing(swapped: bool) -> None:
    """As the authors' PostProcess: softmax, the last class left out, each query's best class, no suppression."""
    logits, boxes = torch.randn(1, 20, 6, generator=stream(1)) * 3, torch.rand(1, 20, 4, generator=stream(2))
    detections = found("detr", (boxes, logits) if swapped else (logits, boxes), 10, 10)
    scores, labels = logits.softmax(-1)[0, :, :-1].max(-1)
    order = [row for row in scores.argsort(descending=True).tolist() if scores[row] >= 0.3]
    assert detections.classes.tolist() == labels[order].tolist()
    torch.testing.assert_close(detections.scores, scores[order])
    torch.testing.assert_close(detections.boxes, box_convert(boxes[0, order], "cxcywh", "xyxy"))


def test_rt_detr_classes_are_independent() -> None:
    logits, boxes = torch.randn(1, 20, 5, generator=stream(1)), torch.rand(1, 20, 4, generator=stream(2))
    detections = found("rt-detr", (logits, boxes), 10, 10)
    scores = logits.sigmoid()[0].amax(-1)
    assert detections.scores.tolist() == pytest.approx(sorted((s for s in scores.tolist() if s >= 0.3), reverse=True))


@pytest.mark.parametrize("layout", ["yolov5", "yolov8"])
def test_an_onnx_detector_finds_the_same_in_both_runtimes(layout: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("red\ngreen\n")
    path = write_yolo(tmp_path / "net.onnx", layout)
    uri = f"onnx:{path}?task=detection&format={layout}&labels={tmp_path / 'names.txt'}"
    judge, model = load_black_box(uri), load_model(uri)
    assert model.card.labels == judge.card.labels == ("red", "green", "nothing")
    assert (model.card.kind, model.card.sha256) == ("detector", judge.card.sha256)
    assert model.card.same_weights(judge.card)
    assert all(result.passed for result in check_model(model))  # in batches, though the graph accepts one photo only
    image = np.full((16, 16, 3), (179, 51, 0), np.uint8)  # 0.7 red, 0.2 green
    for box in (judge, as_judge(model)):
        assert isinstance(box, Detects)
        detections = box.detect(image)
        assert detections.classes.tolist() == [0, 0]
        assert detections.scores.tolist() == pytest.approx([179 / 255] * 2, abs=1e-6)
        expected = torch.tensor([179 / 255, 51 / 255, 0.5]).logit()
        assert query(box, image).tolist() == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("format_", ["yolov5", "yolov8"])
def test_a_classifier_is_no_detector(format_: str, tmp_path: Path) -> None:
    uri = f"onnx:{write_onnx(tmp_path / 'net.onnx')}?task=detection&format={format_}"
    for load in (load_model, load_black_box):
        with pytest.raises(UserError, match=r"an output of the shape \(1, 5\) is not of this format="):
            load(uri)


def test_options_that_have_no_effect_are_refused(tmp_path: Path) -> None:
    detector, classifier = write_yolo(tmp_path / "yolo.onnx", "yolov8"), write_onnx(tmp_path / "net.onnx")
    for load in (load_model, load_black_box):
        with pytest.raises(UserError, match="a gallery is for an embedder, not for"):
            load(f"onnx:{detector}?task=detection&format=yolov8&gallery={tmp_path}")
        with pytest.raises(UserError, match="format= is for detectors: add task=detection"):
            load(f"onnx:{detector}?format=yolov8")
        with pytest.raises(UserError, match="a threshold is for an embedder"):
            load(f"onnx:{classifier}?threshold=0.3")


def test_presence_is_the_answer_and_nothing_is_a_class() -> None:
    model = corners()
    photo = torch.zeros(1, 3, 16, 16)
    assert model.card.name_of(int(model(photo).argmax(1))) == "nothing"
    photo[:, 1, 8:, 8:] = 0.8
    assert model.card.name_of(int(model(photo).argmax(1))) == "green"
    assert all(result.passed for result in check_model(model))


def reference(net: Any, crop: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        out: dict[str, Tensor] = net([crop[0]])[0]
    return out


@pytest.mark.slow
def test_a_detector_of_torchvision_finds_what_torchvision_finds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    name = "ssdlite320_mobilenet_v3_large"
    net = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=4).eval()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    model = load_model(f"checkpoint:{tmp_path / 'net.pt'}?arch=torchvision:{name}&classes=4&threshold=0.25001")
    assert (model.card.kind, model.card.classes) == ("detector", 4)
    assert model.card.preprocess == Preprocess(320, 320, fit="letterbox", mean=(0.0,) * 3, std=(1.0,) * 3)
    image: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    crop = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    net.score_thresh = 1e-3
    expected = reference(net, crop)
    kept = expected["scores"] >= 0.25001
    box = as_judge(model)
    assert isinstance(box, DetectorBlackBox)
    detections = box.detect(image)
    torch.testing.assert_close(detections.scores, expected["scores"][kept])
    assert detections.classes.tolist() == (expected["labels"][kept] - 1).tolist()
    torch.testing.assert_close(detections.boxes, expected["boxes"][kept] / 320, atol=1e-5, rtol=1e-5)
    pixels = crop.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(pixels).sum(), pixels)
    assert gradient.abs().sum() > 0


def test_a_letterbox_shows_the_whole_photo_in_its_shape() -> None:
    preprocess = Preprocess(40, 60, fit="letterbox")
    canvas = preprocess.center(preprocess.canvas(torch.ones(1, 3, 20, 20)))
    assert canvas.shape == (1, 3, 40, 60)
    torch.testing.assert_close(canvas[..., 10:50], torch.ones(1, 3, 40, 40))
    assert (canvas[..., :10] == torch.tensor(114 / 255)).all()
    assert (canvas[..., 50:] == torch.tensor(114 / 255)).all()


def test_mtcnn_says_whether_a_face_is_found() -> None:
    judge = load_black_box("mtcnn:faces")
    assert isinstance(judge, Detects)
    assert len(judge.detect(TWO)) == 2
    assert judge.card.name_of(int(query(judge, TWO).argmax())) == "face"
    assert judge.card.name_of(int(query(judge, np.zeros((50, 50, 3), np.uint8)).argmax())) == "nothing"
    assert judge.detect(TWO).boxes.amax() <= 1
    with pytest.raises(UserError, match="write mtcnn:faces"):
        load_black_box("mtcnn:people")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("task=detection", "say how the outputs of the detector are read: add format= and one of yolov5, yolov8"),
        ("task=detection&format=yolov9", "did you mean 'yolov"),
        ("task=detection&format=detr", "has 1 inputs and 1 outputs, where one input and 2 outputs are needed"),
        ("task=detection&format=yolov8&threshold=2", "a score between 0 and 1"),
        ("task=detection&format=yolov8&labels={names}", "has 3 classes but 4 class names"),
    ],
)
def test_wrong_options(options: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    uri = f"onnx:{write_yolo(tmp_path / 'net.onnx', 'yolov8')}?{options.format(names=tmp_path / 'names.txt')}"
    for load in (load_model, load_black_box):
        with pytest.raises(UserError, match=words):
            load(uri)


def test_only_a_detector_is_read_as_one() -> None:
    with pytest.raises(UserError, match="of the task identity cannot be read as one of detection"):
        load_model("zoo:identity-plain?task=detection")


def test_a_detector_is_known_by_its_network() -> None:
    assert isinstance(detector_of(corners()), Detector)
    with pytest.raises(TypeError, match="is no detector"):
        detector_of(load_model("zoo:identity-plain"))
