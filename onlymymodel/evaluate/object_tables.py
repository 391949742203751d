"""Figures of detectors, for every table."""

from onlymymodel.evaluate.results import AS_WRITTEN, Results, Row
from onlymymodel.evaluate.score import Proportion

NOTE = (
    "Of the objects that a detector finds in the clean photo, through the same channel, those that it finds again: the "
    "same class, and boxes whose intersection over union is 0.5 or more. Photos without: those with objects when clean "
    "in which none of them is found again. A missing answer counts as found."
)
COLUMNS = ("objects", "objects_found", "photos_with_objects", "photos_without")
NAMES = ("objects found", "photos without")


def rows_of_detectors(results: Results) -> list[Row]:
    """Return the rows of the detectors."""
    return [row for row in results.rows if row.objects is not None]


def csv_columns(row: Row, version: str, channel: str) -> dict[str, float | None]:
    """Return the values of `COLUMNS`; None for another model."""
    if row.objects is None:
        return dict.fromkeys(COLUMNS)
    counts = row.objects[version][channel]
    values = (counts.objects, counts.found, counts.photos, counts.photos_without)
    return dict(zip(COLUMNS, values, strict=True))


def proportions(row: Row, version: str, channel: str = AS_WRITTEN) -> list[Proportion]:
    """Return the shares that the tables show, in the order of `NAMES`; an empty list for another model."""
    if row.objects is None:
        return []
    counts = row.objects[version][channel]
    return [Proportion(counts.found, counts.objects), Proportion(counts.photos_without, counts.photos)]
