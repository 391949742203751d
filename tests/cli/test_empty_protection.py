"""A protection that shows nothing is not counted as one: photos misread already, judges that did not move."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import read_portrait

from onlymymodel.cli.main import main
from onlymymodel.data.portraits import render
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest
from onlymymodel.surrogates import zoo

THEIRS = ["--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "--allow-python"]
JUDGED = ["--heldout", "python:toys:others"]
QUICK = ["--steps", "2", "--step-share", "1", "--views", "center", "--kappa", "0.5", "--quiet", "--device", "cpu"]
DID_NOT_MOVE = "out: THE JUDGES DID NOT MOVE: they read "


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The surrogate reads `read.png` and misreads `misread.png`, as class 0 where the label is 1."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(read_portrait(1)).save(folder / "read.png")
    Image.fromarray(render(1, 1, 1, 40)).save(folder / "misread.png")
    return folder


def protect(photos: Path, *flags: str) -> int:
    out = photos.parent / "out"
    return main(["protect", str(photos), "--out", str(out), *THEIRS, *QUICK, "--epsilon", "16", *flags])


def test_a_photo_that_surrogates_misread_when_clean_is_written_and_counted_apart(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert protect(photos, *JUDGED) == 1
    printed = capsys.readouterr().out
    assert "1 of 2 photos protected" in printed
    assert "1 already-misread: written, but no stand-in reads the original" in printed
    records = PhotoManifest(tmp_path / "out").by_source()
    assert {name: record.status for name, record in records.items()} == {
        "misread.png": "already-misread", "read.png": "protected",
    }  # fmt: skip
    assert (tmp_path / "out" / "misread.png").is_file()
    (run,) = read_results(tmp_path / "out" / "results.json").runs
    assert run.statuses == {"protected": 1, "already-misread": 1}
    assert "1 `already-misread`" in (tmp_path / "out" / "results.md").read_text(encoding="utf-8")
    manifest = (tmp_path / "out" / MANIFEST).read_bytes()
    assert protect(photos, *JUDGED) == 1  # nothing is computed again
    assert (tmp_path / "out" / MANIFEST).read_bytes() == manifest


def test_judges_that_read_as_much_as_before_are_named_loudly(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a change of 1/255 the judge reads what it read."""
    assert protect(photos, *JUDGED, "--epsilon", "1") == 1
    assert DID_NOT_MOVE in capsys.readouterr().out
    words = ["evaluate", "--original", str(photos), "--protected", str(tmp_path / "out"), *JUDGED, "--allow-python"]
    assert main([*words, "--out", str(tmp_path / "e"), "--quiet", "--device", "cpu"]) == 0
    assert DID_NOT_MOVE in capsys.readouterr().out
    for name in ("results.md", "report.html"):
        assert "THE JUDGES DID NOT MOVE" in (tmp_path / "e" / name).read_text(encoding="utf-8")


def test_a_bundled_model_is_refused_where_it_knows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(photos / f"{index}.png")
    models = ["--authorized", "zoo:identity-residual", "--surrogate", "zoo:identity-plain"]
    judge = ["--heldout", "zoo:identity-mixer", "--quiet", "--device", "cpu"]
    refused = f"omm: zoo:identity-residual does not know these pictures: {zoo.LIMIT} (asked about 4 of these, "
    for command in ("protect", "tune"):
        assert main([command, str(photos), "--out", str(tmp_path / command), *models, *judge]) == 2
        error = capsys.readouterr().err
        assert error.startswith(refused)
        assert error.endswith(
            "; name the model that must still read these photos as the authorized one, or add --i-know\n"
        )
        assert not (tmp_path / command).exists()
    quick = ["--recipe", "exact", "--steps", "1", "--i-know"]
    assert main(["protect", str(photos), "--out", str(tmp_path / "known"), *models, "--quiet", *quick]) in (0, 1)
    error = capsys.readouterr().err
    assert error.startswith(refused)
    assert "; going on, since --i-know was given\n" in error
    assert len(PhotoManifest(tmp_path / "known").load()) == 4
    words = ["evaluate", "--original", str(photos), "--protected", str(photos), *models, *judge]
    assert main([*words, "--out", str(tmp_path / "e")]) == 0  # measured nevertheless
    assert capsys.readouterr().err.startswith(refused)
