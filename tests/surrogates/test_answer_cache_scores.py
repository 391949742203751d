"""The answer cache keeps the scores of models with a gallery."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from counting import Counting, images

from onlymymodel.errors import UserError
from onlymymodel.surrogates import answer_lines
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.cache_key import cache_key
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.load import load_black_box
from onlymymodel.surrogates.recorded_answers import MAX_LINE, image_key


def recognizer() -> Counting:
    box = Counting()
    box.card = replace(box.card, gallery="people")
    return box


def cached(box: Counting, path: Path) -> CachedBlackBox:
    return CachedBlackBox(box, AnswerCache(path))


def test_scores_of_a_gallery_are_kept_bit_for_bit(tmp_path: Path) -> None:
    box, path = recognizer(), tmp_path / "answers.sqlite3"
    expected = box.model.predict(images(3))
    first = cached(box, path)
    assert first.answer(images(1)[0]) == expected[0].argmax()
    assert np.array_equal(first.predict(images(3)), expected)
    assert np.array_equal(cached(box, path).predict(images(3)), expected)
    assert len(box.queried) == 3, "an answer keeps the scores too"
    export = tmp_path / "answers.jsonl"
    first.cache.export(export)
    recorded = load_black_box(f"recorded:{export}?classes=4")
    assert np.array_equal(recorded.predict(images(3)).argmax(1), expected.argmax(1))
    imported = CachedBlackBox(box, AnswerCache(tmp_path / "new.sqlite3", export))
    assert np.array_equal(imported.predict(images(3)), expected)
    assert len(box.queried) == 3, "an export keeps the scores too"


def test_an_answer_without_scores_is_queried_for_its_scores_only(tmp_path: Path) -> None:
    box, path = recognizer(), tmp_path / "answers.sqlite3"
    (answer,) = box.model.predict(images(1)).argmax(1)
    AnswerCache(path).add_answer(box.card, cache_key(box), image_key(images(1)[0]), int(answer))
    again = cached(box, path)
    assert again.answer(images(1)[0]) == answer
    assert box.queried == []
    for _ in range(2):
        assert np.array_equal(again.predict(images(1)), box.model.predict(images(1)))
    assert len(box.queried) == 1


def test_an_export_leaves_scores_out_where_it_would_get_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, export = recognizer(), tmp_path / "answers.jsonl"
    expected = box.model.predict(images(5))
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    CachedBlackBox(box, cache).predict(images(5))
    cache.add_answer(replace(box.card, classes=20_000), "v", "0" * 64, 0, np.zeros(20_000, np.float32))
    cache.export(export)
    assert export.read_text().count("scores") == 5
    assert max(map(len, export.read_bytes().splitlines())) < MAX_LINE, "`recorded:` still reads it"
    monkeypatch.setattr(answer_lines, "MAX_SCORED", 1400)
    cache.export(export)
    assert 0 < export.read_text().count("scores") < 5
    recorded = load_black_box(f"recorded:{export}?classes=4&view={cache_key(box)}")
    assert np.array_equal(recorded.predict(images(5)).argmax(1), expected.argmax(1))


def test_scores_of_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    box, path = recognizer(), tmp_path / "answers.sqlite3"
    AnswerCache(path).add_answer(box.card, cache_key(box), image_key(images(1)[0]), 0, np.zeros(5, np.float32))
    with pytest.raises(UserError, match="5 scores for a model of 4 classes"):
        cached(box, path).predict(images(1))
