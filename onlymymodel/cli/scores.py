"""Results of an evaluation as short JSON values; `results.json` has all of them."""

from typing import Any

from onlymymodel.evaluate import attribute_tables
from onlymymodel.evaluate.results import Results, Row


def scores(results: Results) -> list[dict[str, Any]]:
    """Return for each model how many photos it reads, or how its attributes correlate, by version and channel."""
    return [
        {
            "model": row.model,
            "role": row.role,
            "excluded": row.exclusion or None,
            "read": {
                version: {channel: _score(row, version, channel) for channel in row.answers[version]}
                for version in results.versions
            },
        }
        for row in results.rows
    ]


def _score(row: Row, version: str, channel: str) -> dict[str, Any]:
    if not row.counts_photos:
        return attribute_tables.to_json(row, version, channel)
    score = row.score(version, channel)
    return {"right": score.right, "photos": score.photos, "failed": score.failed}
