"""Evaluation with a gallery: its matches agree with cosines computed independently in NumPy."""

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
from onlymymodel.evaluate.face_verification import FARS, GalleryMatches
from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.judges import Judge
from onlymymodel.evaluate.results import Results, Row
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.black_box import ClassifierBlackBox
from onlymymodel.surrogates.classifier import Classifier, ModelCard
from onlymymodel.surrogates.gallery import GalleryHead

PEOPLE = 12
SIDE = 16
AS_IT_IS = replace(PLAIN, height=SIDE, width=SIDE)
DARKER = Channel("darker", lambda image: image // 2, "for tests")


class Squares(nn.Module):
    """Embedding from the colors of the first pixels."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels[:, :, 0, :2].flatten(1) - 0.5


class Recognizer:
    """`Squares` with a gallery of random means; counts queries and fails where the first pixel is black."""

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
        Pair(f"{index}.png", photo(person, 0.2, index, model), {"run": photo(person, 0.5, 100 + index, model)}, person)
        for index, person in enumerate(people)
    ]


def cosines(model: Recognizer, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Cosines from the pixels in NumPy."""
    embeddings = np.stack([image[0, :2].astype(np.float32).T.reshape(-1) / 255 - 0.5 for image in images])
    means = model.means.numpy()
    return np.asarray(embeddings @ means.T / np.linalg.norm(embeddings, axis=1, keepdims=True), np.float32)


def evaluated(model: Recognizer, shown: Sequence[Pair], cache: Path | None = None) -> Results:
    kept = AnswerCache(cache) if cache else None
    return evaluate_models([Judge("authorized", model)], shown, channels=[DARKER], cache=kept, progress=False)


def gallery_matches(row: Row) -> GalleryMatches:
    assert row.matches is not None
    return row.matches


def test_gallery_matches_agree_with_the_cosines() -> None:
    model = Recognizer(names())
    shown = pairs(model)
    (row,) = evaluated(model, shown).rows
    matches = gallery_matches(row)
    people = np.arange(len(shown)) // 2
    clean = cosines(model, [pair.original for pair in shown])
    impostors = np.delete(clean.reshape(-1), np.arange(len(shown)) * PEOPLE + people)
    assert matches.impostors == len(impostors) == 24 * 11
    assert matches.threshold == pytest.approx(0.4)
    assert [limit.far for limit in matches.limits] == list(FARS)
    limit = matches.limits[0].cosine
    assert limit is not None
    assert limit == pytest.approx(np.sort(impostors)[-3], abs=1e-6)  # 2 of 264 may be above
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
        still_matched = (expected.argmax(1) == people) & (genuine >= 0.4)
        assert (figures.matched, figures.lost) == (before.sum(), (before & ~still_matched).sum())
        assert channel == "darker" or version == "clean" or 0 < figures.lost < figures.matched


def test_answer_is_the_nearest_person_at_the_threshold() -> None:
    model = Recognizer(names())
    (row,) = evaluated(model, pairs(model)).rows
    matches = gallery_matches(row)
    for version, channels in row.answers.items():
        for channel, answers in channels.items():
            by_threshold = [
                nearest == person and genuine is not None and genuine >= matches.threshold
                for nearest, person, genuine in zip(
                    matches.nearest[version][channel], matches.persons, matches.genuine[version][channel], strict=True
                )
            ]
            assert by_threshold == [answer == person for answer, person in zip(answers, matches.persons, strict=True)]


def test_person_without_photo_is_an_impostor_and_without_gallery_is_left_out() -> None:
    model = Recognizer(names())
    shown = [replace(pair, label=PEOPLE) if pair.label == 3 else pair for pair in pairs(model)[:10]]
    (row,) = evaluated(model, shown).rows  # its label is the stranger now
    matches, figures = gallery_matches(row), row.verification("run")
    assert matches.persons == (0, 0, 1, 1, 2, 2, None, None, 4, 4)
    assert matches.impostors == 8 * 11
    assert figures is not None
    assert (figures.photos, figures.left_out) == (8, 2)
    assert row.score("run").photos == 10


def test_labels_unknown_to_the_gallery_are_left_out() -> None:
    authorized = Recognizer(names())
    judge = Recognizer(names(3), threshold=0.3)
    judges = [Judge("authorized", authorized), Judge("held-out", judge)]
    row = evaluate_models(judges, pairs(authorized), progress=False).rows[1]
    assert row.truth == "label"
    assert gallery_matches(row).persons == (0, 0, 1, 1, 2, 2, *[None] * 18)
    assert gallery_matches(row).impostors == 6 * 2


def test_clean_answer_is_the_correct_person_without_labels() -> None:
    authorized = Recognizer(names(), task="other")
    judge = Recognizer([f"n{number}" for number in range(PEOPLE)], threshold=0.85)
    judges = [Judge("authorized", authorized), Judge("held-out", judge)]
    row = evaluate_models(judges, pairs(authorized), progress=False).rows[1]
    assert row.truth == "own"
    named = [None if answer == PEOPLE else answer for answer in row.answers["clean"]["png"]]
    assert gallery_matches(row).persons == tuple(named)
    assert 0 < named.count(None) < len(named)
    figures = row.verification("clean")
    assert figures is not None
    assert figures.left_out == named.count(None)
    assert figures.photos == figures.nearest == figures.matched


def test_failed_answers_have_no_scores() -> None:
    model = Recognizer(names())
    shown = pairs(model)[:4]
    black = np.zeros((SIDE, SIDE, 3), np.uint8)
    (row,) = evaluated(model, [replace(shown[0], protected={"run": black}), *shown[1:]]).rows
    assert gallery_matches(row).genuine["run"]["png"][0] is None
    figures = row.verification("run")
    assert figures is not None
    assert figures.failed == 1
    (row,) = evaluated(model, [Pair("b.png", black, {"run": black}, 0)]).rows
    assert row.matches is None


@pytest.mark.parametrize("scores", [np.full((1, PEOPLE + 1), np.nan), np.zeros((1, PEOPLE)), np.zeros((1, 0, 3))])
def test_invalid_cosines_are_failures(scores: NDArray[np.float64]) -> None:
    class Broken(Recognizer):
        def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
            assert len(images) == 1
            return scores.astype(np.float32)

    results = evaluated(Broken(names()), pairs(Recognizer(names()))[:1])
    assert results.rows[0].answers["run"]["png"] == (None,)
    assert len(results.failures) == 4
    assert results.rows[0].matches is None


@pytest.mark.slow
def test_resumed_evaluation_is_equal_and_asks_nothing(tmp_path: Path) -> None:
    first, again = Recognizer(names()), Recognizer(names())
    shown = pairs(first)
    results = evaluated(first, shown, tmp_path / "answers.sqlite3")
    assert results == evaluated(Recognizer(names()), shown), "with a cache as without one"
    assert evaluated(again, shown, tmp_path / "answers.sqlite3") == results
    assert again.asked == 0


@pytest.mark.slow
def test_cache_without_scores_is_asked_again(tmp_path: Path) -> None:
    cache = tmp_path / "answers.sqlite3"
    model = Recognizer(names())
    shown = pairs(model)
    results = evaluated(model, shown, cache)
    lines_of_a_cache = tmp_path / "answers.jsonl"
    AnswerCache(cache).export(lines_of_a_cache)
    lines = [json.loads(line) for line in lines_of_a_cache.read_text().splitlines()]
    answers = [line for line in lines if "answer" in line]
    for line in answers[: len(answers) // 2]:
        line.pop("scores")
    lines_of_a_cache.write_text("".join(json.dumps(line) + "\n" for line in lines))
    cache.unlink()
    AnswerCache(cache, lines_of_a_cache)
    again = Recognizer(names())
    assert evaluated(again, shown, cache) == results
    assert 0 < again.asked < model.asked
    assert evaluated(Recognizer(names()), shown, cache) == results
