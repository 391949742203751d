"""Models of attributes: a binary logit for each, answers as codes, whatever the scheme of the model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from attribute_models import NAMES, attribute_model
from oip_server import images, serving
from tiny_onnx import CLASSES, write_onnx
from toys import classifier, photos

from onlymymodel.errors import UserError
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.answers import (
    answer_loss,
    answer_of,
    answers,
    kept_margins,
    margin,
    reading_margins,
    scores_of,
)
from onlymymodel.surrogates.black_box import BlackBox, CallableBlackBox, ClassifierBlackBox, query
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.checks import check_model
from onlymymodel.surrogates.load import load_black_box, load_model
from onlymymodel.surrogates.recorded_answers import image_key
from onlymymodel.surrogates.wrap import wrap_network

CARD = attribute_model(0).card
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-3.0, -0.25, -1.0], [1.0, 1.0, -4.0]])
CODES = torch.tensor([0b101, 0b000, 0b011])
ONNX_NAMES = tuple("abcde")


def test_answers_are_codes_of_the_positive_logits() -> None:
    assert answers(CARD, LOGITS).tolist() == CODES.tolist()
    for row, code in zip(LOGITS.numpy(), CODES.tolist(), strict=True):
        assert answer_of(CARD, row) == code
        assert answer_of(CARD, scores_of(CARD, code)) == code
    assert CARD.kind == "attributes"
    assert CARD.answers == 8
    assert [CARD.name_of(code) for code in (0b101, 0)] == ["Smiling, Young", "no attribute"]


def test_every_attribute_is_kept_where_the_least_signed_logit_is_positive() -> None:
    assert kept_margins(CARD, LOGITS, CODES).tolist() == [0.5, 0.25, 1.0]
    assert kept_margins(CARD, LOGITS, torch.tensor([0b100, 0b010, 0b011])).tolist() == [-2.0, -0.25, 1.0]


def test_a_photo_is_read_while_more_than_half_of_the_attributes_are_right() -> None:
    signed = reading_margins(CARD, LOGITS, torch.tensor([0b100, 0b011, 0b100]))
    assert signed.tolist() == [0.5, -0.25, -1.0]  # two, one and none of three are right
    four = attribute_model(0, tuple("abcd")).card
    even = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    assert float(reading_margins(four, even, torch.tensor([0b1111]))) == -1.0  # half is not more than half


def test_the_loss_is_the_sum_of_binary_cross_entropies() -> None:
    targets = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 0]])
    expected = F.binary_cross_entropy_with_logits(LOGITS, targets, reduction="none").sum(1)
    torch.testing.assert_close(answer_loss(CARD, LOGITS, CODES), expected)


def test_a_classifier_has_the_margin_and_loss_of_its_classes() -> None:
    card, labels = classifier(torch.nn.Identity(), 3, "toy").card, torch.tensor([0, 1, 2])
    assert torch.equal(kept_margins(card, LOGITS, labels), margin(LOGITS, labels))
    assert torch.equal(reading_margins(card, LOGITS, labels), margin(LOGITS, labels))
    torch.testing.assert_close(answer_loss(card, LOGITS, labels), F.cross_entropy(LOGITS, labels, reduction="none"))
    assert torch.equal(answers(card, LOGITS), LOGITS.argmax(1))


@pytest.fixture
def onnx(tmp_path: Path) -> str:
    (tmp_path / "names.txt").write_text("\n".join(ONNX_NAMES))
    return f"onnx:{write_onnx(tmp_path / 'a.onnx')}?task=attributes&labels={tmp_path / 'names.txt'}"


@pytest.mark.parametrize("keep", ["", "&keep=d,b"])
def test_onnx_gives_the_same_logits_with_and_without_gradients(onnx: str, keep: str) -> None:
    model, judge = load_model(onnx + keep), load_black_box(onnx + keep)
    everything = load_model(onnx.replace("task=attributes", "task=classification"))
    image = photos(1, size=12)[0].permute(1, 2, 0).numpy()
    columns = [1, 3] if keep else list(range(CLASSES))  # in the model's order
    for card in (model.card, judge.card):
        assert card.kind == "attributes"
        assert card.labels == tuple(ONNX_NAMES[column] for column in columns)
        assert card.keep == (card.labels if keep else ())
        assert ("keep" in card.to_json()) == bool(keep)
    logits = model(torch.from_numpy(image).permute(2, 0, 1)[None])
    torch.testing.assert_close(logits, everything(torch.from_numpy(image).permute(2, 0, 1)[None])[:, columns])
    np.testing.assert_allclose(query(judge, image), logits[0].numpy(), atol=1e-5)


def test_one_attribute_is_enough(onnx: str) -> None:
    assert load_model(f"{onnx}&keep=c").card.classes == 1
    assert load_black_box(f"{onnx}&keep=c").card.answers == 2


def test_options_that_do_not_fit(onnx: str, tmp_path: Path) -> None:
    for load in (load_model, load_black_box):
        with pytest.raises(UserError, match="keep names 'f'"):
            load(f"{onnx}&keep=a,f")
        with pytest.raises(UserError, match="keep= is for detectors, and for models with task=attributes"):
            load(f"onnx:{tmp_path / 'a.onnx'}?keep=a")
        with pytest.raises(UserError, match="keep= needs the names of labels=FILE"):
            load(f"onnx:{tmp_path / 'a.onnx'}?task=attributes&keep=a")
        with pytest.raises(UserError, match="a threshold is for an embedder"):
            load(f"{onnx}&threshold=0.3")
        with pytest.raises(UserError, match="a gallery is for an embedder, not for"):
            load(f"{onnx}&gallery={tmp_path}")


@pytest.mark.parametrize("count", [CLASSES - 1, CLASSES + 1])
def test_names_that_are_not_one_for_each_output_are_refused(onnx: str, tmp_path: Path, count: int) -> None:
    names = [f"name {number}" for number in range(count)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    for load in (load_model, load_black_box):
        for keep in ("", f"&keep={names[0]}", f"&keep={names[-1]}"):
            with pytest.raises(UserError, match=f"has {CLASSES} classes but {count} class names"):
                load(onnx + keep)


def test_probabilities_are_no_logits() -> None:
    sound = attribute_model(5, tuple("abcdefgh"))
    assert all(result.passed for result in check_model(sound))
    sick = attribute_model(5, tuple("abcdefgh"))
    sick.net.register_forward_hook(lambda _module, _args, output: output.sigmoid())
    assert [result.check for result in check_model(sick) if not result.passed] == ["logits"]


def test_a_server_gives_the_logits(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    model = attribute_model(3)
    with serving(model) as server:
        judge = load_black_box(f"{server.url}?task=attributes&labels={tmp_path / 'names.txt'}&size=16&fit=squash")
        for image in images():
            np.testing.assert_allclose(query(judge, image), query(ClassifierBlackBox(model), image), atol=1e-4)
        with pytest.raises(UserError, match="a server gives all of its attributes: leave keep= out"):
            load_black_box(f"{server.url}?task=attributes&keep=Male")


def test_recorded_answers_are_lists_of_names_or_codes(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    image, other = images(2)
    lines: list[dict[str, object]] = [
        {"image": image_key(image), "answer": ["Young", "Smiling"]},
        {"image": image_key(other), "answer": 0b010},
    ]
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    judge = load_black_box(f"recorded:{file}?task=attributes&labels={tmp_path / 'names.txt'}")
    assert [answer_of(judge.card, query(judge, each)) for each in (image, other)] == [0b101, 0b010]
    file.write_text(json.dumps({"image": image_key(image), "answer": ["Bald"]}) + "\n")
    with pytest.raises(UserError, match="line 1: unknown attribute 'Bald'"):
        load_black_box(f"recorded:{file}?task=attributes&labels={tmp_path / 'names.txt'}")
    file.write_text(json.dumps({"image": image_key(image), "answer": 8}) + "\n")
    with pytest.raises(UserError, match="a code below 8"):
        load_black_box(f"recorded:{file}?task=attributes&labels={tmp_path / 'names.txt'}")


def test_answers_are_cached_and_exported(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    asked = []

    def ask(image: np.ndarray) -> int:
        asked.append(image_key(image))
        return int(image.sum()) % 8

    box: BlackBox = CallableBlackBox(ask, CARD)
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    expected = [int(image.sum()) % 8 for image in images()]
    for _ in range(2):
        cached = CachedBlackBox(box, cache)
        assert [answer_of(CARD, query(cached, image)) for image in images()] == expected
    assert len(asked) == len(images())
    cache.export(tmp_path / "answers.jsonl")
    options = f"task=attributes&labels={tmp_path / 'names.txt'}"
    recorded = load_black_box(f"recorded:{tmp_path / 'answers.jsonl'}?{options}")
    assert [answer_of(CARD, query(recorded, image)) for image in images()] == expected


def test_a_network_of_a_program_may_have_attributes() -> None:
    net = attribute_model(3).net
    model = wrap_network(net, mean=(0, 0, 0), std=(1, 1, 1), size=16, fit="squash", labels=NAMES, task="attributes")
    assert (model.card.kind, model.card.labels) == ("attributes", NAMES)
    pixels = photos(2)
    torch.testing.assert_close(model(pixels), attribute_model(3)(pixels))
