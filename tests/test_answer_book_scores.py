"""The book of answers keeps the scores of models with a gallery, as long as there is room."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_answer_book import Counting, images

from onlymymodel.errors import UserError
from onlymymodel.surrogates import answer_book
from onlymymodel.surrogates.answer_book import AnswerBook, AskedOnce
from onlymymodel.surrogates.asked_view import view_of
from onlymymodel.surrogates.black_box import load_black_box
from onlymymodel.surrogates.recorded import MAX_LINE, image_key


def recognizer() -> Counting:
    box = Counting()
    box.card = replace(box.card, gallery="people")
    return box


def test_the_scores_of_a_gallery_are_kept_to_the_last_bit(tmp_path: Path) -> None:
    box, path = recognizer(), tmp_path / "book.jsonl"
    wanted = box.model.predict(images(3))
    asked = AskedOnce(box, AnswerBook(path))
    assert asked.answer(images(1)[0]) == wanted[0].argmax()
    assert np.array_equal(asked.predict(images(3)), wanted)
    assert np.array_equal(AskedOnce(box, AnswerBook(path)).predict(images(3)), wanted)
    assert len(box.seen) == 3, "an answer keeps the scores too"
    assert np.array_equal(load_black_box(f"recorded:{path}?classes=4").predict(images(3)).argmax(1), wanted.argmax(1))


def test_an_answer_without_scores_is_an_answer_and_its_scores_are_asked_for(tmp_path: Path) -> None:
    box, path = recognizer(), tmp_path / "book.jsonl"
    (answer,) = box.model.predict(images(1)).argmax(1)
    AnswerBook(path).add_answer(box.card, view_of(box), image_key(images(1)[0]), int(answer))
    asked = AskedOnce(box, AnswerBook(path))
    assert asked.answer(images(1)[0]) == answer
    assert box.seen == []
    for _ in range(2):
        assert np.array_equal(asked.predict(images(1)), box.model.predict(images(1)))
    assert len(box.seen) == 1


def test_a_full_book_takes_answers_without_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box, path = recognizer(), tmp_path / "book.jsonl"
    monkeypatch.setattr(answer_book, "MAX_SCORED", 1000)
    for _ in range(2):
        assert np.array_equal(AskedOnce(box, AnswerBook(path)).predict(images(5)), box.model.predict(images(5)))
    with_scores = path.read_text().count("scores")
    assert 0 < with_scores < 5
    assert len(box.seen) == 5 + (5 - with_scores)
    assert AskedOnce(box, AnswerBook(path)).answer(images(5)[4]) == box.model.predict(images(5)[4:]).argmax()
    wide = replace(box.card, classes=20_000)
    AnswerBook(path).add_answer(wide, "v", "k", 0, np.zeros(20_000, np.float32))
    assert max(map(len, path.read_bytes().splitlines())) < MAX_LINE, "it stays a file that `recorded:` reads"


def test_scores_of_other_people_are_not_believed(tmp_path: Path) -> None:
    box, path = recognizer(), tmp_path / "book.jsonl"
    AnswerBook(path).add_answer(box.card, view_of(box), image_key(images(1)[0]), 0, np.zeros(5, np.float32))
    with pytest.raises(UserError, match="5 scores for a model of 4 classes"):
        AskedOnce(box, AnswerBook(path)).predict(images(1))
