"""Held-out models that read as much as before are told from those that read less, beyond chance."""

from dataclasses import replace

import pytest

from onlymymodel.evaluate.heldout_effect import unmoved_runs
from onlymymodel.evaluate.results import Results, Row, Run
from onlymymodel.evaluate.score import wilson

PHOTOS = 20


def results(clean: int, after: int, *, failed: int = 0, exclusion: str = "") -> Results:
    """One held-out model that reads so many of 20 photos, whose label is 0, and fails on some protected ones."""

    def answers(right: int, failed: int = 0) -> dict[str, tuple[int | None, ...]]:
        return {"png": (*[0] * right, *[None] * failed, *[1] * (PHOTOS - right - failed))}

    names, labels = tuple(map(str, range(PHOTOS))), (0,) * PHOTOS
    versions = {"clean": answers(clean), "run": answers(after, failed)}
    judge = Row("judge", "held-out", "1", "", "", "label", labels, versions, exclusion)
    return Results(names, labels, (Run("run", ()),), ("png",), (judge,))


@pytest.mark.parametrize(
    ("clean", "after", "moved"),
    [(20, 20, False), (20, 17, False), (20, 16, True), (10, 6, False), (10, 5, True), (7, 7, False), (0, 0, False)],
)
def test_moved_is_below_the_interval_of_the_originals(clean: int, after: int, moved: bool) -> None:
    assert (after / PHOTOS < wilson(clean, PHOTOS)[0]) is moved  # the definition
    assert (unmoved_runs(results(clean, after)) == []) is moved


def test_the_sentence_has_the_figures() -> None:
    ((run, sentence),) = unmoved_runs(results(10, 10))
    assert run == "run"
    assert sentence.startswith(
        "THE JUDGES DID NOT MOVE: they read 50.0% of the originals (95 % interval 29.9% to 70.1%) and 50.0% "
        "of the protected files; "
    )


def test_a_missing_answer_may_have_been_a_right_one() -> None:
    assert unmoved_runs(results(10, 0, failed=10)) != []


def test_only_independent_models_count() -> None:
    assert unmoved_runs(results(10, 10, exclusion="the weights of a surrogate")) == []
    dependent, independent = results(10, 10, exclusion="its parent"), results(20, 0)
    assert unmoved_runs(replace(independent, rows=(*independent.rows, *dependent.rows))) == []
