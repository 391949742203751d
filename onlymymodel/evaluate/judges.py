"""Judges: the models of an evaluation with their roles, how one is asked, and which of them are independent."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from onlymymodel.errors import UserError, first_line
from onlymymodel.evaluate.results import Answer, Role
from onlymymodel.protect.context import Context
from onlymymodel.surrogates.answer_cache import AnswerCacheError
from onlymymodel.surrogates.answers import answer_of
from onlymymodel.surrogates.black_box import BlackBox, QueryBudgetExhausted, query
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.detector import Detections, Detects, as_judge
from onlymymodel.surrogates.family import family_of

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]  # (classes,)
# what two models may have in common, the closest first, and whether their cards declare it
SHARED_ORIGINS: dict[str, Callable[[ModelCard, ModelCard], bool]] = {
    "weights": ModelCard.same_weights,
    "parent": lambda card, other: bool(card.parent) and card.parent.casefold() == other.parent.casefold(),
    "family": lambda card, other: bool(card.family) and family_of(card.family) == family_of(other.family),
}


@dataclass(frozen=True)
class Judge:
    """A model and its role in an evaluation."""

    role: Role
    model: BlackBox


@dataclass(frozen=True)
class JudgeAnswer:
    """A model's answer to one image.

    Attributes:
        answer: class index, or code of attributes; None where the model gave no usable answer.
        scores: (classes,) float32, finite; None without an answer, and of a detector.
        failure: why there is no answer, in one line; "" where there is one.
        found: the objects that a detector finds; None without an answer, and of another model.
    """

    answer: Answer
    scores: Scores | None = None
    failure: str = ""
    found: Detections | None = None


def ask_judge(model: BlackBox, image: Pixels) -> JudgeAnswer:
    """Ask a model about one HWC uint8 image, once; the answer of a detector is the most certain object that it finds.

    Whatever a model raises, and every answer that is neither finite scores nor a class index, costs this one answer,
    not the evaluation.

    Raises:
        QueryBudgetExhausted: no further query may be sent.
        AnswerCacheError: the cache of answers cannot be written.
    """
    try:
        if isinstance(model, Detects):
            found = model.detect(image)
            return JudgeAnswer(found.answer(model.card.classes - 1), found=found)
        scores = query(model, image)
    except (QueryBudgetExhausted, AnswerCacheError):
        raise
    except Exception as error:  # noqa: BLE001
        return JudgeAnswer(None, failure=first_line(error))
    return JudgeAnswer(answer_of(model.card, scores), scores)


def judges_for(context: Context, heldout: Sequence[BlackBox]) -> list[Judge]:
    """Return the models that a run uses and the held-out models, as judges."""
    return [
        Judge("authorized", as_judge(context.authorized)),
        *(Judge("surrogate", as_judge(model)) for model in context.surrogates),
        *(Judge("held-out", model) for model in heldout),
    ]


def shared_origin(card: ModelCard, used: Iterable[ModelCard]) -> tuple[str, ModelCard] | None:
    """Return what a model shares with the models that took part, and with which; None if it is independent."""
    cards = list(used)
    for kind, related in SHARED_ORIGINS.items():
        for used_card in cards:
            if related(card, used_card):
                return kind, used_card
    return None


def reason_excluded(card: ModelCard, used: Iterable[ModelCard]) -> str:
    """Return why a held-out model is not independent of the models that took part; "" if it is."""
    shared = shared_origin(card, used)
    return f"the same {shared[0]} as {shared[1].uri}" if shared else ""


def check_unique(judges: Sequence[Judge]) -> None:
    """Refuse a held-out model that is given under two names: it would count twice in a mean.

    Raises:
        UserError: two held-out models have the same weights.
    """
    heldout = [judge.model.card for judge in judges if judge.role == "held-out"]
    for first, second in combinations(heldout, 2):
        if first.same_weights(second):
            raise UserError(f"judge {second.uri} is named twice: {first.uri} has the same weights")


def check_independence(judges: Sequence[Judge]) -> None:
    """Refuse a held-out model that took part in the run, or that is given twice, before any work is done.

    A model that shares only its family with one that took part is accepted; its row says so.

    Raises:
        UserError: a held-out model has the weights or the declared parent of a model that took part; see
            `check_unique`.
    """
    check_unique(judges)
    used = [judge.model.card for judge in judges if judge.role != "held-out"]
    for judge in judges:
        shared = shared_origin(judge.model.card, used) if judge.role == "held-out" else None
        if shared is not None and shared[0] != "family":
            kind, used_card = shared
            raise UserError(f"judge {judge.model.card.uri} has the same {kind} as {used_card.uri}, which took part")
