"""An evaluation with a gallery: what it finds is what the cosines say, computed by another way."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from toys import PLAIN

from onlymymodel.evaluate.channels import Channel
from onlymymodel.evaluate.harness import Judge, Pair, evaluate_models
from onlymymodel.evaluate.results import Results, Row
from onlymymodel.evaluate.verification import FARS, Matches
from onlymymodel.surrogates.answer_book import AnswerBook
from onlymymodel.surrogates.black_box import ClassifierBlackBox
from onlymymodel.surrogates.classifier import Classifier, ModelCard
from onlymymodel.surrogates.gallery import GalleryHead

PEOPLE = 12
SIDE = 16
AS_IT_IS = replace(PLAIN, height=SIDE, width=SIDE)
DARKER = Channel("darker", lambda image: image // 2, "for tests")


class Squares(nn.Module):
    """The colors of the first pixels, above and below the middle, as an embedding."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels[:, :, 0, :2].flatten(1) - 0.5


class Recognizer:
    """A gallery of random means before `Squares`; counts what it is asked, fails where the first pixel is black."""

    def __init__(self, names: Sequence[str], threshold: float = 0.4, task: str = "identity") -> None:
        self.means = F.normalize(torch.randn(len(names), 6, generator=torch.Generator().manual_seed(0)), dim=1)
        head = GalleryHead(Squares(), self.means, threshold)
        labels = (*names, "stranger")
        card = ModelCard("r", "weights", len(labels), AS_IT_IS, task, labels, gallery=f"{'-'.join(names)}{threshold}")
        self.box = ClassifierBlackBox(Classifier(head, card))
        self.card = card
        self.asked = 0

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.asked += len(images)
        if not images[0][0, 0].any():
            raise RuntimeError("no face")
        return self.box.predict(images)


def photo(person: int, noise: float, seed: int, model: Recognizer) -> NDArray[np.uint8]:
    random = np.random.default_rng([person, seed])
    mean = model.means[person].numpy() + noise * random.normal(size=6)
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[0, :2] = np.clip(128 + 120 * mean.reshape(3, 2).T, 1, 255).round()
    return pixels


def names(count: int = PEOPLE) -> list[str]:
    return [f"person {number}" for number in range(count)]


def pairs(model: Recognizer) -> list[Pair]:
    """Two photos of each person, protected by noise."""
    people = [person for person in range(PEOPLE) for _ in range(2)]
    return [
        Pair(f"{place}.png", photo(person, 0.2, place, model), {"run": photo(person, 0.5, 100 + place, model)}, person)
        for place, person in enumerate(people)
    ]


def cosines(model: Recognizer, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """By another way: NumPy, from the pixels."""
    found = np.stack([image[0, :2].astype(np.float32).T.reshape(-1) / 255 - 0.5 for image in images])
    means = model.means.numpy()
    return np.asarray(found @ means.T / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def judged(model: Recognizer, shown: Sequence[Pair], book: Path | None = None) -> Results:
    kept = AnswerBook(book) if book else None
    return evaluate_models([Judge("authorized", model)], shown, channels=[DARKER], book=kept, progress=False)


def found_in(row: Row) -> Matches:
    assert row.matches is not None
    return row.matches


def test_an_evaluation_finds_what_the_cosines_say() -> None:
    model = Recognizer(names())
    shown = pairs(model)
    (row,) = judged(model, shown).rows
    matches = found_in(row)
    people = np.arange(len(shown)) // 2
    clean = cosines(model, [pair.original for pair in shown])
    others = np.delete(clean.reshape(-1), np.arange(len(shown)) * PEOPLE + people)
    assert matches.impostors == len(others) == 24 * 11
    assert matches.threshold == pytest.approx(0.4)
    assert [limit.far for limit in matches.limits] == list(FARS)
    limit = matches.limits[0].cosine
    assert limit is not None
    assert limit == pytest.approx(np.sort(others)[-3], abs=1e-6)  # 2 of 264 may be above
    assert matches.limits[1].cosine is None
    for version, channel, images in (
        ("clean", "png", [pair.original for pair in shown]),
        ("run", "png", [pair.protected["run"] for pair in shown]),
        ("run", "darker", [pair.protected["run"] // 2 for pair in shown]),
    ):
        expected = cosines(model, images)
        genuine = expected[np.arange(len(shown)), people]
        assert matches.genuine[version][channel] == pytest.approx(genuine.tolist(), abs=1e-5)
        assert matches.nearest[version][channel] == tuple(expected.argmax(1))
        figures = row.verification(version, channel)
        assert figures is not None
        assert figures.nearest == (expected.argmax(1) == people).sum()
        assert figures.accepted[1e-2] == (genuine > limit).sum()
        before = (clean.argmax(1) == people) & (clean.max(1) >= 0.4)
        now = (expected.argmax(1) == people) & (genuine >= 0.4)
        assert (figures.matched, figures.lost) == (before.sum(), (before & ~now).sum())
        assert channel == "darker" or version == "clean" or 0 < figures.lost < figures.matched


def test_the_answer_is_the_nearest_person_at_the_threshold_exactly() -> None:
    model = Recognizer(names())
    (row,) = judged(model, pairs(model)).rows
    matches = found_in(row)
    for version, channels in row.answers.items():
        for channel, said in channels.items():
            by_threshold = [
                nearest == person and genuine is not None and genuine >= matches.threshold
                for nearest, person, genuine in zip(
                    matches.nearest[version][channel], matches.persons, matches.genuine[version][channel], strict=True
                )
            ]
            assert by_threshold == [one == person for one, person in zip(said, matches.persons, strict=True)]


def test_a_person_without_a_photo_is_an_impostor_and_one_without_a_gallery_is_left_out() -> None:
    model = Recognizer(names())
    shown = [replace(pair, label=PEOPLE) if pair.label == 3 else pair for pair in pairs(model)[:10]]
    (row,) = judged(model, shown).rows  # its label is the stranger now
    matches, figures = found_in(row), row.verification("run")
    assert matches.persons == (0, 0, 1, 1, 2, 2, None, None, 4, 4)
    assert matches.impostors == 8 * 11
    assert figures is not None
    assert (figures.photos, figures.left_out) == (8, 2)
    assert row.score("run").photos == 10


def test_labels_that_the_gallery_does_not_know_are_left_out() -> None:
    authorized = Recognizer(names())
    judge = Recognizer(names(3), threshold=0.3)
    judges = [Judge("authorized", authorized), Judge("held-out", judge)]
    row = evaluate_models(judges, pairs(authorized), progress=False).rows[1]
    assert row.truth == "label"
    assert found_in(row).persons == (0, 0, 1, 1, 2, 2, *[None] * 18)
    assert found_in(row).impostors == 6 * 2


def test_without_labels_the_right_person_is_whom_it_named_when_clean() -> None:
    authorized = Recognizer(names(), task="other")
    judge = Recognizer([f"n{number}" for number in range(PEOPLE)], threshold=0.85)
    judges = [Judge("authorized", authorized), Judge("held-out", judge)]
    row = evaluate_models(judges, pairs(authorized), progress=False).rows[1]
    assert row.truth == "own"
    named = [None if answer == PEOPLE else answer for answer in row.answers["clean"]["png"]]
    assert found_in(row).persons == tuple(named)
    assert 0 < named.count(None) < len(named)
    figures = row.verification("clean")
    assert figures is not None
    assert figures.left_out == named.count(None)
    assert figures.photos == figures.nearest == figures.matched


def test_a_model_that_fails_has_no_scores_there_and_none_that_never_answered() -> None:
    model = Recognizer(names())
    shown = pairs(model)[:4]
    black = np.zeros((SIDE, SIDE, 3), np.uint8)
    (row,) = judged(model, [replace(shown[0], protected={"run": black}), *shown[1:]]).rows
    assert found_in(row).genuine["run"]["png"][0] is None
    figures = row.verification("run")
    assert figures is not None
    assert figures.failed == 1
    (row,) = judged(model, [Pair("b.png", black, {"run": black}, 0)]).rows
    assert row.matches is None


@pytest.mark.parametrize("said", [np.full((1, PEOPLE + 1), np.nan), np.zeros((1, PEOPLE)), np.zeros((1, 0, 3))])
def test_what_is_not_a_cosine_for_each_person_is_a_failure(said: NDArray[np.float64]) -> None:
    class Broken(Recognizer):
        def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
            assert len(images) == 1
            return said.astype(np.float32)

    results = judged(Broken(names()), pairs(Recognizer(names()))[:1])
    assert results.rows[0].answers["run"]["png"] == (None,)
    assert len(results.failures) == 4
    assert results.rows[0].matches is None


def test_a_resumed_evaluation_says_the_same_and_asks_nothing(tmp_path: Path) -> None:
    first, again = Recognizer(names()), Recognizer(names())
    shown = pairs(first)
    found = judged(first, shown, tmp_path / "book.jsonl")
    assert found == judged(Recognizer(names()), shown), "with a book as without one"
    assert judged(again, shown, tmp_path / "book.jsonl") == found
    assert again.asked == 0


def test_a_book_from_before_the_scores_is_asked_again(tmp_path: Path) -> None:
    book = tmp_path / "book.jsonl"
    model = Recognizer(names())
    shown = pairs(model)
    found = judged(model, shown, book)
    lines = [json.loads(line) for line in book.read_text().splitlines()]
    for line in lines[::2]:
        line.pop("scores", None)
    for line in lines[1 : len(lines) // 2 : 2]:
        line.pop("scores")
    book.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = Recognizer(names())
    assert judged(again, shown, book) == found
    assert 0 < again.asked < model.asked
    assert judged(Recognizer(names()), shown, book) == found
