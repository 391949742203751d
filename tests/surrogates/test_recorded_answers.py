"""Recorded answers as a judge."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from toys import linear, small_cnn

from onlymymodel.data.manifest import sha256_file
from onlymymodel.errors import UserError
from onlymymodel.surrogates import recorded_answers as recorded
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.black_box import ClassifierBlackBox
from onlymymodel.surrogates.cache_key import cache_key
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.load import load_black_box
from onlymymodel.surrogates.recorded_answers import NotRecorded, RecordedBlackBox, image_key

A, B = "a" * 64, "b" * 64


def images(count: int = 4, channels: int = 3) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (9 + i, 7, channels), dtype=np.uint8) for i in range(count)]


def write(path: Path, *lines: Any) -> str:
    """The URI of a file of answers; texts are taken as they are."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return f"recorded:{path}"


def test_the_key_is_what_the_format_says() -> None:
    image = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    assert image_key(image) == hashlib.sha256(b"1x2x3:\x01\x02\x03\x04\x05\x06").hexdigest()


def test_the_key_depends_on_pixels_and_shape_and_not_on_memory_layout() -> None:
    image = images(1)[0]
    assert image_key(image[:, ::-1].copy()) == image_key(image[:, ::-1]) != image_key(image)
    assert image_key(np.asfortranarray(image)) == image_key(image)
    assert len({image_key(np.zeros(shape, np.uint8)) for shape in ((2, 3, 1), (3, 2, 1), (1, 2, 3), (6, 1, 1))}) == 4


def test_recorded_answers_are_the_models_own(tmp_path: Path) -> None:
    model = ClassifierBlackBox(small_cnn(seed=1))
    predictions = model.predict(images()).argmax(1)
    lines = [{"image": image_key(i), "answer": int(a), "note": "x"} for i, a in zip(images(), predictions, strict=True)]
    uri = write(tmp_path / "answers.jsonl", *lines)
    judge = load_black_box(f"{uri}?classes=4&task=toy&parent=mine")
    assert isinstance(judge, RecordedBlackBox)
    scores = judge.predict(images())
    assert scores.dtype == np.float32
    assert np.array_equal(scores, np.eye(4, dtype=np.float32)[predictions])
    assert judge.predict([]).shape == (0, 4)
    assert (judge.card.uri, judge.card.task, judge.card.parent) == ("recorded:answers.jsonl", "toy", "mine")
    assert judge.card.sha256 == sha256_file(tmp_path / "answers.jsonl")


def test_an_image_that_is_not_recorded_is_named(tmp_path: Path) -> None:
    uri = write(tmp_path / "answers.jsonl", {"image": A, "answer": 1})
    with pytest.raises(NotRecorded) as caught:
        load_black_box(f"{uri}?classes=4").predict(images(1))
    assert image_key(images(1)[0]) in str(caught.value)
    assert "answers.jsonl" in str(caught.value)


def test_class_names_stand_for_their_index(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\nKätzchen\n3\ntwice\ntwice\n", encoding="utf-8")
    keys = [image_key(image) for image in images(3)]
    lines = [{"image": key, "answer": answer} for key, answer in zip(keys, ("Kätzchen", "3", 0), strict=True)]
    judge = load_black_box(write(tmp_path / "a.jsonl", *lines) + f"?labels={tmp_path / 'names.txt'}")
    assert judge.predict(images(3)).argmax(1).tolist() == [1, 2, 0]
    assert judge.card.labels[1] == "Kätzchen"
    for wrong, message in (
        ("dog", "unknown class name 'dog'"),
        ("twice", "unknown class name"),
        (5, "from 0 to 4 or a"),
    ):
        uri = write(tmp_path / "b.jsonl", {"image": A, "answer": wrong})
        with pytest.raises(UserError, match=message):
            load_black_box(f"{uri}?labels={tmp_path / 'names.txt'}")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "line 1 is not a JSON object"),
        (["[1]"], "line 1 is not a JSON object"),
        ([""], "line 1 is not a JSON object"),
        (["[" * 60_000], "line 1 is not a JSON object"),
        ([{"image": A, "answer": 1}, "{'image'"], "line 2 is not a JSON object"),
        ([{"img": A, "answer": 1}], "line 1: image must be a sha256"),
        ([{"image": A.upper(), "answer": 1}], "image must be a sha256"),
        ([{"image": A + "\n", "answer": 1}], "image must be a sha256"),
        ([{"image": 5, "answer": 1}], "image must be a sha256"),
        ([{"image": A}], "answer must be a class index from 0 to 3 or, with ?labels=FILE, a class name"),
        ([{"image": A, "answer": "cat"}], "answer must be a class index"),
        ([{"image": A, "answer": 4}], "answer must be a class index"),
        ([{"image": A, "answer": -1}], "answer must be a class index"),
        ([{"image": A, "answer": 1.0}], "answer must be a class index"),
        ([{"image": A, "answer": True}], "answer must be a class index"),
        ([f'{{"image": "{A}", "answer": 1{"0" * 5000}}}'], "line 1"),
        ([{"image": A, "answer": 1, "model": 7}], "model must be text"),
        ([{"image": A, "answer": 1, "model": "m", "view": 7}], "line 1: view must be text"),
        (
            [{"image": A, "answer": 1}, {"image": B, "answer": 1}, {"image": A, "answer": 2}],
            "line 3: another answer (2)",
        ),
        ([{"image": A, "answer": 1, "note": "x" * 70_000}], "line 1 is longer than 64 KiB"),
        ([], "the file has no answers"),
        ([{"asked": A, "model": "m"}], "the file has no answers"),
    ],
)
def test_files_that_cannot_be_used_are_named(lines: list[Any], message: str, tmp_path: Path) -> None:
    uri = write(tmp_path / "answers.jsonl", *lines)
    with pytest.raises(UserError) as caught:
        load_black_box(f"{uri}?classes=4")
    assert message in str(caught.value)
    assert "answers.jsonl" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_number_of_classes_must_be_known_and_agree(tmp_path: Path) -> None:
    uri = write(tmp_path / "answers.jsonl", {"image": A, "answer": 1})
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    with pytest.raises(UserError, match="its number of classes is unknown"):
        load_black_box(uri)
    with pytest.raises(UserError, match="has 3 classes but 2 class names"):
        load_black_box(f"{uri}?classes=3&labels={tmp_path / 'names.txt'}")
    with pytest.raises(UserError, match="there is no file"):
        load_black_box("recorded:absent.jsonl?classes=3")


@pytest.mark.slow
def test_an_incomplete_last_line_is_ignored_and_a_complete_one_without_newline_is_read(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    uri = write(path, {"image": image_key(images(2)[0]), "answer": 1}) + "?classes=4"
    line = json.dumps({"image": image_key(images(2)[1]), "answer": 2}).encode()
    whole = path.read_bytes()
    path.write_bytes(whole + line)
    assert load_black_box(uri).predict(images(2)).argmax(1).tolist() == [1, 2]
    for cut in range(1, len(line)):
        path.write_bytes(whole + line[:cut])
        judge = load_black_box(uri)
        assert judge.predict(images(1)).argmax(1).tolist() == [1]
        with pytest.raises(NotRecorded):
            judge.predict(images(2))


def test_too_large_a_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = write(tmp_path / "answers.jsonl", {"image": A, "answer": 1}) + "?classes=4"
    monkeypatch.setattr(recorded, "MAX_FILE", 10)
    with pytest.raises(UserError, match="is larger than"):
        load_black_box(uri)


def test_one_of_several_models_is_selected(tmp_path: Path) -> None:
    key = image_key(images(1)[0])
    uri = write(
        tmp_path / "a.jsonl",
        {"asked": key, "model": "m1"},
        {"image": key, "answer": 1, "model": "m1"},
        {"image": key, "answer": 2, "model": "m2"},
    )
    for model, answer in (("m1", 1), ("m2", 2)):
        judge = load_black_box(f"{uri}?classes=4&model={model}")
        assert judge.predict(images(1)).argmax() == answer
        assert judge.card.sha256 == model
    with pytest.raises(UserError, match=r"several models: add &model= and m1 or m2"):
        load_black_box(f"{uri}?classes=4")
    with pytest.raises(UserError, match="no answers of model m3, only of m1 or m2"):
        load_black_box(f"{uri}?classes=4&model=m3")
    lone = write(tmp_path / "b.jsonl", {"image": key, "answer": 1, "model": "m1"})
    assert load_black_box(f"{lone}?classes=4").card.sha256 == "m1"


@pytest.mark.slow
def test_one_of_several_views_is_selected(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    cache, squash = AnswerCache(tmp_path / "answers.sqlite3"), linear(seed=1, classes=4)
    crop = Classifier(squash.net, replace(squash.card, preprocess=replace(squash.card.preprocess, fit="crop")))
    boxes = [ClassifierBlackBox(squash), ClassifierBlackBox(crop)]
    predictions = [CachedBlackBox(box, cache).predict(images()) for box in boxes]
    assert not np.array_equal(predictions[0], predictions[1]), "for one image there are two answers"
    cache.export(path)
    sha256, (one, other) = crop.card.sha256, map(cache_key, boxes)
    for view, answers in zip((one, other), predictions, strict=True):
        for options in (f"classes=4&view={view}", f"model={sha256}&view={view}&classes=4"):
            judge = load_black_box(f"recorded:{path}?{options}")
            assert np.array_equal(judge.predict(images()), answers)
            assert judge.card.sha256 == sha256
    names = " or ".join(sorted((one, other)))
    with pytest.raises(UserError, match=f"several views: add &view= and {names}"):
        load_black_box(f"recorded:{path}?classes=4&model={sha256}")
    with pytest.raises(UserError, match=f"no answers of view v3, only of {names}"):
        load_black_box(f"recorded:{path}?classes=4&view=v3")


def test_answers_of_two_views_are_not_mixed_where_they_agree(tmp_path: Path) -> None:
    keys = [image_key(image) for image in images(3)]
    lines = [{"image": key, "answer": 1, "model": "m", "view": view} for key, view in zip(keys, "vvw", strict=True)]
    uri = write(tmp_path / "a.jsonl", *lines) + "?classes=4"
    assert load_black_box(f"{uri}&view=v").predict(images(2)).argmax(1).tolist() == [1, 1]
    with pytest.raises(NotRecorded):
        load_black_box(f"{uri}&view=v").predict(images(3))
    with pytest.raises(UserError, match="several views: add &view= and v or w"):
        load_black_box(uri)


def test_lines_without_an_origin_can_be_selected(tmp_path: Path) -> None:
    key = image_key(images(1)[0])
    uri = write(
        tmp_path / "a.jsonl",
        {"image": key, "answer": 1},
        {"image": key, "answer": 2, "model": "m"},
        {"image": key, "answer": 3, "model": "m", "view": "v"},
    )
    for options, answer in (("model=unnamed", 1), ("model=m&view=unnamed", 2), ("model=m&view=v", 3)):
        assert load_black_box(f"{uri}?classes=4&{options}").predict(images(1)).argmax() == answer
    with pytest.raises(UserError, match="several models: add &model= and m or unnamed"):
        load_black_box(f"{uri}?classes=4")
    with pytest.raises(UserError, match="several views: add &view= and unnamed or v"):
        load_black_box(f"{uri}?classes=4&model=m")
