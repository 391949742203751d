"""Figures of models that are asked in words, for every table: answers that name no class."""

from onlymymodel.evaluate.results import AS_WRITTEN, Results, Row
from onlymymodel.evaluate.score import Proportion
from onlymymodel.surrogates.chat_answers import NONE, UNCLEAR

NOTE = (
    "Answers of models that are asked in words, and that name no class: something else, or a refusal or several "
    "classes at once. Neither counts as read; a refusal is no proof of protection."
)
NAMES = (NONE, UNCLEAR)
COLUMNS = ("says_none", "says_unclear")


def rows_of_language_models(results: Results) -> list[Row]:
    """Return the rows of the models that are asked in words."""
    return [row for row in results.rows if row.kind == "language"]


def proportions(row: Row, version: str, channel: str = AS_WRITTEN) -> list[Proportion]:
    """Return the share of the photos with each kind of such answers, in the order of `NAMES`; an empty list without."""
    if row.kind != "language":
        return []
    answers = [row.name_of(answer) for answer in row.answers[version][channel]]
    return [Proportion(answers.count(name), len(answers)) for name in NAMES]


def csv_columns(row: Row, version: str, channel: str) -> dict[str, float | None]:
    """Return the values of `COLUMNS`; None for another model."""
    counts = [proportion.hits for proportion in proportions(row, version, channel)] or [None, None]
    return dict(zip(COLUMNS, counts, strict=True))
