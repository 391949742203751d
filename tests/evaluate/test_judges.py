"""Queries to a judge, and the independence of judges."""

from typing import Any

import numpy as np
import pytest
from toys import PLAIN, BatchBlackBox

from onlymymodel.errors import UserError
from onlymymodel.evaluate.judges import (
    Judge,
    ask_judge,
    check_independence,
    reason_excluded,
    shared_origin,
)
from onlymymodel.surrogates.black_box import QueryBudgetExhausted
from onlymymodel.surrogates.classifier import ModelCard

IMAGE = np.zeros((16, 16, 3), np.uint8)


def card(name: str, **fields: str) -> ModelCard:
    return ModelCard(name, sha256=name, classes=3, preprocess=PLAIN, **fields)  # type: ignore[arg-type]


def judge(role: Any, name: str, **fields: str) -> Judge:
    return Judge(role, BatchBlackBox(card(name, **fields), lambda count: np.zeros(count, int)))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (np.array([2]), [0, 0, 1]),
        (np.array([[0.5, -1.0, 0.25]], np.float32), [0.5, -1.0, 0.25]),
    ],
)
def test_scores_and_class_indexes_are_answers(answer: Any, expected: list[float]) -> None:
    reply = ask_judge(BatchBlackBox(card("a"), lambda _: answer), IMAGE)
    assert reply.scores is not None
    assert reply.scores.tolist() == expected
    assert reply.answer == int(np.argmax(expected))
    assert reply.failure == ""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (np.full((1, 3), np.nan, np.float32), "scores that are not finite"),
        (np.array([3]), "answers"),
        (np.zeros((1, 4), np.float32), "shape (4,)"),
        (np.zeros((2, 3), np.float32), "shape (2, 3) for one image"),
        (None, "a NoneType for one image"),
    ],
)
def test_an_unusable_answer_is_a_failure(answer: Any, reason: str) -> None:
    reply = ask_judge(BatchBlackBox(card("a"), lambda _: answer), IMAGE)
    assert (reply.answer, reply.scores) == (None, None)
    assert reason in reply.failure


@pytest.mark.parametrize(
    ("error", "failure"),
    [(RuntimeError("no luck\nsecond line"), "no luck"), (KeyError(), "KeyError"), (UserError("not here"), "not here")],
)
def test_an_error_of_the_model_is_a_failure_in_one_line(error: Exception, failure: str) -> None:
    def fail(_: int) -> None:
        raise error

    assert ask_judge(BatchBlackBox(card("a"), fail), IMAGE).failure == failure


def test_an_exhausted_query_budget_ends_the_evaluation() -> None:
    def fail(_: int) -> None:
        raise QueryBudgetExhausted("3 queries were sent")

    with pytest.raises(QueryBudgetExhausted):
        ask_judge(BatchBlackBox(card("a"), fail), IMAGE)


def test_undeclared_parents_and_families_are_not_equal() -> None:
    assert shared_origin(card("a"), [card("b")]) is None
    assert reason_excluded(card("a"), [card("b")]) == ""


@pytest.mark.parametrize(("declared", "other"), [("MobileNet", "mobilenet"), ("mobilenetv2_100", "mobilenet_v2")])
def test_a_family_is_recognized_in_any_spelling(declared: str, other: str) -> None:
    second = card("b", family=other)
    assert shared_origin(card("a", family=declared), [second]) == ("family", second)


def test_a_parent_is_recognized_in_capitals() -> None:
    second = card("b", parent="org/net")
    assert shared_origin(card("a", parent="Org/Net"), [second]) == ("parent", second)
    assert reason_excluded(card("a", parent="Org/Net"), [second]) == "the same parent as b"


def test_a_model_that_took_part_is_refused_as_held_out_before_the_work() -> None:
    used = [judge("authorized", "a"), judge("surrogate", "s", parent="p", family="net")]
    with pytest.raises(UserError, match="same weights"):
        check_independence([*used, judge("held-out", "s")])
    with pytest.raises(UserError, match="same parent"):
        check_independence([*used, judge("held-out", "h", parent="p")])
    check_independence([*used, judge("held-out", "h", family="net")])
