"""ONNX files as judges and as surrogates, and Classifiers as black boxes."""

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image
from tiny_onnx import CLASSES, write_onnx
from torch import Tensor
from toys import small_cnn

from onlymymodel.data.manifest import sha256_file
from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import BlackBoxError, CallableBlackBox, ClassifierBlackBox, query, to_pixels
from onlymymodel.surrogates.checks import check_model
from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess
from onlymymodel.surrogates.load import load_black_box, load_model
from onlymymodel.surrogates.onnx_black_box import OnnxBlackBox


def images(count: int = 4, channels: int = 3) -> list[NDArray[np.uint8]]:
    """Of several sizes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + 7 * i, 31 - 3 * i, channels), dtype=np.uint8) for i in range(count)]


def own_arithmetic(path: Path, pixels: Tensor) -> Tensor:
    """The network of `write_onnx` in torch's float64, from the file's own numbers."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    filters, rows, bias = (torch.from_numpy(held[key].copy()).double() for key in ("filters", "rows", "bias"))
    return torch.conv2d(pixels.double(), filters, stride=2).relu().mean((2, 3)) @ rows.T + bias


def test_an_image_becomes_pixels() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    mirrored = image[:, ::-1]
    mirrored.flags.writeable = False
    pixels = to_pixels(mirrored)
    assert pixels.shape == (1, 3, 2, 4)
    assert pixels[0, 2, 1, 3] == torch.tensor(14) / 255


@pytest.mark.parametrize("batch", ["n", 1])
@pytest.mark.parametrize("options", ["", "?crop_pct=1&mean=0.5,0.4,0.3&std=0.2,0.3,0.4", "?fit=squash"])
def test_the_surrogate_of_an_onnx_file_is_what_onnx_runtime_judges_with(
    batch: int | str, options: str, tmp_path: Path
) -> None:
    path = write_onnx(tmp_path / "net.onnx", batch=batch)
    judge = load_black_box(f"onnx:net.onnx{options}", base=tmp_path)
    surrogate = load_model(f"onnx:net.onnx{options}", base=tmp_path)
    assert isinstance(judge, OnnxBlackBox)
    assert judge.card == surrogate.card
    assert judge.card.sha256 == sha256_file(path)
    assert (judge.card.classes, judge.card.preprocess.height) == (CLASSES, 12)
    scores = judge.predict(images())
    assert scores.shape == (4, CLASSES)
    assert scores.dtype == np.float32
    how = surrogate.card.preprocess
    for image, row in zip(images(), scores, strict=True):
        pixels = to_pixels(image)
        normalized = (how.center(how.canvas(pixels)) - surrogate.mean) / surrogate.std
        torch.testing.assert_close(torch.from_numpy(row), surrogate(pixels)[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            torch.from_numpy(row), own_arithmetic(path, normalized)[0].float(), rtol=1e-5, atol=1e-5
        )


def test_the_onnx_surrogate_has_the_gradient_of_the_network(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx")
    model = load_model(f"onnx:{path}")
    crop = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    ours, exact = crop.clone().requires_grad_(), crop.double().requires_grad_()
    (gradient,) = torch.autograd.grad(model.logits(ours)[:, 2].sum(), ours)
    (wanted,) = torch.autograd.grad(own_arithmetic(path, exact)[:, 2].sum(), exact)
    torch.testing.assert_close(gradient.double(), wanted, rtol=1e-4, atol=1e-6)


def test_gray_images_are_judged_as_three_equal_channels(tmp_path: Path) -> None:
    judge = load_black_box(f"onnx:{write_onnx(tmp_path / 'net.onnx')}")
    gray = images(channels=1)
    np.testing.assert_allclose(judge.predict(gray), judge.predict([g.repeat(3, 2) for g in gray]), atol=1e-5)


@pytest.mark.parametrize("kind", ["onnx", "classifier"])
def test_no_answer_depends_on_the_images_beside_it(kind: str, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx")
    judge = load_black_box(f"onnx:{path}") if kind == "onnx" else ClassifierBlackBox(small_cnn(seed=1))
    together = judge.predict(images())
    alone = np.concatenate([judge.predict([image]) for image in images()])
    backward = judge.predict(images()[::-1])[::-1]
    assert np.array_equal(together, alone)
    assert np.array_equal(together, backward)
    assert judge.predict([]).shape == (0, judge.card.classes)


def test_a_classifier_as_a_judge_gives_its_logits() -> None:
    model = small_cnn(seed=1)
    judge = ClassifierBlackBox(model)
    for image, row in zip(images(), judge.predict(images()), strict=True):
        assert torch.equal(torch.from_numpy(row), model(to_pixels(image))[0])


def test_logits_of_half_precision_are_read() -> None:
    model = small_cnn(seed=1)
    image = np.full((16, 16, 3), 90, np.uint8)
    expected = query(ClassifierBlackBox(model), image)
    model.net.register_forward_hook(lambda _module, _args, output: output.bfloat16())
    np.testing.assert_allclose(query(ClassifierBlackBox(model), image), expected, rtol=1e-2)


def test_other_kinds_are_judged_with_as_classifiers() -> None:
    judge = load_black_box("zoo:identity-plain")
    assert isinstance(judge, ClassifierBlackBox)
    assert judge.card == load_model("zoo:identity-plain").card


def test_weights_in_files_beside_the_graph_are_part_of_the_hash(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2), ("again", 1)):
        (tmp_path / name).mkdir()
        write_onnx(tmp_path / name / "net.onnx", seed=seed, beside="net.data")
    a, b, again = (load_black_box(f"onnx:{tmp_path / name / 'net.onnx'}") for name in ("a", "b", "again"))
    assert sha256_file(tmp_path / "a" / "net.onnx") == sha256_file(tmp_path / "b" / "net.onnx")
    assert a.card.sha256 != b.card.sha256
    assert a.card.sha256 == again.card.sha256 == load_model(f"onnx:{tmp_path / 'a' / 'net.onnx'}").card.sha256
    (tmp_path / "a" / "net.data").unlink()
    for load in (load_model, load_black_box):
        with pytest.raises(UserError, match=r"net\.onnx"):
            load(f"onnx:{tmp_path / 'a' / 'net.onnx'}")


@pytest.mark.parametrize("load", [load_model, load_black_box])
@pytest.mark.parametrize(
    ("shape", "options", "prediction"),
    [
        ({"outputs": 2}, "", "has 1 inputs and 2 outputs, where one of each is needed"),
        ({"flat": False}, "", "where (1, classes)"),
        ({"side": "s"}, "", "accepts any input size; add ?size=224"),
        ({}, "?classes=7", "gives 5 classes, not 7"),
        ({}, "?size=2", "on a"),
        ({}, "?labels=two.txt", "has 5 classes but 2 class names"),
        ({}, "?arch=timm:resnet18", "unknown option 'arch'"),
    ],
)
def test_graphs_that_cannot_be_used_are_named(
    load: Callable[..., Any], shape: dict[str, Any], options: str, prediction: str, tmp_path: Path
) -> None:
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    write_onnx(tmp_path / "net.onnx", **shape)
    with pytest.raises(UserError) as caught:
        load(f"onnx:net.onnx{options}", base=tmp_path)
    assert prediction in str(caught.value)


@pytest.mark.parametrize("load", [load_model, load_black_box])
@pytest.mark.parametrize("content", [b"", b"this is text\n", b"\x08\x08", b"half"])
def test_files_that_are_no_graphs_are_refused(load: Callable[..., Any], content: bytes, tmp_path: Path) -> None:
    whole = write_onnx(tmp_path / "whole.onnx").read_bytes()
    (tmp_path / "net.onnx").write_bytes(whole[: len(whole) // 2] if content == b"half" else content)
    with pytest.raises(UserError, match=r"net\.onnx"):
        load("onnx:net.onnx", base=tmp_path)


def test_an_open_input_size_is_given_by_the_option(tmp_path: Path) -> None:
    write_onnx(tmp_path / "net.onnx", side="s")
    model = load_model("onnx:net.onnx?size=20x16", base=tmp_path)
    judge = load_black_box("onnx:net.onnx?size=20x16", base=tmp_path)
    assert (model.card.preprocess.height, model.card.preprocess.width) == (20, 16)
    np.testing.assert_allclose(judge.predict(images()[:1]), model(to_pixels(images()[0])).numpy(), atol=1e-5)


def test_a_graph_without_gradients_can_still_judge(tmp_path: Path) -> None:
    write_onnx(tmp_path / "net.onnx", operator="Mish")
    graph = onnx.load(tmp_path / "net.onnx")
    graph.opset_import[0].version = 18
    onnx.save(graph, tmp_path / "net.onnx")
    with pytest.raises(UserError, match=r"has no gradients: onnx2torch cannot convert it .* can still judge"):
        load_model("onnx:net.onnx", base=tmp_path)
    assert load_black_box("onnx:net.onnx", base=tmp_path).predict(images()).shape == (4, CLASSES)


CARD = ModelCard("mine", "0", 4, Preprocess())


@pytest.mark.parametrize(
    ("answer", "scores"),
    [
        (2, [0, 0, 1, 0]),
        (np.int64(0), [1, 0, 0, 0]),
        (np.array(3, np.uint8), [0, 0, 0, 1]),
        (torch.tensor(1), [0, 1, 0, 0]),
        ([0.5, 2, -1, 0], [0.5, 2, -1, 0]),
        (torch.tensor([1.0, 2.0, 3.0, 4.0]), [1, 2, 3, 4]),
        (np.array([1, 2, 3, 4]), [1, 2, 3, 4]),
    ],
)
def test_any_function_can_judge_with_a_label_or_scores(answer: Any, scores: list[float]) -> None:
    prediction = CallableBlackBox(lambda _: answer, CARD).predict(images(2))
    assert prediction.dtype == np.float32
    assert prediction.tolist() == [scores, scores]
    assert CallableBlackBox(lambda _: answer, CARD).predict([]).shape == (0, 4)


@pytest.mark.parametrize(
    "answer",
    [4, -1, 1.0, True, None, "cat", [1, 2, 3], [[1, 2, 3, 4]], [1, 2, 3, float("nan")], [1, 2, 3, 1e39],
     [1, [2], 3, 4], [True] * 4, ["1"] * 4, [1j] * 4, torch.ones(4, requires_grad=True)],
)  # fmt: skip
def test_answers_that_are_no_scores_are_refused(answer: Any) -> None:
    with pytest.raises(BlackBoxError, match="model mine"):
        CallableBlackBox(lambda _: answer, CARD).predict(images(1))


class FixedBlackBox:
    """A black box of four classes that gives the same prediction for every image."""

    def __init__(self, prediction: Any, gallery: str = "") -> None:
        self.card = replace(CARD, gallery=gallery)
        self.prediction = prediction

    def predict(self, _images: Sequence[NDArray[np.uint8]]) -> Any:
        return self.prediction


@pytest.mark.parametrize(
    ("prediction", "scores"),
    [
        (np.array([2]), [0, 0, 1, 0]),
        (np.array([0], np.uint8), [1, 0, 0, 0]),
        (torch.tensor([3]), [0, 0, 0, 1]),
        (np.array([[0.5, 2, -1, 0]]), [0.5, 2, -1, 0]),
        (np.array([[1, 2, 3, 4]]), [1, 2, 3, 4]),
        (torch.tensor([[1.0, 2.0, 3.0, 4.0]]), [1, 2, 3, 4]),
    ],
)
def test_scores_and_class_indices_are_accepted(prediction: Any, scores: list[float]) -> None:
    answer = query(FixedBlackBox(prediction), images(1)[0])
    assert answer.dtype == np.float32
    assert answer.tolist() == scores


@pytest.mark.parametrize(
    "prediction",
    [np.full((1, 4), np.nan), np.array([[0, 1, np.inf, 0]]), np.zeros((1, 5)), np.zeros((1, 3)), np.zeros((1, 0)),
     np.zeros((2, 4)), np.zeros((0, 4)), np.zeros((1, 1, 4)), np.arange(4), np.arange(4.0), np.array([4]),
     np.array([-1]), np.array([1.0]), np.array([True]), np.array([[1]]), np.int64(2), np.array(["cat"]), 2, None, [],
     [2], [[1.0, 2.0, 3.0, 4.0]]],
)  # fmt: skip
def test_unusable_predictions_are_refused(prediction: Any) -> None:
    with pytest.raises(BlackBoxError, match=r"model mine .* are needed"):
        query(FixedBlackBox(prediction), images(1)[0])


def test_a_gallery_is_not_answered_for_by_class_indexes() -> None:
    with pytest.raises(BlackBoxError, match=r"answers .*2.*, where 4 finite scores are needed"):
        query(FixedBlackBox(np.array([2]), gallery="people"), images(1)[0])
    assert query(FixedBlackBox(np.eye(4)[2:3], gallery="people"), images(1)[0]).tolist() == [0, 0, 1, 0]


def test_a_function_gets_the_photo_and_cannot_change_it() -> None:
    def blacken(image: NDArray[np.uint8]) -> int:
        received.append(image.copy())
        image[:] = 0
        return 0

    received: list[NDArray[np.uint8]] = []
    given = images()
    CallableBlackBox(blacken, CARD).predict(given)
    for mine, other, again in zip(given, received, images(), strict=True):
        assert np.array_equal(mine, again)
        assert np.array_equal(other, again)


def make_callable() -> CallableBlackBox:
    """For `python:test_black_box:make_callable`."""
    return CallableBlackBox(lambda image: int(image[0, 0, 0]) % 4, CARD)


def make_classifier() -> Classifier:
    return small_cnn(seed=1)


class Strange:
    """Looks like a black box, but its card is none."""

    card = "mine"

    def predict(self, images: list[NDArray[np.uint8]]) -> None: ...


@pytest.mark.usefixtures("_this_module")
def test_a_factory_may_give_any_black_box() -> None:
    judge = load_black_box("python:test_black_box:make_callable", allow_python=True)
    assert judge.card == CARD
    assert judge.predict(images()).argmax(1).tolist() == [int(image[0, 0, 0]) % 4 for image in images()]
    network = load_black_box("python:test_black_box:make_classifier", allow_python=True)
    assert np.array_equal(network.predict(images()), ClassifierBlackBox(small_cnn(seed=1)).predict(images()))


@pytest.mark.usefixtures("_this_module")
@pytest.mark.parametrize(
    ("uri", "prediction"),
    [
        ("python:test_black_box:make_callable?task=pets", "remove the options"),
        ("python:test_black_box:Strange", "is not a ModelCard"),
        ("python:test_black_box:absent", "absent"),
        ("python:no_such_module:make", "No module named 'no_such_module'"),
        ("python:test_black_box", "write python:module:factory"),
        ("python:test_black_box:CARD", "is not a function"),
        ("python:test_black_box:Path", "must return"),
    ],
)
def test_factories_that_give_no_black_box_are_named(uri: str, prediction: str) -> None:
    with pytest.raises(UserError) as caught:
        load_black_box(uri, allow_python=True)
    assert prediction in str(caught.value)


def test_no_factory_runs_without_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "omm_never_judged.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="--allow-python"):
        load_black_box("python:omm_never_judged:make")


@pytest.fixture
def _this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test_black_box", sys.modules[__name__])


def nips(photos: list[NDArray[np.uint8]]) -> Tensor:
    """Whole photos at 224 x 224 by Pillow, as (n,3,224,224) in [0,1]."""
    small = [np.asarray(Image.fromarray(photo).resize((224, 224), Image.Resampling.BICUBIC)) for photo in photos]
    return torch.cat([to_pixels(image) for image in small])


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v1_075", "shufflenet_v2_x1_0"])
def test_real_onnx_surrogates_are_their_black_boxes(
    name: str,
    assets: Path,
    real_records: dict[str, Any],
    real_model: Callable[[str], Any],
    real_uri: Callable[[str], str],
    real_photos: tuple[list[NDArray[np.uint8]], list[int]],
) -> None:
    photos, labels = real_photos
    session = onnxruntime.InferenceSession(str(assets / real_records[name]["file"]), providers=["CPUExecutionProvider"])
    model, judge, crops = real_model(name), load_black_box(real_uri(name)), nips(photos)
    official = torch.from_numpy(session.run(["logits"], {"pixels": crops.numpy()})[0])
    with torch.inference_mode():
        torch.testing.assert_close(model.logits(crops), official, rtol=1e-4, atol=1e-3)
        ours = torch.cat([model(to_pixels(photo)) for photo in photos])
    np.testing.assert_allclose(judge.predict(photos), ours.numpy(), rtol=1e-4, atol=1e-3)
    assert judge.card == model.card
    assert judge.card.sha256 == real_records[name]["sha256"]
    assert (official.argmax(1) == torch.tensor(labels)).float().mean() >= 0.6


@pytest.mark.parametrize("name", ["mobilefacenet_casia", "edgeface_xxs", "fischer_raf", "mini_xception"])
def test_real_face_surrogates_are_their_black_boxes(
    name: str, real_model: Callable[[str], Any], real_uri: Callable[[str], str], real_records: dict[str, Any]
) -> None:
    rng = np.random.default_rng(1)
    faces = [np.kron(rng.integers(0, 256, (10, 10, 3)), np.ones((16, 16, 1))).astype(np.uint8) for _ in range(3)]
    model, judge = real_model(name), load_black_box(real_uri(name))
    with torch.inference_mode():
        ours = torch.cat([model(to_pixels(face)) for face in faces])
    np.testing.assert_allclose(judge.predict(faces), ours.numpy(), rtol=1e-4, atol=1e-4)
    assert judge.card == model.card
    assert judge.card.task == real_records[name]["task"]
    assert all(finding.passed for finding in check_model(copy.deepcopy(model))), check_model(model)
