"""Figures of models of attributes, for every table: a mean correlation, which is no share of photos."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from onlymymodel.data.attributes import decode, encode
from onlymymodel.evaluate.attribute_scores import Correlation, correlate
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Results, Row

NOTE = (
    "Of models that answer several yes-or-no questions, the mean over their attributes of the Matthews correlation "
    "coefficient (1: the same answers, 0: as by chance) with the model's own answers to the clean photos, and with the "
    "labels where they have the attribute. It is 0 where the model gives the same answer for all photos, and not "
    "defined where the clean answers or the labels are the same for all photos; such attributes are left out of the "
    "mean and counted. A missing answer counts as the right one."
)
NAMES = ("MCC with own clean answers", "MCC with the labels")
KEYS = ("own", "labels")
COLUMNS = tuple(f"mcc_{key}{part}" for key in KEYS for part in ("", "_attributes", "_undefined"))


def rows_of_attribute_models(results: Results) -> list[Row]:
    """Return the rows of the models of attributes."""
    return [row for row in results.rows if row.attributes is not None]


def correlations(row: Row, version: str, channel: str = AS_WRITTEN) -> list[Correlation | None]:
    """Return the correlations that the tables show, in the order of `NAMES`; None without labels.

    The list is empty for another model.
    """
    if row.attributes is None:
        return []
    names, known = row.attributes.names, row.attributes.known
    answers = row.answers[version][channel]
    own = correlate(row.answers[CLEAN][AS_WRITTEN], answers, len(names))
    if not known:
        return [own, None]
    bits = [names.index(name) for name in known]
    chosen = [None if answer is None else _choose(answer, bits, len(names)) for answer in answers]
    return [own, correlate(row.attributes.labels, chosen, len(known))]


def cells(row: Row, version: str, channel: str = AS_WRITTEN) -> list[str]:
    """Return the correlations in words, in the order of `NAMES`."""
    return [_cell(correlation) for correlation in correlations(row, version, channel)]


def csv_columns(row: Row, version: str, channel: str) -> dict[str, float | None]:
    """Return the values of `COLUMNS`; None for another model, and without labels."""
    line: dict[str, float | None] = dict.fromkeys(COLUMNS)
    for key, correlation in zip(KEYS, correlations(row, version, channel), strict=False):
        if correlation is not None:
            line |= {
                f"mcc_{key}": correlation.mean,
                f"mcc_{key}_attributes": correlation.attributes,
                f"mcc_{key}_undefined": correlation.undefined,
            }
    return line


def to_json(row: Row, version: str, channel: str) -> dict[str, Any]:
    """Return the correlations by the keys `own` and `labels`; nothing for another model."""
    pairs = zip(KEYS, correlations(row, version, channel), strict=False)
    return {key: asdict(correlation) for key, correlation in pairs if correlation is not None}


def _choose(code: int, bits: Sequence[int], count: int) -> int:
    """Return the code of the attributes at some bits of another code."""
    present = decode(code, count)
    return encode([present[bit] for bit in bits])


def _cell(correlation: Correlation | None) -> str:
    if correlation is None:
        return "no labels"
    undefined = f", {correlation.undefined} undefined" if correlation.undefined else ""
    if correlation.mean is None:
        return f"none{undefined}"
    return f"{correlation.mean:.3f} ({correlation.attributes} attributes{undefined})"
