"""Photos, a network and the reports of tests that run `omm audit` and `omm protect-representation`."""

import json
from pathlib import Path
from typing import Any

from PIL import Image
from toys import small_cnn

from onlymymodel.data.portraits import render
from onlymymodel.evaluate.audits.columns import meaning
from onlymymodel.surrogates.classifier import Classifier

QUIET = ["--quiet", "--seed", "1"]


def reports(folder: Path) -> list[dict[str, Any]]:
    """Return the reports of a written audit, after checks of its files, controls and assumptions."""
    content = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    assert {"audit.html", "audit.md"} <= {path.name for path in folder.iterdir()}
    assert content["command"].startswith("omm ")
    assert all(report["controls"] and report["assumptions"] for report in content["reports"])
    decision = content["decision"]
    assert decision["verdict"]
    assert decision["advice"]
    for line in decision["table"]:
        assert all(
            line.get(column) is not None or column in line["notes"] for column in set(decision["columns"]) & {*line}
        )
    for report in content["reports"]:
        rows = [*report["rows"], *report["controls"], report["summary"]]
        names = {name for row in rows for name in row if name != "name"}
        assert {name for row in rows for name, value in row.items() if value is None} <= {*report["missing"]}
        assert not [name for name in names if meaning(name) is None]
    return list(content["reports"])


def write_people(source: Path) -> Path:
    """Write CLASS/PERSON/photo: two expressions of four people."""
    for person in range(4):
        for emotion in range(2):
            folder = source / f"feeling-{emotion}" / f"person-{person}"
            folder.mkdir(parents=True)
            for seed in range(2):
                Image.fromarray(render(person, emotion, seed, 48)).save(folder / f"{seed}.png")
    return source


def two() -> Classifier:
    """Two classes, as `python:test_audit_commands:two`."""
    return small_cnn(0, 2)
