"""An evaluation as CSV, for programs and spreadsheets."""

import csv
import io

from onlymymodel.evaluate import attribute_tables, face_tables, language_tables, object_tables
from onlymymodel.evaluate.results import Results, Row, Run
from onlymymodel.evaluate.text import spreadsheet_text

Value = str | int | float | None


def to_csv(results: Results) -> str:
    """Return one line for each model, version and channel: every count, share and interval; shares in [0, 1].

    Text that a spreadsheet would take for a formula gets a leading apostrophe; what is not UTF-8 becomes `?`.
    """
    runs = {run.name: run for run in results.runs}
    lines = [
        _line(row, version, channel, runs.get(version))
        for row in results.rows
        for version in results.versions
        for channel in results.channels
    ]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _line(row: Row, version: str, channel: str, run: Run | None) -> dict[str, Value]:
    score = row.score(version, channel)
    line: dict[str, Value] = {
        "model": row.model,
        "role": row.role,
        "family": row.family,
        "kind": row.kind,
        "truth": row.truth,
        "remark": row.exclusion,
        "version": version,
        "epsilon": run.epsilon if run else 0.0,
        "recipe": run.recipe if run else "",
        "channel": channel,
        "photos": score.photos,
        "right": score.right,
        "failed": score.failed,
        "share": score.share,
        "share_low": score.interval[0],
        "share_high": score.interval[1],
        "readable": score.readable,
        "still_right": score.still_right,
        "kept": score.kept,
        "kept_low": score.kept_interval[0],
        "kept_high": score.kept_interval[1],
        "unprotected": score.unprotected,
        "sha256": row.sha256,
        **face_tables.csv_columns(row, version, channel),
        **object_tables.csv_columns(row, version, channel),
        **attribute_tables.csv_columns(row, version, channel),
        **language_tables.csv_columns(row, version, channel),
    }
    return {name: spreadsheet_text(value) if isinstance(value, str) else value for name, value in line.items()}
