from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_onnx import write_onnx
from toys import PLAIN

from onlymymodel.errors import UserError
from onlymymodel.evaluate.channels import CHANNELS, Channel
from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.judges import Judge, check_independence
from onlymymodel.surrogates.answer_cache import AnswerCache, AnswerCacheError
from onlymymodel.surrogates.black_box import BlackBox, CallableBlackBox, QueryBudgetExhausted
from onlymymodel.surrogates.cache_key import cache_key
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.load import load_black_box
from onlymymodel.surrogates.recorded_answers import image_key


class ByBrightness:
    """A black box that answers the first pixel's value, and counts what it is asked."""

    def __init__(self, name: str, task: str = "toy", parent: str = "", family: str = "") -> None:
        self.card = ModelCard(name, sha256=name, classes=256, preprocess=PLAIN, task=task, parent=parent, family=family)
        self.asked = 0

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.asked += len(images)
        return np.eye(256, dtype=np.float32)[[image[0, 0, 0] for image in images]]


class Moody(ByBrightness):
    """Crashes on the brightness given."""

    def __init__(self, name: str, crash_at: int) -> None:
        super().__init__(name)
        self.crash_at = crash_at

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if images[0][0, 0, 0] == self.crash_at:
            raise RuntimeError("out of luck\nsecond line")
        return super().predict(images)


def flat(value: int) -> NDArray[np.uint8]:
    return np.full((16, 16, 3), value, np.uint8)


def pair(before: int, after: int, label: int, name: str = "x.png") -> Pair:
    return Pair(name, flat(before), {"run": flat(after)}, label)


PAIRS = [pair(5, 5, 5), pair(5, 9, 5), pair(7, 5, 5), pair(7, 8, 5)]
DARKER = Channel("darker", lambda image: image - 2, "for tests")


def authorized(model: BlackBox | None = None) -> Judge:
    return Judge("authorized", model or ByBrightness("a"))


def test_counts() -> None:
    results = evaluate_models([authorized()], PAIRS, progress=False)
    (row,) = results.rows
    assert row.answers == {"clean": {"png": (5, 5, 7, 7)}, "run": {"png": (5, 9, 5, 8)}}
    score = row.score("run")
    assert (score.photos, score.right, score.failed, score.readable, score.still_right) == (4, 2, 0, 2, 1)
    assert (score.share, score.kept) == (0.5, 0.5)
    assert row.score("clean").right == 2
    assert results.photos == ("x.png",) * 4
    assert results.labels == (5, 5, 5, 5)
    assert [distortion.linf for distortion in results.runs[0].distortion] == [0, 4, 2, 1]


def test_a_channel_is_what_both_versions_go_through() -> None:
    results = evaluate_models([authorized()], [pair(7, 5, 5), pair(5, 7, 5)], channels=[DARKER], progress=False)
    (row,) = results.rows
    assert results.channels == ("png", "darker")  # as written comes first, also unasked
    assert row.answers["clean"] == {"png": (7, 5), "darker": (5, 3)}
    assert row.answers["run"] == {"png": (5, 7), "darker": (3, 5)}
    score = row.score("run", "darker")
    assert (score.right, score.readable, score.still_right) == (1, 1, 0)  # readable: when clean, as darker


def test_several_runs_share_the_answers_to_the_originals() -> None:
    model = ByBrightness("a")
    pairs = [Pair("x.png", flat(5), {"weak": flat(6), "strong": flat(9)}, 5)]
    results = evaluate_models([authorized(model)], pairs, progress=False)
    assert [run.name for run in results.runs] == ["weak", "strong"]
    assert model.asked == 3
    assert results.rows[0].answers == {"clean": {"png": (5,)}, "weak": {"png": (6,)}, "strong": {"png": (9,)}}


def test_a_model_of_another_task_is_measured_against_its_own_clean_answers() -> None:
    judges = [authorized(), Judge("held-out", ByBrightness("b", task="other"))]
    row = evaluate_models(judges, PAIRS, progress=False).rows[1]
    assert (row.truth, row.truths) == ("own", (5, 5, 7, 7))
    assert (row.score("clean").right, row.score("run").right) == (4, 1)


def test_a_crash_on_one_photo_is_counted_and_costs_no_more_than_its_answer() -> None:
    judges = [authorized(), Judge("held-out", Moody("moody", crash_at=9))]
    results = evaluate_models(judges, PAIRS, progress=False)
    row = results.rows[1]
    assert row.answers["run"]["png"] == (5, None, 5, 8)
    score = row.score("run")
    assert (score.photos, score.right, score.failed) == (4, 2, 1)
    assert score.share == 0.5
    assert score.unprotected == 0.75, "what was not answered may have been read"
    (failure,) = results.failures
    assert (failure.model, failure.photo, failure.version, failure.channel) == ("moody", "x.png", "run", "png")
    assert failure.reason == "out of luck"
    assert results.heldout_mean("run") == 0.75


def test_a_wrong_answer_of_any_callable_is_a_failure() -> None:
    card = ModelCard("f", sha256="f", classes=256, preprocess=PLAIN, task="toy")
    results = evaluate_models(
        [authorized(), Judge("held-out", CallableBlackBox(lambda _image: 999, card))], PAIRS, progress=False
    )
    assert results.rows[1].score("clean").failed == 4
    assert len(results.failures) == 8


@pytest.mark.parametrize("prediction", [[[1.0] * 256], [], None, np.zeros((1, 0), np.float32)])
def test_an_invalid_prediction_is_a_failure_not_a_crash(prediction: Any) -> None:
    class Odd(ByBrightness):
        def predict(self, images: Sequence[NDArray[np.uint8]]) -> Any:
            self.asked += len(images)
            return prediction

    results = evaluate_models([authorized(), Judge("held-out", Odd("odd"))], PAIRS, progress=False)
    assert results.rows[1].score("clean").failed == 4


@pytest.mark.parametrize("kept", [False, True])
def test_scores_that_are_no_numbers_are_failures_and_not_the_first_class(kept: bool, tmp_path: Path) -> None:
    blind = load_black_box(f"onnx:{write_onnx(tmp_path / 'blind.onnx', operator='Log')}?task=toy")
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.isnan(blind.predict([noise])).all()
    cache = AnswerCache(tmp_path / "answers.sqlite3") if kept else None
    pairs = [Pair("n.png", noise, {"run": noise}, 5)]
    results = evaluate_models([authorized(), Judge("held-out", blind)], pairs, cache=cache, progress=False)
    assert results.rows[1].answers == {"clean": {"png": (None,)}, "run": {"png": (None,)}}
    assert {failure.reason.partition(",")[0] for failure in results.failures} == {
        "model onnx:blind.onnx answers scores that are not finite"
    }
    assert cache is None or cache.answer(blind.card, cache_key(blind), image_key(noise)) is None


@pytest.mark.parametrize("kept", [False, True])
def test_more_scores_than_classes_are_failures(kept: bool, tmp_path: Path) -> None:
    class Wide(ByBrightness):
        def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
            return np.eye(300, dtype=np.float32)[[299 for _ in images]]

    cache = AnswerCache(tmp_path / "answers.sqlite3") if kept else None
    results = evaluate_models([authorized(), Judge("held-out", Wide("w"))], PAIRS, cache=cache, progress=False)
    assert results.rows[1].score("run").failed == 4


@pytest.mark.parametrize("kept", [False, True])
def test_class_indexes_are_answers(kept: bool, tmp_path: Path) -> None:
    class Labels(ByBrightness):
        def predict(self, images: Sequence[NDArray[np.uint8]]) -> Any:
            return super().predict(images).argmax(1)

    cache = AnswerCache(tmp_path / "answers.sqlite3") if kept else None
    results = evaluate_models([authorized(), Judge("held-out", Labels("l"))], PAIRS, cache=cache, progress=False)
    assert (
        results.rows[1].answers
        == results.rows[0].answers
        == {"clean": {"png": (5, 5, 7, 7)}, "run": {"png": (5, 9, 5, 8)}}
    )
    assert not results.failures


def test_a_held_out_model_that_is_related_is_marked_and_enters_no_mean() -> None:
    used = Judge("surrogate", ByBrightness("s", parent="p", family="net"))
    judges = [
        authorized(),
        used,
        Judge("held-out", ByBrightness("s")),
        Judge("held-out", ByBrightness("child", parent="p")),
        Judge("held-out", ByBrightness("cousin", family="net")),
        Judge("held-out", ByBrightness("stranger", parent="q", family="other")),
    ]
    results = evaluate_models(judges, PAIRS, progress=False)
    assert [row.exclusion for row in results.rows_of("held-out")] == [
        "the same weights as s",
        "the same parent as s",
        "the same family as s",
        "",
    ]
    assert [row.model for row in results.independent()] == ["stranger"]
    assert results.heldout_mean("run") == 0.5


def test_models_that_made_the_photos_count_though_they_do_not_judge() -> None:
    maker = ModelCard("maker", sha256="m", classes=256, preprocess=PLAIN, parent="p")
    judges = [authorized(), Judge("held-out", ByBrightness("child", parent="p"))]
    results = evaluate_models(judges, PAIRS, took_part=[maker], progress=False)
    assert results.rows[1].exclusion == "the same parent as maker"
    assert results.heldout_mean("run") is None


def test_a_held_out_model_is_not_counted_twice() -> None:
    once, other, again = (ByBrightness(name) for name in ("once", "other", "again"))
    once.card, again.card = replace(once.card, weights="w"), replace(again.card, weights="w")
    for second, name in ((once, "once"), (again, "again")):
        judges = [authorized(), *(Judge("held-out", model) for model in (once, other, second))]
        for refuse in (check_independence, lambda judges: evaluate_models(judges, PAIRS, progress=False)):
            with pytest.raises(UserError, match=f"^judge {name} is named twice: once has the same weights$"):
                refuse(judges)
    assert (once.asked, other.asked, again.asked) == (0, 0, 0)


def test_a_cache_spares_every_query_of_an_earlier_run(tmp_path: Path) -> None:
    first, again = ByBrightness("a"), ByBrightness("a")
    path = tmp_path / "answers.sqlite3"
    evaluated = evaluate_models([authorized(first)], PAIRS, cache=AnswerCache(path), progress=False)
    assert first.asked == len({5, 7, 9, 8})  # equal pictures are one query
    repeated = evaluate_models([authorized(again)], PAIRS, cache=AnswerCache(path), progress=False)
    assert again.asked == 0
    assert repeated == evaluated


def test_a_spent_budget_ends_the_evaluation_and_keeps_the_answers(tmp_path: Path) -> None:
    class Limited(ByBrightness):
        budget: int | None = 2

        def on_query(self) -> None:
            """Replaced by the cache."""

        def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
            self.on_query()
            return super().predict(images)

    model = Limited("held")
    judges = [authorized(), Judge("held-out", model)]
    for _ in range(2):
        with pytest.raises(QueryBudgetExhausted):
            evaluate_models(judges, PAIRS, cache=AnswerCache(tmp_path / "answers.sqlite3"), progress=False)
    assert model.asked == 2


def test_a_cache_that_cannot_be_written_ends_the_evaluation(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    cache.path.mkdir()
    with pytest.raises(AnswerCacheError, match="unable to open database file"):
        evaluate_models([authorized()], PAIRS, cache=cache, progress=False)


def test_an_evaluation_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="no pair"):
        evaluate_models([authorized()], [], progress=False)
    with pytest.raises(UserError, match="one authorized"):
        evaluate_models([], PAIRS, progress=False)
    with pytest.raises(UserError, match="one authorized"):
        evaluate_models([authorized(), authorized()], PAIRS, progress=False)
    odd = Pair("odd.png", flat(0), {"run": np.zeros((17, 16, 3), np.uint8)}, 0)
    with pytest.raises(UserError, match=r"odd\.png.*16x17.*16x16"):
        evaluate_models([authorized()], [odd], progress=False)


def test_distances_that_nobody_needs_are_not_measured() -> None:
    results, measured = (evaluate_models([authorized()], PAIRS, distances=on, progress=False) for on in (False, True))
    assert [run.name for run in results.runs] == ["run"]
    assert [run.distortion for run in results.runs] == [()]
    assert results.rows == measured.rows
    odd = Pair("odd.png", flat(0), {"run": np.zeros((17, 16, 3), np.uint8)}, 0)
    with pytest.raises(UserError, match=r"odd\.png.*16x17.*16x16"):
        evaluate_models([authorized()], [odd], distances=False, progress=False)


def test_a_gray_photo_and_its_three_channel_copy_are_compared() -> None:
    gray, colored = np.full((16, 16, 1), 9, np.uint8), flat(9)
    results = evaluate_models([authorized()], [Pair("g.png", gray, {"run": colored}, 9)], progress=False)
    assert results.runs[0].distortion[0].linf == 0


def test_a_color_photo_that_another_tool_made_gray_is_compared_in_every_channel() -> None:
    color, gray = flat(9), np.full((16, 16, 1), 9, np.uint8)
    color[..., 2] = 12
    queried_shapes: list[tuple[int, ...]] = []

    def shapes(original: NDArray[np.uint8], protected: NDArray[np.uint8]) -> float:
        queried_shapes.extend((original.shape, protected.shape))
        return 0.5

    pairs = [Pair("c.png", color, {"gray": gray, "same": np.repeat(gray, 3, axis=2)}, 9)]
    one, other = evaluate_models([authorized()], pairs, perceptual=shapes, progress=False).runs
    assert one.distortion == other.distortion
    assert one.distortion[0].linf == 3
    assert queried_shapes == [(16, 16, 3)] * 4


def test_every_bundled_channel_can_be_asked() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    pairs = [Pair("n.png", noise, {"run": noise}, 0)]
    results = evaluate_models([authorized()], pairs, channels=list(CHANNELS.values()), progress=False)
    assert results.channels == tuple(CHANNELS)
    assert not results.failures
