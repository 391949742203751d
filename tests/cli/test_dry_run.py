"""`omm protect --dry-run` says what would be done, and writes nothing."""

import json
from pathlib import Path

import pytest
from PIL import Image
from toys import read_portrait

from onlymymodel.cli.main import main

MODELS = ["--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "--allow-python"]
QUICK = ["--recipe", "exact", "--steps", "6", "--step-share", "1", "--views", "center", "--kappa", "0.5"]
EPSILON = ["--epsilon", "16", "--shape", "even", "--device", "cpu", "--quiet"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    source = tmp_path / "photos"
    source.mkdir()
    for index in range(3):
        Image.fromarray(read_portrait(index)).save(source / f"{index}.png")
    (source / "raw.jxl").write_bytes(b"\xff\x0a" + bytes(60))
    (source / "notes.txt").write_text("notes")
    return source


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_would_be_done_is_what_is_done(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    protect = ["protect", str(photos), "--out", str(out), *MODELS, *QUICK, *EPSILON]
    assert main([*protect, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert not out.exists()
    assert (plan["photos"], plan["to_protect"], plan["done_before"]) == (3, 3, 0)
    assert plan["skipped"] == [{"photo": "raw.jxl", "reason": "not a supported format (JPEG XL)"}]
    assert sum(plan["passed_over"].values()) == 1
    assert plan["models"]["authorized"] == "python:toys:mine"
    assert plan["recipe"]["steps"] == 6
    assert plan["budget"]["epsilon"] == 16
    assert plan["seconds"] == pytest.approx(3 * plan["seconds_per_photo"])
    assert plan["seconds_per_photo"] > 0
    main(protect)
    (out / "1.png").unlink()  # has to be protected again
    before = files(tmp_path)
    capsys.readouterr()
    assert main([*protect, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert files(tmp_path) == before
    assert "done before  2 photos" in text
    assert "to protect   1 photo" in text
    assert "nothing was written" in text


def test_nothing_to_do_and_mistakes(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    protect = ["protect", str(photos), "--out", str(out), *MODELS, *QUICK, *EPSILON]
    main(protect)
    capsys.readouterr()
    assert main([*protect, "--dry-run"]) == 0
    assert "none: there is nothing to do" in capsys.readouterr().out
    assert main([*protect, "--dry-run", "--steps", "7"]) == 2
    assert "steps 6 there, 7 here" in capsys.readouterr().err


def test_the_strength_auto_is_said_to_be_chosen_photo_by_photo(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["protect", str(photos), "--out", str(tmp_path / "out"), *MODELS, *QUICK, "--device", "cpu", "--quiet"]
    assert main([*words, "--strength", "auto", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "strength     auto: chosen photo by photo, the weakest of low, medium and high that suffices" in text
    assert main([*words, "--strength", "high", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["auto_strength"] is False
