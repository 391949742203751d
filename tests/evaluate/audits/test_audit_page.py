"""Files of audits: the page, the Markdown and the JSON are complete, and untrusted text is never executed."""

import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from onlymymodel.evaluate.audits.decision import Cell, Decision, Line
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

HOSTILE = "<script>alert(1)</script>|\n## no ![x](http://a) \x1b[2J \u202e \udcff"  # at last a byte that is not UTF-8


def report(name: str = "gradient of a <b>net</b>") -> AuditReport:
    picture = np.full((2, 3, 1), 128, np.uint8)
    return AuditReport(
        release=name,
        adversary="DLG",
        rows=(
            AuditRow(HOSTILE, {"PSNR": 21.25, "said": "no signal", "rank": 3}, {"original": picture, "saved": picture}),
            AuditRow("b.png", {"PSNR": float("inf"), "SSIM": None, "closest": HOSTILE}),
        ),
        controls=(AuditRow("another picture", {"PSNR": 7.0}),),
        assumptions=("labels are known", HOSTILE),
        summary={"mean PSNR": float("nan"), "recovered": True},
        settings={"seed": 0},
    )


DECISION = Decision(
    state="comes back",
    verdict=f"2 of 2 pictures come back {HOSTILE}",
    columns={"DLG": "mean SSIM of DLG", "accuracy": "of the task"},
    lines=(
        Line("defense none", "comes back", {"DLG": Cell(0.99, worst=True), "accuracy": Cell(None, "not measured")}),
        Line(HOSTILE, "nothing found", {"DLG": Cell(0.1, "below the mean picture", failed=True)}),
    ),
    advice=("send sums", HOSTILE),
    worse="a larger attack",
)


def test_page_and_markdown_begin_with_the_decision() -> None:
    page, text = render(DECISION, [Section(report())], title="audit"), to_markdown(DECISION, [report()])
    for written in (page, text):
        shown = ["NOT SAFE as is", "2 of 2 pictures", "send sums", "a larger attack", "mean SSIM of DLG", "DLG"]
        assert all(word in written for word in shown)
        assert written.index("NOT SAFE as is") < written.index("send sums") < written.index("labels are known")
        assert "not measured" in written
    assert "<strong>0.99</strong>" in page
    assert re.search(r"0\.1 <span[^>]*>failed</span><sup>2</sup>", page)
    assert "| comes back | **0.99** | - [1] |" in text
    assert "| nothing found | 0.1 failed [2] |  |" in text


def test_page_loads_nothing_and_runs_no_script() -> None:
    html = render(
        DECISION, [Section(report(), (Plot("<svg xmlns='http://www.w3.org/2000/svg'/>", "layers"),))], title="audit"
    )
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert re.search(r"default-src 'none'; img-src data:; style-src 'sha256-[^']+'", unescape(html))
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", html)


def test_page_shows_assumptions_controls_and_pictures_of_every_report() -> None:
    html = render(DECISION, [Section(report()), Section(report("weights"))], title="audit")
    for shown in (
        "labels are known",
        "control: <bdi>another picture",
        "no signal",
        "21.25",
        "2 releases, 1 adversary",
        "A dash means:",
    ):
        assert shown in html
    assert html.count("data:image/png;base64,") == 4


def test_rows_with_different_values_share_a_table() -> None:
    assert Section(report()).columns == ["PSNR", "said", "rank", "SSIM", "closest"]


def test_markdown_of_hostile_names_is_text_without_html_links_or_control_characters() -> None:
    text = to_markdown(DECISION, [report(HOSTILE)])
    rows = [line for line in text.split("\n") if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) in (3, 5, 7) for row in rows)
    assert "\n## no" not in text
    assert "<" not in text.replace("<code>", "").replace("</code>", "")
    assert "](" not in text
    assert not [sign for sign in text if not sign.isprintable() and sign != "\n"]  # it is printed, too
    assert "labels are known" in text
    assert "| `b.png` |" in text


def test_files_are_written_and_json_has_no_infinities(tmp_path: Path) -> None:
    write_audits(tmp_path, DECISION, [Section(report())], title="audit", header={"command": "omm audit", "seed": 0})
    content = json.loads((tmp_path / JSON).read_text(encoding="utf-8"))
    (saved,) = content["reports"]
    assert content["command"] == "omm audit"
    assert content["decision"]["table"][0]["notes"] == {"accuracy": "not measured"}
    assert saved["missing"]["SSIM"].startswith("no signal")
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
