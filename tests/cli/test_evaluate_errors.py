"""Bad input of omm evaluate ends in one sentence."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from evaluating import MINE, OTHERS, evaluate, protect, write_photos
from PIL import Image

from onlymymodel.data.portraits import render


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def spoiled(photos: Path, tmp_path: Path, what: str) -> tuple[Path, Path, list[str]]:
    """A source, a protected folder and flags that something is wrong with."""
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    flags: list[str] = []
    if what == "lost file":
        (protected / "1.png").unlink()
    elif what == "new original":
        Image.fromarray(render(5, 0, 0, 40)).save(photos / "new.png")
    elif what == "lost original":
        (photos / "1.png").unlink()
    elif what == "other size":
        Image.fromarray(np.zeros((41, 40, 3), np.uint8)).save(protected / "1.png")
    elif what == "not a photo":
        (protected / "1.png").write_bytes(b"hello")
    elif what == "label missing":
        (tmp_path / "labels.csv").write_text("file,label\n0.png,0\n1.png,1\n")
        flags = ["--labels", str(tmp_path / "labels.csv")]
    elif what == "no labels":
        (tmp_path / "labels.csv").write_text("file,label\n")
        flags = ["--labels", str(tmp_path / "labels.csv")]
    elif what == "empty folder":
        shutil.rmtree(protected)
        protected.mkdir()
        flags = ["--authorized", MINE]
    elif what == "other authorized":
        flags = ["--authorized", OTHERS]
    elif what == "no folder":
        shutil.rmtree(protected)
    elif what == "unknown channel":
        flags = ["--channels", "jpeg76"]
    elif what == "same folder":
        flags = ["--out", str(protected / "inside" / ".." / ".." / "photos")]
    return photos, protected, flags


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("lost file", "1 protected file is missing: 1.png"),
        ("new original", "1 photo is not in its manifest: new.png"),
        ("lost original", "1 protected photo has no original: 1.png"),
        ("other size", "1.png: the protected photo is 40x41 pixels, its original 40x40"),
        ("not a photo", "1.png cannot be read"),
        ("label missing", "1 of 3 photos have no label: sub/2.png"),
        ("no labels", "3 of 3 photos have no label: 0.png, 1.png, sub/2.png"),
        ("empty folder", "is empty"),
        ("other authorized", "was made for python:toys:mine"),
        ("no folder", "is no folder of protected photos"),
        ("unknown channel", "unknown channel 'jpeg76'; did you mean"),
        ("same folder", "is, or is inside, the source"),
    ],
)
def test_bad_input_is_reported_in_one_sentence(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, words: str
) -> None:
    source, protected, flags = spoiled(photos, tmp_path, what)
    capsys.readouterr()
    assert evaluate(source, [protected], tmp_path / "e", *flags) == 2
    *warnings, error = capsys.readouterr().err.strip().splitlines()
    assert words in error
    changed = [warning for warning in warnings if "1 protected file changed since the run wrote the folder" in warning]
    assert changed == warnings
    assert len(warnings) == (what in ("other size", "not a photo"))


def test_mismatched_pairs_of_another_tool_are_reported(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(photos, theirs)
    flags = ("--authorized", MINE)
    (theirs / "0.png").rename(theirs / "x.png")
    assert evaluate(photos, [theirs], tmp_path / "e", *flags) == 2
    assert "1 photo has no protected version: 0.png" in capsys.readouterr().err
    shutil.copy(theirs / "x.png", theirs / "0.png")
    assert evaluate(photos, [theirs], tmp_path / "e", *flags) == 2
    assert "1 protected photo has no original: x.png" in capsys.readouterr().err
    (theirs / "x.png").rename(theirs / "0.bmp")
    assert evaluate(photos, [theirs], tmp_path / "e", *flags) == 2
    assert "0.bmp and 0.png" in capsys.readouterr().err


def test_a_folder_without_a_record_needs_an_authorized_model(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(photos, tmp_path / "theirs")
    assert evaluate(photos, [tmp_path / "theirs"], tmp_path / "e") == 2
    assert "--authorized" in capsys.readouterr().err


@pytest.mark.slow
def test_lpips_without_its_weights_is_reported_in_one_sentence(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    assert evaluate(photos, [protected], tmp_path / "e", "--lpips") == 2
    assert "LPIPS needs" in capsys.readouterr().err
