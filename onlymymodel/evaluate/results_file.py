"""The JSON form of an evaluation: `results.json`."""

import json
from collections.abc import Mapping, Sized
from dataclasses import asdict, fields
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from onlymymodel.errors import UserError, number_of
from onlymymodel.evaluate import attribute_tables
from onlymymodel.evaluate.deployment_summary import summarize_deployments
from onlymymodel.evaluate.face_verification import DEFINITION
from onlymymodel.evaluate.results import AS_WRITTEN, Results, Row
from onlymymodel.protect.budget import flip, ms_ssim
from onlymymodel.protect.budget.distortion import SSIM_DEFINITION

SCHEMA = 2
# keys of the file beside the fields of `Results` and the header
DERIVED = {"schema", "ssim", "ms_ssim", "flip", "verification", "scores", "heldout_mean", "deployments"}
EXCLUSION_KEY = "remark"  # of a row in the file: the name of `Row.exclusion`


def results_to_json(results: Results) -> dict[str, Any]:
    """Return JSON values; `scores`, `heldout_mean` and `deployments` are derived, for readers of the file."""
    summaries = summarize_deployments(results)
    return {
        "schema": SCHEMA,
        **results.header,
        "ssim": SSIM_DEFINITION,
        "ms_ssim": ms_ssim.DEFINITION,
        "flip": flip.DEFINITION,
        **({"verification": DEFINITION} if any(row.matches for row in results.rows) else {}),
        "photos": results.photos,
        "labels": results.labels,
        "channels": results.channels,
        "runs": [asdict(run) for run in results.runs],
        "scores": [
            _score_to_json(row, version, channel)
            for row in results.rows
            for version in results.versions
            for channel in results.channels
        ],
        "heldout_mean": {
            version: {channel: results.heldout_mean(version, channel) for channel in results.channels}
            for version in results.versions
        },
        **({"deployments": [summary.to_json() for summary in summaries]} if summaries else {}),
        "rows": [_row_to_json(row) for row in results.rows],
        "failures": [asdict(failure) for failure in results.failures],
    }


def read_results(path: Path) -> Results:
    """Read a `results.json`.

    Raises:
        UserError: the file is missing, broken, inconsistent, or of another schema.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise UserError(f"{path} is of schema {content['schema']}; this version reads {SCHEMA}")
        names = {field.name for field in fields(Results)} - {"header"}
        body: dict[str, Any] = {name: content[name] for name in names}
        body["rows"] = [_row_fields(row) for row in body["rows"]]
        body["header"] = {key: value for key, value in content.items() if key not in names | DERIVED}
        results = msgspec.convert(body, Results, str_keys=True)
        _check(results)
        return results
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:  # ValidationError is a ValueError
        raise UserError(f"{path} is not a results file: {error}") from error


def _check(results: Results) -> None:
    """Check that results are complete, as the tables and the page need them.

    Raises:
        ValueError: they are not.
    """
    authorized = len(results.rows_of("authorized"))
    if authorized != 1:
        raise ValueError(f"it has {authorized} authorized models instead of one")
    for name, values in (("photos", results.photos), ("runs", results.runs)):
        if not values:
            raise ValueError(f"it has no {name}")
    if AS_WRITTEN not in results.channels:
        raise ValueError(f"it has no channel {AS_WRITTEN}")
    if len(set(results.versions)) != len(results.versions):
        raise ValueError("two versions of the photos have the same name")
    photos = len(results.photos)
    _check_count(results.labels, photos, "labels")
    for run in results.runs:
        _check_count(run.distortion, photos, f"distortions of {run.name}")
    for row in results.rows:
        _check_row(row, results)


def _check_row(row: Row, results: Results) -> None:
    photos = len(results.photos)
    _check_count(row.truths, photos, f"truths of {row.model}")
    if row.truth == "label" and not any(truth is not None for truth in row.truths):
        raise ValueError(f"{row.model} has no class for any label")
    tables: dict[str, Mapping[str, Mapping[str, Any]]] = {"answers to": row.answers}
    if row.objects is not None:
        tables["objects in"] = row.objects
    if row.matches is not None:
        _check_count(row.matches.persons, photos, f"persons of {row.model}")
        tables |= {"nearest persons of": row.matches.nearest, "genuine scores of": row.matches.genuine}
    for name, table in tables.items():
        for version, channel in product(results.versions, results.channels):
            values = table.get(version, {}).get(channel)
            if values is None:
                raise ValueError(f"{row.model} has no {name} {version!r} through {channel!r}")
            if isinstance(values, tuple):
                _check_count(values, photos, f"{name.split()[0]} of {row.model}")


def _check_count(values: Sized, photos: int, what: str) -> None:
    if len(values) != photos:
        raise ValueError(f"{len(values)} {what}, where there are {number_of(photos, 'photo')}")


def _score_to_json(row: Row, version: str, channel: str) -> dict[str, Any]:
    verification, correlations = row.verification(version, channel), attribute_tables.to_json(row, version, channel)
    return {
        **{"model": row.model, "role": row.role, "version": version, "channel": channel},
        **row.score(version, channel).to_json(),
        **({"verification": asdict(verification)} if verification else {}),
        **({"attributes": correlations} if correlations else {}),
    }


def _row_to_json(row: Row) -> dict[str, Any]:
    """Return JSON values, without what most models do not have.

    `msgspec.to_builtins` is no choice here: it leaves out defaults of a row that was read.
    """
    content = _rename(asdict(row), "exclusion", EXCLUSION_KEY)
    if row.matches is None:
        del content["matches"]
    if row.kind == "classes":
        del content["kind"]
    if row.objects is None:
        del content["objects"]
    if row.attributes is None:
        del content["attributes"]
    return content


def _row_fields(content: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a row by name; unknown keys are refused, since an exclusion must not get lost."""
    row = _rename(content, EXCLUSION_KEY, "exclusion")
    if unknown := row.keys() - {field.name for field in fields(Row)}:
        raise ValueError(f"a row has unknown keys: {', '.join(sorted(unknown))}")
    return row


def _rename(content: dict[str, Any], key: str, other: str) -> dict[str, Any]:
    """Return the content with one key renamed, in the same order."""
    return {other if name == key else name: value for name, value in content.items()}
