"""The cache key: answers of another network, of other code or of an unidentified model are not reused."""

import hashlib
import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from counting import Counting, images
from detectors import write_yolo
from numpy.typing import NDArray
from oip_server import serving
from tiny_onnx import write_onnx
from tiny_timm import save
from toys import PLAIN, small_cnn

from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.answers import answer_of
from onlymymodel.surrogates.black_box import BlackBox, CallableBlackBox, QueryBudgetExhausted, query
from onlymymodel.surrogates.cache_key import cache_key
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.deployments import Reading
from onlymymodel.surrogates.load import load_black_box
from onlymymodel.surrogates.readings import deployed
from onlymymodel.surrogates.recorded_answers import image_key

ARCHITECTURES = ("mobilenetv3_small_075", "tf_mobilenetv3_small_075")  # weights fit both; they pad in different ways


def earliest_view(box: BlackBox) -> str:
    """The key as it always was for models that need nothing else in it."""
    text = json.dumps(asdict(box.card.preprocess), sort_keys=True) + box.card.gallery
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def answers(box: BlackBox, shown: list[NDArray[np.uint8]]) -> list[int]:
    return [int(query(box, image).argmax()) for image in shown]


def queries_for(cache: AnswerCache, box: BlackBox, shown: list[NDArray[np.uint8]]) -> int:
    """Check the answers to the images and return how many queries they took."""
    before = cache.query_count(box.card)
    assert [CachedBlackBox(box, cache).answer(image) for image in shown] == answers(box, shown)
    return cache.query_count(box.card) - before


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[BlackBox]:
    """One file of weights, read as two networks."""
    torch.manual_seed(0)
    net = timm.create_model(ARCHITECTURES[0], num_classes=4)
    path = save(net.state_dict(), tmp_path_factory.mktemp("weights") / "w.safetensors")
    alike = "classes=4&size=96&interpolation=bicubic&mean=0.5,0.5,0.5&std=0.5,0.5,0.5"
    return [load_black_box(f"checkpoint:{path}?arch=timm:{name}&{alike}") for name in ARCHITECTURES]


@pytest.mark.slow
def test_one_file_of_weights_answers_as_the_network_that_it_is_read_as(
    checkpoints: list[BlackBox], tmp_path: Path
) -> None:
    one, other = checkpoints
    assert (one.card.sha256, one.card.preprocess) == (other.card.sha256, other.card.preprocess)
    assert answers(one, images(8)) != answers(other, images(8))
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    assert [queries_for(cache, box, images(8)) for box in (one, other, one, other)] == [8, 8, 0, 0]


@pytest.mark.slow
def test_earlier_keys_of_models_that_need_more_are_not_reused(checkpoints: list[BlackBox], tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    for box in (*checkpoints, Counting()):
        wrong = (answers(box, images(1))[0] + 1) % 4
        cache.add_answer(box.card, earliest_view(box), image_key(images(1)[0]), wrong)
        assert queries_for(cache, box, images(1)) == 1


def test_one_file_of_weights_answers_as_what_its_outputs_are_taken_for(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\ne\n")
    file, detector = write_onnx(tmp_path / "net.onnx"), write_yolo(tmp_path / "yolo.onnx", "yolov8")
    readings = ("", f"?task=attributes&labels={names}", "?task=embedding")
    found = [f"?task=detection&format=yolov8&threshold={threshold}" for threshold in ("0.01", "0.99")]
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    for path, options in ((file, readings), (detector, found)):
        boxes = [load_black_box(f"onnx:{path}{option}") for option in options]
        assert len({(box.card.sha256, json.dumps(asdict(box.card.preprocess))) for box in boxes}) == 1
        given = [[CachedBlackBox(box, cache).answer(image) for image in images(8)] for box in boxes]
        assert given == [[answer_of(box.card, query(box, image)) for image in images(8)] for box in boxes]
        assert given[0] != given[1]


def test_earlier_keys_of_models_that_need_no_more_are_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMM_HTTP_TOKEN", raising=False)
    with serving(small_cnn(seed=1)) as server:
        uris = ["zoo:identity-plain", f"onnx:{write_onnx(tmp_path / 'net.onnx')}", f"{server.url}?fit=squash&budget=1"]
        for box in map(load_black_box, uris):
            cache = AnswerCache(tmp_path / "answers.sqlite3")
            cache.add_answer(box.card, earliest_view(box), image_key(images(1)[0]), 1)
            assert CachedBlackBox(box, cache).answer(images(1)[0]) == 1
            assert cache.query_count(box.card) == 0
    assert server.questions == []
    assert cache_key(load_black_box("zoo:identity-plain")) == "5f22f5dfdf000057"


NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.last = nn.Linear(3 * 224 * 224, 4)

    def forward(self, pixels):
        return self.last(pixels.flatten(1){change})
"""
FACTORY = "from omm_net import Net as make\n"
ANSWERER = """
from omm_card import CARD
from onlymymodel.surrogates.black_box import CallableBlackBox

def make():
    return CallableBlackBox(lambda image: int(image[0, 0, 0] {change}) % 4, CARD)
"""
OWN_CLASS = """
import numpy as np
from omm_card import CARD

class make:
    card = CARD

    def predict(self, images):
        return np.array([int(image[0, 0, 0] {change}) % 4 for image in images])
"""
CARD = """
from onlymymodel.surrogates.classifier import ModelCard, Preprocess
CARD = ModelCard("mine", "a hash", 4, Preprocess())
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of the modules of a `python:omm_own:make`."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (folder / "omm_card.py").write_text(CARD)
    yield folder
    forget()


def forget() -> None:
    for name in ("omm_own", "omm_net", "omm_card"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def own(folder: Path, written: dict[str, str], change: str) -> BlackBox:
    """The model as a new process would load it."""
    forget()
    for name, text in written.items():
        (folder / f"{name}.py").write_text(text.replace("{change}", change))
    return load_black_box("python:omm_own:make", allow_python=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("written", "change"),
    [
        ({"omm_own": NETWORK.replace("Net(", "make(")}, ".flip(1)"),
        ({"omm_own": FACTORY, "omm_net": NETWORK}, ".flip(1)"),
        ({"omm_own": ANSWERER}, "// 4"),
        ({"omm_own": OWN_CLASS}, "// 4"),
    ],
)
def test_a_model_whose_code_was_changed_is_queried_again(
    written: dict[str, str], change: str, module: Path, tmp_path: Path
) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    predictions = []
    for code, queries in ((change, 8), ("", 8), (change, 0), ("", 0)):
        box = own(module, written, code)
        predictions.append(answers(box, images(8)))
        assert queries_for(cache, box, images(8)) == queries
    assert predictions[0] == predictions[2] != predictions[1] == predictions[3]
    assert cache.query_count(box.card) == 16, "all are one model, whose budget is one"


def test_changed_code_is_queried_again_as_it_is_deployed(module: Path, tmp_path: Path) -> None:
    cache, written = AnswerCache(tmp_path / "answers.sqlite3"), {"omm_own": FACTORY, "omm_net": NETWORK}
    for code, queries in ((".flip(1)", 8), ("", 8), (".flip(1)", 0)):
        box = deployed(own(module, written, code), Reading(mirror=True))
        assert queries_for(cache, box, images(8)) == queries


WITHOUT_WEIGHTS = """
from torch import nn

class Brightest(nn.Module):
    def forward(self, pixels):
        return pixels.flatten(1)[:, :4]

class Darkest(nn.Module):
    def forward(self, pixels):
        return -pixels.flatten(1)[:, :4]
"""


def test_networks_without_weights_in_one_file_do_not_answer_for_one_another(module: Path, tmp_path: Path) -> None:
    (module / "omm_net.py").write_text(WITHOUT_WEIGHTS)
    importlib.invalidate_caches()
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    boxes = [load_black_box(f"python:omm_net:{name}", allow_python=True) for name in ("Brightest", "Darkest")]
    first, second = ([CachedBlackBox(box, cache).answer(image) for image in images(8)] for box in boxes)
    assert boxes[0].card.sha256 == boxes[1].card.sha256
    assert first == answers(boxes[0], images(8))
    assert second == answers(boxes[1], images(8)) != first


def test_models_without_a_hash_do_not_answer_for_one_another(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    card = ModelCard("mine", "", 4, PLAIN)
    boxes = [CallableBlackBox(lambda _, answer=answer: answer, card) for answer in (1, 2)]  # type: ignore[misc]
    for _ in range(2):
        assert [queries_for(cache, box, images(3)) for box in boxes] == [3, 3]
    cache.export(tmp_path / "answers.jsonl")
    assert '"answer"' not in (tmp_path / "answers.jsonl").read_text()
    with pytest.raises(QueryBudgetExhausted):
        CachedBlackBox(boxes[0], AnswerCache(cache.path), budget=12).answer(images(1)[0])


def test_a_cache_in_front_of_a_cache_has_the_same_keys(tmp_path: Path) -> None:
    card = ModelCard("mine", "", 4, PLAIN)
    for box in (
        Counting(),
        CallableBlackBox(lambda _: 1, card),
        CallableBlackBox(lambda _: 1, replace(card, sha256="x")),
    ):
        inner = CachedBlackBox(box, AnswerCache(tmp_path / "inner.sqlite3"))
        outer = CachedBlackBox(inner, AnswerCache(tmp_path / "outer.sqlite3"))
        assert outer.answer(images(1)[0]) == answers(box, images(1))[0]
        assert (outer.view, outer.is_cached) == (cache_key(box), bool(box.card.sha256))
    for name in ("inner", "outer"):
        AnswerCache(tmp_path / f"{name}.sqlite3").export(tmp_path / f"{name}.jsonl")
    assert (tmp_path / "inner.jsonl").read_bytes() == (tmp_path / "outer.jsonl").read_bytes()


def test_recorded_answers_are_looked_up_in_their_own_file_alone(tmp_path: Path) -> None:
    live, path = Counting(), tmp_path / "said.jsonl"
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    for answer in (1, 2):  # the second answer replaces the first
        path.write_text(
            json.dumps({"image": image_key(images(1)[0]), "answer": answer, "model": live.card.sha256}) + "\n"
        )
        recorded = load_black_box(f"recorded:{path}?classes=4")
        for box in (CachedBlackBox(recorded, cache), CachedBlackBox(CachedBlackBox(recorded, cache), cache)):
            assert box.answer(images(1)[0]) == answer
    assert cache.query_count(live.card) == 0, "nothing was sent to the model itself"
    assert not cache.path.exists()
