from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest
from toys import PLAIN

from onlymymodel.errors import UserError
from onlymymodel.evaluate.harness import Judge, Pair, evaluate_models, wilson
from onlymymodel.surrogates.classifier import ModelCard


class ByBrightness:
    """A black box that answers the first pixel's value."""

    def __init__(self, name: str, task: str = "toy", parent: str = "") -> None:
        self.card = ModelCard(name, sha256=name, classes=256, preprocess=PLAIN, task=task, parent=parent)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.eye(256, dtype=np.float32)[[image[0, 0, 0] for image in images]]


def pair(before: int, after: int, label: int) -> Pair:
    return Pair("x.png", np.full((2, 2, 3), before, np.uint8), np.full((2, 2, 3), after, np.uint8), label)


PAIRS = [pair(5, 5, 5), pair(5, 9, 5), pair(7, 5, 5), pair(7, 8, 5)]


def test_counts() -> None:
    (row,) = evaluate_models([Judge("authorized", ByBrightness("a"))], PAIRS, progress=False)
    assert (row.photos, row.right_before, row.right_after, row.right_before_and_after) == (4, 2, 2, 1)
    assert row.answers_before == (5, 5, 7, 7)
    assert row.answers_after == (5, 9, 5, 8)
    assert row.truth == "label"


def test_a_model_of_another_task_is_measured_against_its_own_clean_answers() -> None:
    judges = [Judge("authorized", ByBrightness("a")), Judge("held-out", ByBrightness("b", task="other"))]
    row = evaluate_models(judges, PAIRS, progress=False)[1]
    assert (row.truth, row.right_before, row.right_after) == ("own", 4, 1)


@pytest.mark.parametrize(("hits", "total"), [(0, 40), (2, 40), (40, 40), (1, 3), (500, 1000)])
def test_wilson_against_scipy(hits: int, total: int) -> None:
    expected = binomtest(hits, total).proportion_ci(method="wilson")
    assert wilson(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_what_took_part_is_no_judge() -> None:
    authorized, surrogate = Judge("authorized", ByBrightness("a")), Judge("surrogate", ByBrightness("s", parent="p"))
    with pytest.raises(UserError, match="same weights"):
        evaluate_models([authorized, surrogate, Judge("held-out", ByBrightness("s"))], PAIRS, progress=False)
    with pytest.raises(UserError, match="parent in common"):
        evaluate_models(
            [authorized, surrogate, Judge("held-out", ByBrightness("h", parent="p"))], PAIRS, progress=False
        )


def test_an_evaluation_of_nothing_is_refused() -> None:
    authorized = Judge("authorized", ByBrightness("a"))
    with pytest.raises(UserError, match="no pair"):
        evaluate_models([authorized], [], progress=False)
    with pytest.raises(UserError, match="one authorized"):
        evaluate_models([], PAIRS, progress=False)
    odd = Pair("odd.png", np.zeros((2, 2, 3), np.uint8), np.zeros((3, 2, 3), np.uint8), 0)
    with pytest.raises(UserError, match=r"odd\.png"):
        evaluate_models([authorized], [odd], progress=False)
