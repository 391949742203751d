"""Combine two evaluations of different photos that were made with the same settings and models."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from onlymymodel.evaluate.recorded_margins import RecordedMargins
from onlymymodel.evaluate.results import Results, Row, Run

SAME_HEADER = ("settings", "assumed", "adaptation")


def combine(first: Results, second: Results) -> Results:
    """Return the results over the photos of both.

    The header is that of the second, with the photos and the environment of each part under `parts`. Rows of
    embedders, detectors and attributes are not combined: no benchmark needs them.

    Raises:
        ValueError: both have a photo in common, or differ in a setting, a model, a channel or the run.
    """
    if common := set(first.photos) & set(second.photos):
        raise ValueError(f"both have {min(common)}")
    differing = [name for name in SAME_HEADER if first.header.get(name) != second.header.get(name)]
    differing += ["channels"] if first.channels != second.channels else []
    differing += ["models"] if list(map(_model, first.rows)) != list(map(_model, second.rows)) else []
    if differing:
        raise ValueError(f"they differ in {', '.join(differing)}")
    parts = [part for results in (first, second) for part in results.header.get("parts", [_part(results)])]
    return Results(
        photos=first.photos + second.photos,
        labels=first.labels + second.labels,
        runs=tuple(_runs(*pair) for pair in zip(first.runs, second.runs, strict=True)),
        channels=first.channels,
        rows=tuple(_rows(*pair) for pair in zip(first.rows, second.rows, strict=True)),
        failures=first.failures + second.failures,
        header={**second.header, "parts": parts},
    )


def _part(results: Results) -> dict[str, object]:
    return {"photos": len(results.photos), "environment": results.header["environment"]}


def _model(row: Row) -> tuple[str, ...]:
    return row.model, row.role, row.sha256, row.truth, row.exclusion


def _runs(first: Run, second: Run) -> Run:
    settings = [replace(run, distortion=(), statuses={}, margins={}) for run in (first, second)]
    if settings[0] != settings[1]:
        raise ValueError(f"they differ in the budget or the recipe of {first.name}")
    names = list(dict.fromkeys([*first.margins, *second.margins]))
    return replace(
        first,
        distortion=first.distortion + second.distortion,
        statuses=dict(Counter(first.statuses) + Counter(second.statuses)),
        margins={
            name: combine_margins([run.margins[name] for run in (first, second) if name in run.margins])
            for name in names
        },
    )


def combine_margins(parts: list[RecordedMargins]) -> RecordedMargins:
    """Return the margins through one deployment over the photos of all parts."""
    photos, least = sum(part.photos for part in parts), min(parts, key=lambda part: part.least)
    return RecordedMargins(
        photos=photos,
        kept=sum(part.kept for part in parts),
        before=sum(part.photos * part.before for part in parts) / photos,
        after=sum(part.photos * part.after for part in parts) / photos,
        least=least.least,
        least_photo=least.least_photo,
    )


def _rows(first: Row, second: Row) -> Row:
    if any((row.matches, row.objects, row.attributes) != (None, None, None) for row in (first, second)):
        raise ValueError(f"{first.model} does not answer with classes")
    return replace(
        first,
        truths=first.truths + second.truths,
        answers={version: _answers(first.answers[version], second.answers[version]) for version in first.answers},
        names={**first.names, **second.names},
        unmapped=tuple(dict.fromkeys(first.unmapped + second.unmapped)),
    )


def _answers(
    first: Mapping[str, tuple[int | None, ...]], second: Mapping[str, tuple[int | None, ...]]
) -> dict[str, tuple[int | None, ...]]:
    return {channel: given + second[channel] for channel, given in first.items()}
