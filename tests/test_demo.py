from pathlib import Path

import pytest
from PIL import Image

from onlymymodel.cli.main import main
from onlymymodel.demo import BUNDLED
from onlymymodel.evaluate.html import data_uri
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.example import ExampleView, example, example_picture
from onlymymodel.protect.photo_record import PhotoManifest
from onlymymodel.surrogates import zoo


@pytest.mark.slow
def test_the_demo_protects_judges_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    command = ["demo", "--out", str(out), "--photos", "4", "--device", "cpu", "--quiet"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    records = PhotoManifest(out / "protected").load()
    assert [record.status for record in records] == ["protected"] * 4
    assert all(record.label_source == "given" for record in records)
    results = read_results(out / "results.json")
    assert [row.model for row in results.rows] == [BUNDLED.authorized, *BUNDLED.surrogates, *BUNDLED.heldout]
    assert results.authorized.score("protected").right == len(results.photos) == 4
    assert [row.model for row in results.independent()] == list(BUNDLED.heldout)
    for row in results.rows:
        assert row.model in printed
    page = (out / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 2_000_000
    shown: tuple[ExampleView, ...] = ("before", "after")
    for view in shown:
        assert data_uri(example_picture(view), "webp") in page
    for row in example()["channels"][0]["answers"]:
        assert row["model"] in page
    for record in records:
        assert record.source in page
        assert record.output is not None
        with Image.open(out / "protected" / record.output) as image:
            assert image.size == (192, 192)
    before = {path: path.read_bytes() for path in (out / "protected").rglob("*.png")}
    assert main(command) == 0  # again: nothing is computed or changed
    assert {path: path.read_bytes() for path in (out / "protected").rglob("*.png")} == before


def test_the_judges_of_the_demo_are_held_out() -> None:
    took_part = {BUNDLED.authorized, *BUNDLED.surrogates}
    assert not took_part & set(BUNDLED.heldout)
    parents = {name: zoo.read(name.removeprefix("zoo:"))[1]["parent"] for name in (*took_part, *BUNDLED.heldout)}
    assert len(set(parents.values())) == len(parents)


@pytest.mark.parametrize("other", ["holiday.png", "photos/holiday.png", "photos/000-amara-neutral.png"])
def test_a_folder_with_other_files_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], other: str) -> None:
    file = tmp_path / "mine" / other
    file.parent.mkdir(parents=True)
    Image.new("RGB", (192, 192), "red").save(file)
    before = file.read_bytes()
    assert main(["demo", "--out", str(tmp_path / "mine"), "--photos", "2", "--device", "cpu", "--quiet"]) == 2
    assert f"mine has {other}, which this demo did not write" in capsys.readouterr().err
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [file]
    assert file.read_bytes() == before


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_reported_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file" / "out"), "--device", "cpu", "--quiet"]) == 2
    assert f"cannot be written to: {tmp_path / 'file'} allows no new files" in capsys.readouterr().err
