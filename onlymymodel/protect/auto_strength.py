"""Strength `auto`: the weakest strength of each photo that misleads every stand-in which any strength misleads."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from msgspec import UNSET

from onlymymodel.protect.answer_records import SurrogateAnswers
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.strengths import DEFAULT, STRENGTHS
from onlymymodel.protect.context import Context
from onlymymodel.protect.photo_record import WRITTEN, PhotoRecord

Result = tuple[bytes | None, PhotoRecord]
PhotoT = TypeVar("PhotoT")


def protect_at_weakest(
    photos: Sequence[PhotoT], context: Context, protect: Callable[[Sequence[PhotoT], Context], list[Result]]
) -> list[Result]:
    """Protect each photo at the weakest strength that suffices.

    The strengths are tried from the weakest on. One suffices where the authorized model keeps the file through the
    promise of the recipe, and every stand-in that reads the original misreads the file. Where none does, the weakest of
    those that mislead the most stand-ins is taken. Nothing can be measured on a photo that no stand-in reads: it gets
    the default strength, or the weakest at which it can be written.

    Args:
        photos: the photos, as `protect` takes them.
        context: its budget has the bounds of the greatest strength.
        protect: protects photos at the budget of a context; it is given the same photos again for each strength.

    Returns:
        The file and the record of each photo; the record has the strength, and the time of all that were tried.
    """
    tried: list[list[Result]] = [[] for _ in photos]
    waiting = list(range(len(photos)))
    for name in STRENGTHS:
        if not waiting:
            break
        at_strength = replace(context, budget=budget_at(context.budget, name), auto_strength=False)
        results = protect([photos[index] for index in waiting], at_strength)
        for index, (data, record) in zip(waiting, results, strict=True):
            tried[index].append((data, record if record.authorized is None else replace(record, strength=name)))
        waiting = [index for index in waiting if not _suffices(tried[index][-1][1], name)]
    return [_chosen(results) for results in tried]


def budget_at(budget: Budget, strength: str) -> Budget:
    """Return a budget with the bounds of a strength in place of its own."""
    return replace(budget, ssim=STRENGTHS[strength].ssim, flip=STRENGTHS[strength].flip)


def budget_of(record: PhotoRecord, budget: Budget) -> Budget:
    """Return the budget of one photo of a run with that budget: that of its own strength, where it has one."""
    return budget if record.strength is UNSET else budget_at(budget, record.strength)


def _suffices(record: PhotoRecord, strength: str) -> bool:
    """Return whether no greater strength has to be tried."""
    if record.status == "protected":
        return _misled(record) == sum(answers.read_before for answers in _answers(record))
    if record.status == "already-misread":
        return strength == DEFAULT
    return record.status != "unchanged"


def _chosen(results: Sequence[Result]) -> Result:
    """Return the result of the strength that is taken, with the time of all."""
    seconds = sum(record.seconds or 0.0 for _, record in results)
    written = [result for result in results if result[1].status in WRITTEN]
    if any(record.status == "protected" for _, record in written):
        data, record = max(written, key=lambda result: _misled(result[1]))  # the first of several
    else:
        at_default = [result for result in written if result[1].strength == DEFAULT]
        data, record = [*at_default, *written, results[-1]][0]
    return data, record if record.seconds is None else replace(record, seconds=round(seconds, 3))


def _answers(record: PhotoRecord) -> list[SurrogateAnswers]:
    """Return the stand-ins' answers to a photo and to its faces."""
    return [*(record.surrogates or ()), *(answers for face in record.faces or () for answers in face.surrogates)]


def _misled(record: PhotoRecord) -> int:
    return sum(answers.misled for answers in _answers(record))
