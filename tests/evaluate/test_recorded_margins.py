"""Margins through deployments: from the manifest to results.json and every table."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from evaluating import MINE, OTHERS, QUICK, THEIRS, write_photos
from records import record_with_margins
from results_toys import toy_results

from onlymymodel.cli.main import main
from onlymymodel.evaluate.markdown_tables import to_markdown
from onlymymodel.evaluate.recorded_margins import RecordedMargins, recorded_margins, summarize_margins
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.evaluate.score import Proportion
from onlymymodel.evaluate.terminal_table import to_text
from onlymymodel.protect.photo_record import PhotoManifest

MARGINS = {
    "jpeg-75": RecordedMargins(photos=3, kept=3, before=4.0, after=2.0, least=0.5, least_photo="b.png"),
    "mirror": RecordedMargins(photos=4, kept=3, before=5.0, after=3.0, least=-0.25, least_photo="a.png"),
}


def test_only_written_photos_and_what_was_read_before_count() -> None:
    records = [
        record_with_margins("a.png", "protected", half=(2.0, 1.0), mirror=(1.0, -1.0)),
        record_with_margins("b.png", "already-misread", half=(4.0, 0.5), mirror=(-1.0, -3.0)),
        record_with_margins("c.png", "unchanged", half=(4.0, -9.0)),
        replace(record_with_margins("d.png", "failed"), deployments=None),
    ]
    assert recorded_margins(records) == {
        "half": RecordedMargins(photos=2, kept=2, before=3.0, after=0.75, least=0.5, least_photo="b.png"),
        "mirror": RecordedMargins(photos=1, kept=0, before=1.0, after=-1.0, least=-1.0, least_photo="a.png"),
    }


def test_the_summary_names_the_least_deployment() -> None:
    summary = summarize_margins(MARGINS)
    assert summary is not None
    assert (summary.least_name, summary.mean, summary.kept) == ("mirror", 2.5, Proportion(6, 7))
    assert summary.describe() == (
        "as recorded when the photos were protected, the authorized model kept 85.7% of what it reads when clean "
        "through 2 deployments, with a margin of 2.5 in the mean and -0.25 at least (mirror, a.png)"
    )
    assert summarize_margins({}) is None


def test_tables_show_the_margins() -> None:
    toy = toy_results()
    results = replace(toy, runs=(replace(toy.runs[0], margins=MARGINS), toy.runs[1]))
    assert "a margin of 2.5 in the mean and -0.25 at least (mirror, a.png)" in " ".join(to_text(results).split())
    text = to_markdown(results)
    assert text.count("## Margins of") == 1
    assert "| mirror | 75.0% [30.1-95.4] (3/4) | 5.00 | 3.00 | -0.25 | `a.png` |" in text
    assert "at least (`mirror`)" in text


def test_a_run_with_judges_records_the_margins_of_its_manifest(tmp_path: Path) -> None:
    source, out = write_photos(tmp_path / "photos"), tmp_path / "out"
    models = ["--authorized", MINE, "--surrogate", THEIRS, "--heldout", OTHERS, "--allow-python"]
    keep = ["--keep-through", "mirror", "half"]
    assert main(["protect", str(source), "--out", str(out), *models, *QUICK, *keep, "--epsilon", "16"]) in (0, 1)
    records = PhotoManifest(out).load()
    (results,) = [read_results(path) for path in out.rglob("results.json")]
    margins = results.runs[0].margins
    assert set(margins) == {"mirror", "half"}
    for name, one in margins.items():
        promised = [record.promised[name] for record in records if record.output and name in record.promised]
        assert one.photos == len(promised) > 0
        assert one.after == pytest.approx(fmean(measured.after for measured in promised))
        assert one.least == min(measured.after for measured in promised)
