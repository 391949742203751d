"""The JSON form of an evaluation: `results.json`."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import msgspec

from onlymymodel.errors import UserError
from onlymymodel.evaluate import attribute_tables
from onlymymodel.evaluate.deployment_summary import summarize_deployments
from onlymymodel.evaluate.face_verification import DEFINITION
from onlymymodel.evaluate.results import Results, Row
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
        UserError: the file is missing, broken, or of another schema.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise UserError(f"{path} is of schema {content['schema']}; this version reads {SCHEMA}")
        names = {field.name for field in fields(Results)} - {"header"}
        body: dict[str, Any] = {name: content[name] for name in names}
        body["rows"] = [_row_fields(row) for row in body["rows"]]
        body["header"] = {key: value for key, value in content.items() if key not in names | DERIVED}
        return msgspec.convert(body, Results, str_keys=True)
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
