"""`omm evaluate`, `omm tune`, judges and workers on other machines read rows as they read files of the same bytes."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hostile import CONTEXT
from parquet_rows import portrait_bytes, write_rows
from stored import protect
from tuning import content_of, omm
from worker_contexts import context_named

from onlymymodel.cli.main import main
from onlymymodel.data.folder import scan
from onlymymodel.data.manifest import sha256
from onlymymodel.data.source import open_source
from onlymymodel.protect.batches import protect_batch
from onlymymodel.protect.context import PhotoSource
from onlymymodel.protect.remote_batches import BatchWorker, PhotoName, RemoteTask, WorkerPlan, read_row
from onlymymodel.protect.workers import cards

COUNT = 5
JUDGE = ["--heldout", "python:toys:others"]
EVALUATE = ["--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", *JUDGE, "--allow-python"]
MACHINE = ["--device", "cpu", "--quiet"]
TUNE = [
    *EVALUATE, *MACHINE, "--steps", "2", "--step-share", "1", "--views", "center", "--kappa", "0.5", "--shape", "even",
    "--highest", "4", "--sample", "3",
]  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Portraits in two Parquet files: some rows have a path, with a folder or not, and some have none."""
    pictures = [(portrait_bytes(index), name) for index, name in enumerate(("trip/0.png", "1.png", None))]
    write_rows(tmp_path / "rows" / "a.parquet", pictures, label=[0, 1, 2])
    write_rows(tmp_path / "rows" / "b.parquet", [(portrait_bytes(3), None), (portrait_bytes(4), "4.png")], label=[0, 1])
    return tmp_path / "rows"


@pytest.fixture
def photos(rows: Path, tmp_path: Path) -> Path:
    """A folder of the same bytes and names."""
    for entry in scan(open_source(rows)):
        if entry.status == "photo":
            path = tmp_path / "photos" / entry.relative
            path.parent.mkdir(parents=True, exist_ok=True)
            assert not isinstance(entry.file, Path)
            path.write_bytes(entry.file.read_all())
    return tmp_path / "photos"


def measured(folder: Path) -> dict[str, Any]:
    """Return the results of an evaluation without what says where and when it was made."""
    content: dict[str, Any] = json.loads((folder / "results.json").read_bytes())
    return {name: content[name] for name in ("photos", "labels", "scores", "heldout_mean")}


def by_photo(content: dict[str, Any], key: str) -> dict[str, Any]:
    return dict(sorted(zip(content["photos"], content[key], strict=True)))


def test_rows_are_evaluated_as_files(rows: Path, photos: Path, tmp_path: Path) -> None:
    found = []
    for source in (rows, photos):
        protected, out = tmp_path / "of" / source.name / "protected", tmp_path / "results" / source.name
        assert protect(source, protected) in (0, 1)
        words = ["evaluate", "--original", str(source), "--protected", str(protected), "--out", str(out)]
        assert main([*words, *EVALUATE, *MACHINE]) == 0
        found.append(measured(out))
        assert len(found[-1]["photos"]) == COUNT
        assert (out / "report.html").exists()
    assert by_photo(found[0], "labels") == by_photo(found[1], "labels")
    assert (found[0]["scores"], found[0]["heldout_mean"]) == (found[1]["scores"], found[1]["heldout_mean"])


def test_a_changed_row_is_not_what_was_protected(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protect(rows, tmp_path / "out")
    write_rows(rows / "b.parquet", [(portrait_bytes(5), None), (portrait_bytes(4), "4.png")])
    words = ["evaluate", "--original", str(rows), "--protected", str(tmp_path / "out"), "--out", str(tmp_path / "r")]
    assert main([*words, *EVALUATE, *MACHINE]) == 2
    assert "1 original is not the one that was protected: b/0000000" in capsys.readouterr().err


def test_labels_of_a_column_are_those_of_the_evaluation(rows: Path, tmp_path: Path) -> None:
    protect(rows, tmp_path / "out")
    words = ["evaluate", "--original", str(rows), "--protected", str(tmp_path / "out"), "--out", str(tmp_path / "r")]
    assert main([*words, *EVALUATE, *MACHINE, "--labels", "column:label"]) == 0
    found = by_photo(measured(tmp_path / "r"), "labels")
    assert found == {"1.png": 1, "4.png": 1, "a/0000002": 2, "b/0000000": 0, "trip/0.png": 0}


def test_judges_are_asked_about_rows(rows: Path, tmp_path: Path) -> None:
    assert protect(rows, tmp_path / "out", *JUDGE) in (0, 1)
    assert len(measured(tmp_path / "out")["photos"]) == COUNT
    assert main(["verify", str(tmp_path / "out"), "--allow-python", "--quiet"]) == 0


def test_rows_are_tuned_as_files(rows: Path, photos: Path, tmp_path: Path) -> None:
    """With a sample of all photos, since their order differs."""
    found = []
    for source in (rows, photos):
        out = tmp_path / f"tuned_{source.name}"
        assert omm("tune", str(source), "--out", str(out), *TUNE, "--sample", str(COUNT), "--per-image") in (0, 1)
        found.append(content_of(out))
    assert found[0]["points"] == found[1]["points"]
    assert sorted(found[0]["sample"]) == sorted(found[1]["sample"])


def test_a_worker_on_another_machine_reads_rows(rows: Path) -> None:
    entries = [entry for entry in scan(open_source(rows)) if entry.status == "photo"]
    data = [entry.file.read_all() for entry in entries if not isinstance(entry.file, Path)]
    names = tuple(
        PhotoName.of(entry, sha256(content), None, None) for entry, content in zip(entries, data, strict=True)
    )
    assert [Path(name.path).name for name in names] == ["a.parquet"] * 3 + ["b.parquet"] * 2
    task = RemoteTask(0, tuple(range(COUNT)), names)
    plan = WorkerPlan("worker_contexts:context_named", "usual", "cpu", tuple(cards(CONTEXT)), 2)
    found = [read_row(row)[2] for row in BatchWorker(asdict(plan)).protect(task.to_text())]
    expected = protect_batch([PhotoSource(content) for content in data], context_named("usual", "cpu"), None, 2)
    assert [file for file, _ in found] == [file for file, _ in expected]
    changed = RemoteTask(0, (0,), (PhotoName(names[0].path, "0" * 64, row=0),))
    ((_, record),) = (read_row(row)[2] for row in BatchWorker(asdict(plan)).protect(changed.to_text()))
    assert record.reason == "it changed during the run"
