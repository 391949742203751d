"""Unread pictures are in the manifest, in the summary and in the exit code."""

from pathlib import Path

import pytest
from PIL import Image
from toys import read_portrait

from onlymymodel.cli.main import main
from onlymymodel.protect.photo_record import PhotoManifest

MODELS = ["--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "--allow-python"]
QUICK = [
    "--steps", "2", "--step-share", "1", "--views", "center", "--kappa", "0.5", "--epsilon", "16", "--quiet",
    "--device", "cpu",
]  # fmt: skip
JPEG_XL = b"\xff\x0a" + bytes(60)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    source = tmp_path / "photos"
    source.mkdir()
    frames = [Image.fromarray(read_portrait(index)) for index in range(3)]
    frames[0].save(source / "a.jfif", "JPEG", quality=95)
    frames[1].save(source / "moving.webp", save_all=True, append_images=frames[2:], lossless=True)
    (source / "notes.txt").write_text("notes")
    return source


def protect(source: Path, out: Path, *flags: str) -> int:
    return main(["protect", str(source), "--out", str(out), *MODELS, *QUICK, *flags])


def test_pictures_that_are_not_read_are_named(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(11):
        (photos / f"{index:02}.jxl").write_bytes(JPEG_XL)
    assert protect(photos, tmp_path / "out") == 1
    printed = capsys.readouterr().out
    assert "1 of 13 photos protected" in printed
    assert "12 skipped" in printed
    assert "  00.jxl and 10 more: not a supported format (JPEG XL)" in printed
    assert "  moving.webp: an animation: " in printed
    assert "1 other file ignored" in printed
    records = PhotoManifest(tmp_path / "out").by_source()
    assert {name: record.status for name, record in records.items()} == {
        **{f"{index:02}.jxl": "skipped" for index in range(11)}, "a.jfif": "protected", "moving.webp": "skipped",
    }  # fmt: skip
    assert records["10.jxl"].reason == "not a supported format (JPEG XL)"
    assert records["moving.webp"].reason.startswith("an animation: ")


def test_what_is_excluded_is_nobodys_concern(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "raw").mkdir()
    (photos / "raw" / "a.jxl").write_bytes(JPEG_XL)
    out, exclude = tmp_path / "out", ["--exclude", "raw", "--exclude", "*.webp"]
    assert protect(photos, out, *exclude, "--heldout", "python:toys:others") == 0
    printed = capsys.readouterr().out
    assert "1 of 1 photos protected" in printed
    assert "3 other files ignored" in printed
    assert list(PhotoManifest(out).by_source()) == ["a.jfif"]
    evaluate = ["evaluate", "--original", str(photos), "--protected", str(out), *MODELS, "--quiet", "--device", "cpu"]
    assert main([*evaluate, "--out", str(tmp_path / "evaluation")]) == 0
    assert protect(photos, out) == 2
    assert "was made with other" in capsys.readouterr().err


@pytest.mark.slow
def test_the_first_frame_is_protected_on_request(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert protect(photos, out, "--first-frame", "--heldout", "python:toys:others") == 0
    record = PhotoManifest(out).by_source()["moving.webp"]
    assert record.status == "protected"
    assert "only the first of 2 frames was used" in record.notes
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 0
    evaluate = ["evaluate", "--original", str(photos), "--protected", str(out), *MODELS, "--quiet", "--device", "cpu"]
    assert main([*evaluate, "--out", str(tmp_path / "evaluation")]) == 0
