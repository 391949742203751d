"""The warning about preprocessing that was neither given nor recorded, and the records of it."""

import json
from pathlib import Path

import pytest
from evaluating import QUICK, write_photos

from onlymymodel.cli.main import main
from onlymymodel.evaluate.results_file import read_results

BARE = "python:toys:bare?size=16&fit=squash"
ASSUMED = {BARE.partition("?")[0]: {"interpolation": "bicubic", "mean": "0,0,0", "std": "1,1,1"}}


def test_assumed_preprocessing_is_said_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, out = write_photos(tmp_path / "photos"), tmp_path / "out"
    models = ["--surrogate", "python:toys:theirs", "--heldout", "python:toys:others", "--allow-python"]
    words = ["protect", str(photos), "--out", str(out), "--authorized", BARE, *models, *QUICK]
    assert main(words) in (0, 1)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "assumed" in line]
    assert line.startswith("omm: python:toys:bare: ")
    assert "interpolation=bicubic&mean=0,0,0&std=1,1,1;" in line
    assert "add these options" in line
    assert json.loads((out / "run.json").read_bytes())["assumed"] == ASSUMED
    assert read_results(out / "results.json").header["assumed"] == ASSUMED

    evaluated = tmp_path / "e"
    words = ["evaluate", "--original", str(photos), "--protected", str(out), "--out", str(evaluated)]
    assert main([*words, "--heldout", "python:toys:others", "--allow-python", "--quiet"]) == 0
    assert "omm: python:toys:bare: " in capsys.readouterr().err
    assert read_results(evaluated / "results.json").header["assumed"] == ASSUMED


def test_nothing_is_said_where_nothing_is_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, out = write_photos(tmp_path / "photos"), tmp_path / "out"
    authorized = f"{BARE}&interpolation=bicubic&mean=0,0,0&std=1,1,1"
    models = ["--authorized", authorized, "--surrogate", "python:toys:theirs", "--allow-python"]
    assert main(["protect", str(photos), "--out", str(out), *models, *QUICK]) in (0, 1)
    assert "assumed" not in capsys.readouterr().err
    assert "assumed" not in json.loads((out / "run.json").read_bytes())


def test_models_says_what_is_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", BARE, "--allow-python"]) == 0
    assert "WARN  preprocessing: partly assumed" in capsys.readouterr().out
    assert main(["models", "python:toys:mine", "--allow-python"]) == 0
    assert "WARN" not in capsys.readouterr().out
