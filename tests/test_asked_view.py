"""What a book must tell apart: answers of another network, other code or nobody in particular are not believed."""

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
from numpy.typing import NDArray
from oip_server import serving
from test_answer_book import Counting, images
from tiny_onnx import write_onnx
from tiny_timm import save
from toys import PLAIN, small_cnn

from onlymymodel.surrogates.answer_book import AnswerBook, AskedOnce
from onlymymodel.surrogates.asked_view import view_of
from onlymymodel.surrogates.black_box import BlackBox, BudgetSpent, CallableBlackBox, ask, load_black_box
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.recorded import image_key

ARCHITECTURES = ("mobilenetv3_small_075", "tf_mobilenetv3_small_075")  # weights fit both; they pad in different ways


def first_view(box: BlackBox) -> str:
    """The view as books have always had it for what needs no more."""
    text = json.dumps(asdict(box.card.preprocess), sort_keys=True) + box.card.gallery
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def answers(box: BlackBox, shown: list[NDArray[np.uint8]]) -> list[int]:
    return [int(ask(box, image).argmax()) for image in shown]


def asked_in(book: AnswerBook, box: BlackBox, shown: list[NDArray[np.uint8]]) -> int:
    """How many of the images a model was asked about, each answered by itself."""
    before = book.sent(box.card)
    assert [AskedOnce(box, book).answer(image) for image in shown] == answers(box, shown)
    return book.sent(box.card) - before


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[BlackBox]:
    """One file of weights, read as two networks."""
    torch.manual_seed(0)
    net = timm.create_model(ARCHITECTURES[0], num_classes=4)
    path = save(net.state_dict(), tmp_path_factory.mktemp("weights") / "w.safetensors")
    alike = "classes=4&size=96&interpolation=bicubic&mean=0.5,0.5,0.5&std=0.5,0.5,0.5"
    return [load_black_box(f"checkpoint:{path}?arch=timm:{name}&{alike}") for name in ARCHITECTURES]


def test_one_file_of_weights_answers_as_the_network_that_it_is_read_as(
    checkpoints: list[BlackBox], tmp_path: Path
) -> None:
    one, other = checkpoints
    assert (one.card.sha256, one.card.preprocess) == (other.card.sha256, other.card.preprocess)
    assert answers(one, images(8)) != answers(other, images(8))
    book = AnswerBook(tmp_path / "book.jsonl")
    assert [asked_in(book, box, images(8)) for box in (one, other, one, other)] == [8, 8, 0, 0]


def test_an_old_books_answers_of_any_network_are_not_believed(checkpoints: list[BlackBox], tmp_path: Path) -> None:
    book = AnswerBook(tmp_path / "book.jsonl")
    for box in (*checkpoints, Counting()):
        wrong = (answers(box, images(1))[0] + 1) % 4
        book.add_answer(box.card, first_view(box), image_key(images(1)[0]), wrong)
        assert asked_in(book, box, images(1)) == 1


def test_an_old_book_goes_on_where_its_answers_could_be_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMM_HTTP_TOKEN", raising=False)
    with serving(small_cnn(seed=1)) as server:
        uris = ["zoo:identity-plain", f"onnx:{write_onnx(tmp_path / 'net.onnx')}", f"{server.url}?fit=squash&budget=1"]
        for box in map(load_black_box, uris):
            book = AnswerBook(tmp_path / "book.jsonl")
            book.add_answer(box.card, first_view(box), image_key(images(1)[0]), 1)
            assert AskedOnce(box, book).answer(images(1)[0]) == 1
            assert book.sent(box.card) == 0
    assert server.questions == []
    assert view_of(load_black_box("zoo:identity-plain")) == "5f22f5dfdf000057"


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


@pytest.mark.parametrize(
    ("written", "change"),
    [
        ({"omm_own": NETWORK.replace("Net(", "make(")}, ".flip(1)"),
        ({"omm_own": FACTORY, "omm_net": NETWORK}, ".flip(1)"),
        ({"omm_own": ANSWERER}, "// 4"),
        ({"omm_own": OWN_CLASS}, "// 4"),
    ],
)
def test_a_model_whose_code_was_changed_is_asked_again(
    written: dict[str, str], change: str, module: Path, tmp_path: Path
) -> None:
    book = AnswerBook(tmp_path / "book.jsonl")
    said = []
    for now, asked in ((change, 8), ("", 8), (change, 0), ("", 0)):
        box = own(module, written, now)
        said.append(answers(box, images(8)))
        assert asked_in(book, box, images(8)) == asked
    assert said[0] == said[2] != said[1] == said[3]
    assert book.sent(box.card) == 16, "all are one model, whose budget is one"


def test_models_without_a_hash_do_not_answer_for_one_another(tmp_path: Path) -> None:
    book = AnswerBook(tmp_path / "book.jsonl")
    card = ModelCard("mine", "", 4, PLAIN)
    boxes = [CallableBlackBox(lambda _, said=said: said, card) for said in (1, 2)]  # type: ignore[misc]
    for _ in range(2):
        assert [asked_in(book, box, images(3)) for box in boxes] == [3, 3]
    assert '"answer"' not in book.path.read_text()
    with pytest.raises(BudgetSpent):
        AskedOnce(boxes[0], AnswerBook(book.path), budget=12).answer(images(1)[0])


def test_a_book_before_a_book_tells_apart_the_same(tmp_path: Path) -> None:
    card = ModelCard("mine", "", 4, PLAIN)
    for box in (
        Counting(),
        CallableBlackBox(lambda _: 1, card),
        CallableBlackBox(lambda _: 1, replace(card, sha256="x")),
    ):
        inner = AskedOnce(box, AnswerBook(tmp_path / "inner.jsonl"))
        outer = AskedOnce(inner, AnswerBook(tmp_path / "outer.jsonl"))
        assert outer.answer(images(1)[0]) == answers(box, images(1))[0]
        assert (outer.view, outer.kept) == (view_of(box), bool(box.card.sha256))
    assert (tmp_path / "inner.jsonl").read_bytes() == (tmp_path / "outer.jsonl").read_bytes()


def test_recorded_answers_are_looked_up_in_their_own_file_alone(tmp_path: Path) -> None:
    live, path = Counting(), tmp_path / "said.jsonl"
    book = AnswerBook(tmp_path / "book.jsonl")
    for answer in (1, 2):  # the file is mended
        path.write_text(
            json.dumps({"image": image_key(images(1)[0]), "answer": answer, "model": live.card.sha256}) + "\n"
        )
        said = load_black_box(f"recorded:{path}?classes=4")
        for replayed in (AskedOnce(said, book), AskedOnce(AskedOnce(said, book), book)):
            assert replayed.answer(images(1)[0]) == answer
    assert book.sent(live.card) == 0, "nothing was sent to the model itself"
    assert not book.path.exists()
