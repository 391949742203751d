import argparse
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from paths import HELPERS
from patience import PATIENCE, RUN_PATIENCE, wait_until
from PIL import Image
from toys import read_portrait

from onlymymodel.cli.main import main
from onlymymodel.data.manifest import Manifest
from onlymymodel.data.portraits import render
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.protect.attack.recipe import RECIPES, Recipe
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest

MODELS = [
    "--authorized",
    "python:toys:mine",
    "--surrogate",
    "python:toys:theirs",
    "python:toys:others",
    "--allow-python",
]
QUICK = [
    "--steps", "2", "--step-share", "1", "--views", "center", "--kappa", "0.5",
    "--epsilon", "16", "--quiet", "--device", "cpu",
]  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    source = tmp_path / "photos"
    source.mkdir()
    for index in range(3):
        Image.fromarray(read_portrait(index)).save(source / f"{index}.png")
    return source


def protect(source: Path, out: Path, *flags: str) -> int:
    return main(["protect", str(source), "--out", str(out), *MODELS, *QUICK, *flags])


def test_protect_then_verify(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert protect(photos, out) == 0
    assert "3 of 3 photos protected" in capsys.readouterr().out
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 0
    assert "3 protected files without a fault in what was checked" in capsys.readouterr().out
    (out / "1.png").write_bytes(b"spoiled")
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 1
    printed = capsys.readouterr().err
    assert "FAULT  1.png" in printed
    assert "2 faults in 3 protected files" in printed
    (out / "1.png").unlink()
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 1
    assert "1 fault in 3 protected files" in capsys.readouterr().err


def test_held_out_models_judge_the_written_files(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    models = ["--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "--allow-python"]
    command = ["protect", str(photos), "--out", str(out), *models, *QUICK, "--heldout", "python:toys:others"]
    assert main(command) == 0
    assert "judge" in capsys.readouterr().out
    results = read_results(out / "results.json")
    assert [row.role for row in results.rows] == ["authorized", "surrogate", "held-out"]
    assert results.authorized.score("out").right == len(results.photos) == 3
    assert "python:toys:others" in (out / "report.html").read_text()
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 0
    assert main([*command, "python:toys:theirs"]) == 2
    assert "took part" in capsys.readouterr().err


def test_a_failed_photo_is_exit_code_1(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "text.jpg").write_text("hello")
    assert protect(photos, tmp_path / "out") == 1
    assert "1 failed" in capsys.readouterr().out


def test_labels_by_csv(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n0.png,1\n2.png,0\n")
    protect(photos, tmp_path / "out", "--labels", str(table))
    records = PhotoManifest(tmp_path / "out").by_source()
    assert [(records[name].label, records[name].label_source) for name in ("0.png", "2.png")] == [
        (1, "given"), (0, "given"),
    ]  # fmt: skip
    assert records["1.png"].label_source == "authorized model's clean answer"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "--authorized"),
        (["--authorized", "python:toys:mine", "--allow-python"], "--surrogate"),
        ([*MODELS, "--authorized", "zoo:identity-residul"], "did you mean"),
        ([*MODELS, "--surrogate", "nonsense"], "has no scheme"),
        ([*MODELS, "--surrogate", "python:toys:mine"], "is the authorized model itself"),
        ([*MODELS, "--surrogate", "python:toys:theirs"], "named twice"),
        ([*MODELS, "--surrogate", "python:toys:blind"], "NaN"),
        (["--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs"], "--allow-python"),
        ([*MODELS, "--labels", "no-such.csv"], "no-such.csv"),
        ([*MODELS, "--device", "abacus"], "abacus"),
        ([*MODELS, "--epsilon", "4", "--strength", "low"], "give one"),
        ([*MODELS, "--epsilon", "-1"], "budget"),
        ([*MODELS, "--ssim", "1.5"], "ssim must be between 0 and 1"),
        ([*MODELS, "--luma", "300"], "luma must lie between 0 and 255 steps, not 300"),
        ([*MODELS, "--smooth", "-1"], "smooth must be between"),
        ([*MODELS, "--views", "sideways"], "unknown view"),
        ([*MODELS, "--layer", "nowhere", "--recipe", "fmd"], "no layer"),
        ([*MODELS, "--run", "no-such.toml"], "no-such.toml"),
    ],
)
def test_mistakes_end_in_one_sentence_before_the_first_photo(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(["protect", str(photos), "--out", str(tmp_path / "out"), "--quiet", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("omm: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_all_invalid_labels_are_listed(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,label\nmissing.png,0\nlost.png,cat\n1.png,77\n")
    assert protect(photos, tmp_path / "out", "--labels", str(table)) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in ("missing.png", "lost.png"))
    table.write_text("file,label\n1.png,77\n2.png,cat\n")
    assert protect(photos, tmp_path / "out", "--labels", str(table)) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in ("77", "cat"))


def test_the_current_folder_may_be_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    assert protect(Path(), tmp_path / "out") == 0
    assert main(["protect", "file://", "--out", "x", *MODELS]) == 2
    assert "file:// names no folder: write it as in file:///photos" in capsys.readouterr().err


def test_a_missing_source_is_exit_code_2(tmp_path: Path) -> None:
    assert protect(tmp_path / "nowhere", tmp_path / "out") == 2


def test_two_sources_with_one_output_name(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.open(photos / "0.png").save(photos / "0.bmp")
    assert protect(photos, tmp_path / "out") == 2
    assert "0.bmp and 0.png" in capsys.readouterr().err


def test_a_run_file_names_models_and_settings(photos: Path, tmp_path: Path) -> None:
    run_file = tmp_path / "run.toml"
    run_file.write_text(
        'authorized = "me"\nsurrogates = ["python:toys:theirs"]\nepsilon = 16\n'
        '[models]\nme = "python:toys:mine"\n[recipe]\nsteps = 3\nstep_share = 1.0\nviews = ["center"]\nkappa = 0.25\n'
    )
    command = ["protect", str(photos), "--run", str(run_file), "--allow-python", "--quiet", "--out"]
    main([*command, str(tmp_path / "out")])
    record = PhotoManifest(tmp_path / "out").load()[0]
    assert record.steps == 3
    assert record.linf == 16
    assert record.recipe_sha256 == Recipe(steps=3, step_share=1.0, views=("center",), kappa=0.25).sha256()
    main([*command, str(tmp_path / "other"), "--steps", "2", "--epsilon", "20"])  # flags win
    other = PhotoManifest(tmp_path / "other").load()[0]
    assert (other.steps, other.linf) == (2, 20)


def test_models_lists_and_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "zoo:identity-residual" in capsys.readouterr().out
    assert main(["models", "python:toys:mine", "--allow-python"]) == 0
    assert main(["models", "python:toys:blind", "--allow-python"]) == 1
    assert "FAIL  finite logits" in capsys.readouterr().out


@pytest.mark.slow
def test_ctrl_c_keeps_finished_photos_and_exits_130(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(3, 40):  # far more than are protected before the signal arrives
        Image.fromarray(render(index % 16, index % 7, index, 40)).save(photos / f"{index}.png")
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "onlymymodel", "protect", str(photos), "--out", str(out), "--authorized",
        "python:toys:mine", "--surrogate", "python:toys:slow", "--allow-python", *QUICK, "--steps", "20",
        "--batch-size", "1", "--json",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(HELPERS)}
    # a test run in the background ignores SIGINT and would hand that down
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    )

    def has_two_lines() -> bool:
        assert process.poll() is None
        return (out / MANIFEST).exists() and (out / MANIFEST).read_bytes().count(b"\n") >= 2

    wait_until(has_two_lines, RUN_PATIENCE)
    process.send_signal(signal.SIGINT)
    printed, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    content = json.loads(printed)
    assert content["exit_code"] == 130
    assert content["error"].startswith("stopped; finished work is kept")
    assert "stopped" in error
    assert "Traceback" not in error
    records = Manifest(out / MANIFEST).load()
    assert 2 <= len(records) < 40
    assert not list(out.rglob("*.partial"))
    assert main(["verify", str(out), "--allow-python", "--quiet", "--authorized", "python:toys:mine"]) == 1
    *faults, _ = capsys.readouterr().err.splitlines()  # only those that the run did not come to
    unfinished = sorted({f"{index}.png" for index in range(40)} - {record["source"] for record in records})
    assert [fault.partition(": ")[0].removeprefix("FAULT  ") for fault in faults] == unfinished
    assert all(": is in no line: " in fault for fault in faults)


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - {"fmd"}))
def test_every_recipe_but_fmd_needs_surrogates(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    words = ["protect", str(photos), "--out", str(tmp_path / "out"), "--authorized", "python:toys:mine"]
    assert main([*words, "--allow-python", "--recipe", recipe]) == 2
    assert "--surrogate URI" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("command", "kept"), [("protect", True), ("verify", False), ("status", False)])
def test_ctrl_c_says_that_work_is_kept_only_where_it_is(
    command: str, kept: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"onlymymodel.cli.{command}.run", interrupted)
    words = {"protect": ["photos", "--out", "x", "--preset", "photos"]}.get(command, ["folder"])
    assert main([command, *words]) == 130
    assert ("run the same command again to continue" in capsys.readouterr().err) is kept
