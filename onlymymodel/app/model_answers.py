"""Every model's answers to a photo before and after protection, in everyday words for the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.judges import Pixels, judges_for
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Answer, Results, Role, Row
from onlymymodel.protect.context import Context
from onlymymodel.protect.photo_record import PhotoRecord
from onlymymodel.surrogates.black_box import BlackBox
from onlymymodel.surrogates.deployments import DEPLOYMENTS

NO_ANSWER = "\N{EN DASH}"
PROTECTED = "protected"
# what the page calls them; the first is the file itself
CHANNELS = {AS_WRITTEN: "As written", "jpeg-75": "JPEG 75", "half": "Half size"}


@dataclass(frozen=True)
class ModelAnswer:
    """One model's answers.

    Attributes:
        before, after: class names, or the index where a model has no names; a dash where it gave no answer.
        verdict: how the answer changed, in a few words.
        good: whether the verdict is what the user wants; None if it counts neither way.
    """

    role: Role
    model: str
    before: str
    after: str
    verdict: str
    good: bool | None


@dataclass(frozen=True)
class ChannelAnswers:
    """The answers of all models to the original and to the protected photo, both sent through one channel."""

    channel: str
    title: str
    answers: tuple[ModelAnswer, ...]


@dataclass(frozen=True)
class LeastMargin:
    """The authorized model's smallest margin over the deployments that the recipe keeps, from a photo's record.

    Attributes:
        deployments: number of deployments through which it reads the original.
        name, meaning: of the deployment with the smallest margin.
        margin: through it, in logits; positive where the model reads the protected photo.
    """

    deployments: int
    name: str
    meaning: str
    margin: float


def channel_answers(
    label: int, context: Context, heldout: Sequence[BlackBox], original: Pixels, written: Pixels
) -> tuple[ChannelAnswers, ...]:
    """Ask all models about a photo before and after, as written and through each other channel.

    Args:
        label: class index that the authorized model has to keep.
        context: has the authorized model and the surrogates.
        heldout: the held-out models.
        original, written: (H,W,C) uint8.

    Raises:
        QueryBudgetExhausted: see `ask_judge`.
    """
    pair = Pair("", original, {PROTECTED: written}, label)
    others = [DEPLOYMENTS[name] for name in CHANNELS if name != AS_WRITTEN]
    results = evaluate_models(judges_for(context, heldout), [pair], channels=others, progress=False)
    return tuple(
        ChannelAnswers(name, title, tuple(_answer(row, name, results) for row in results.rows))
        for name, title in CHANNELS.items()
    )


def least_margin(record: PhotoRecord) -> LeastMargin | None:
    """Return the smallest margin of a photo's record; None where no deployment is promised."""
    if not record.promised:
        return None
    name, margins = min(record.promised.items(), key=lambda item: item[1].after)
    meaning = DEPLOYMENTS[name].meaning if name in DEPLOYMENTS else ""
    return LeastMargin(len(record.promised), name, meaning, margins.after)


def _answer(row: Row, channel: str, results: Results) -> ModelAnswer:
    before, after = (row.answers[version][channel][0] for version in (CLEAN, PROTECTED))
    reasons = [
        failure.reason for failure in results.failures if (failure.model, failure.channel) == (row.model, channel)
    ]
    if reasons:
        verdict, good = f"no answer: {reasons[0]}", None
    else:
        verdict, good = _verdict(row.role, row.truths[0] if row.truth == "label" else None, before, after)
    return ModelAnswer(row.role, row.model, _name(row, before), _name(row, after), verdict, good)


def _name(row: Row, answer: Answer) -> str:
    return NO_ANSWER if answer is None else row.name_of(answer)


def _verdict(role: Role, truth: Answer, before: Answer, after: Answer) -> tuple[str, bool | None]:
    """Judge an answer by the right class where the model has that class, else by the model's own clean answer."""
    if role == "authorized":
        return ("still reads it", True) if after == truth else ("no longer reads it", False)
    if truth is None:
        return ("says the same", False) if before == after else ("says something else", True)
    if after == truth:
        return "still reads it", False
    return ("misreads it", True) if before == truth else ("never read it", None)
