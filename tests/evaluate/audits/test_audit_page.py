"""Files of audits: the page, the Markdown and the JSON are complete, and untrusted text is never executed."""

import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from onlymymodel.evaluate.audits.page import (
    JSON,
    MARKDOWN,
    PAGE,
    Plot,
    Section,
    format_value,
    render,
    to_markdown,
    write_audits,
)
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow

HOSTILE = "<script>alert(1)</script>|\n## no"


def report(name: str = "gradient of a <b>net</b>") -> AuditReport:
    picture = np.full((2, 3, 1), 128, np.uint8)
    return AuditReport(
        release=name,
        adversary="DLG",
        rows=(
            AuditRow(HOSTILE, {"PSNR": 21.25, "said": "no signal", "rank": 3}, {"original": picture, "saved": picture}),
            AuditRow("b.png", {"PSNR": float("inf"), "SSIM": None}),
        ),
        controls=(AuditRow("another picture", {"PSNR": 7.0}),),
        assumptions=("labels are known", HOSTILE),
        summary={"mean PSNR": float("nan"), "recovered": True},
        settings={"seed": 0},
    )


def test_page_loads_nothing_and_runs_no_script() -> None:
    html = render([Section(report(), (Plot("<svg xmlns='http://www.w3.org/2000/svg'/>", "layers"),))], title="audit")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert re.search(r"default-src 'none'; img-src data:; style-src 'sha256-[^']+'", unescape(html))
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", html)


def test_page_shows_assumptions_controls_and_pictures_of_every_report() -> None:
    html = render([Section(report()), Section(report("weights"))], title="audit")
    for shown in (
        "labels are known",
        "control: <bdi>another picture",
        "no signal",
        "21.25",
        "What 2 releases reveal",
    ):
        assert shown in html
    assert html.count("data:image/png;base64,") == 4


def test_rows_with_different_values_share_a_table() -> None:
    assert Section(report()).columns == ["PSNR", "said", "rank", "SSIM"]


def test_markdown_tables_survive_hostile_names() -> None:
    text = to_markdown([report()])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) in (3, 6) for row in rows)
    assert "\n## no" not in text
    assert "labels are known" in text


def test_files_are_written_and_json_has_no_infinities(tmp_path: Path) -> None:
    write_audits(tmp_path, [Section(report())], title="audit", header={"command": "omm audit", "seed": 0})
    content = json.loads((tmp_path / JSON).read_text(encoding="utf-8"))
    (saved,) = content["reports"]
    assert content["command"] == "omm audit"
    assert saved["rows"][0]["PSNR"] == 21.25
    assert saved["rows"][1]["PSNR"] is None
    assert saved["summary"] == {"mean PSNR": None, "recovered": True}
    assert saved["controls"] == [{"name": "another picture", "PSNR": 7.0}]
    assert "pictures" not in saved["rows"][0]
    assert {path.name for path in tmp_path.iterdir()} == {JSON, MARKDOWN, PAGE}


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (True, "yes"), (1234567, "1234567"), (0.123456, "0.1235"), (float("inf"), "inf")]
)
def test_formatted_values_are_short(value: float | None, shown: str) -> None:
    assert format_value(value) == shown
