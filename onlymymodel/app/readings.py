"""What each model says of a photo before and after, in words that need no glossary."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onlymymodel.evaluate.results import Role
from onlymymodel.protect.context import Context, Record
from onlymymodel.surrogates.black_box import BlackBox, BlackBoxError
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.vocabulary import translation

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Reading:
    """One model's answers.

    Attributes:
        before, after: class names, or the index where a model has none.
        verdict: what became of the answer, in a few words.
        good: whether that is what the person wants; None where nothing was to be won.
    """

    role: Role
    model: str
    before: str
    after: str
    verdict: str
    good: bool | None

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


def readings(
    record: Record, context: Context, heldout: Sequence[BlackBox], original: Pixels, written: Pixels
) -> tuple[Reading, ...]:
    """What everybody says of a protected photo.

    Args:
        record: of `protect_photos`, with the answers of those that took part.
        original, written: (H,W,C) uint8, asked of the models that did not.
    """
    card, label = context.authorized.card, record["label"]
    own = record["authorized"]
    rows = [_reading("authorized", card, card, label, own["answer_before"], own["answer_after"])]
    rows += [
        _reading("surrogate", model.card, card, label, row["answer_before"], row["answer_after"])
        for model, row in zip(context.surrogates, record["surrogates"], strict=True)
    ]
    return (*rows, *(_ask(judge, card, label, original, written) for judge in heldout))


def _ask(judge: BlackBox, authorized: ModelCard, label: int, original: Pixels, written: Pixels) -> Reading:
    try:
        before, after = judge.predict([original, written]).argmax(1)
    except BlackBoxError as error:
        return Reading("held-out", judge.card.uri, "\N{EN DASH}", "\N{EN DASH}", f"no answer: {error}", None)
    return _reading("held-out", judge.card, authorized, label, int(before), int(after))


def _reading(role: Role, card: ModelCard, authorized: ModelCard, label: int, before: int, after: int) -> Reading:
    words = translation(authorized, card)
    truth = label if card is authorized else None if words is None else words[label]
    verdict, good = _verdict(role, truth, before, after)
    return Reading(role, card.uri, card.name_of(before), card.name_of(after), verdict, good)


def _verdict(role: Role, truth: int | None, before: int, after: int) -> tuple[str, bool | None]:
    """What became of an answer: measured by the right class where the model has a word for it, else by its own."""
    if role == "authorized":
        return ("still reads it", True) if after == truth else ("no longer reads it", False)
    if truth is None:
        return ("says the same", False) if before == after else ("says something else", True)
    if after == truth:
        return "still reads it", False
    return ("misreads it", True) if before == truth else ("never read it", None)
