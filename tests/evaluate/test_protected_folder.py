"""The photos of an evaluation: all readable originals, whatever a manifest says of them, and no others."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from results_toys import Page
from toys import read_portrait

from onlymymodel.cli.main import main
from onlymymodel.data.folder import scan
from onlymymodel.data.image_io import MAX_PIXELS
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.evaluate.protected_folder import ProtectedFolder, read_pairs
from onlymymodel.evaluate.results import Results
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.protect.photo_record import PhotoManifest
from onlymymodel.protect.run_record import RunRecord
from onlymymodel.surrogates.load import load_black_box

MINE, THEIRS, OTHERS, MOODY = (f"python:toys:{name}" for name in ("mine", "theirs", "others", "moody"))
NAMES = ("0.png", "1.png", "2.png", "3.png")
MASKED = NAMES[:2]
QUICK = ["--steps", "2", "--step-share", "1", "--views", "center", "--kappa", "0.5", "--quiet", "--device", "cpu"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    source = tmp_path / "photos"
    source.mkdir()
    for index, name in enumerate(NAMES):
        Image.fromarray(read_portrait(index)).save(source / name)
    return source


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Masks for some of the photos."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for name in MASKED:
        Image.fromarray(np.full((40, 40), 255, np.uint8)).save(folder / name)
    return folder


def protect(source: Path, out: Path, *flags: str) -> Path:
    models = ["--authorized", MINE, "--surrogate", THEIRS, "--allow-python"]
    assert main(["protect", str(source), "--out", str(out), *models, *QUICK, "--epsilon", "16", *flags]) in (0, 1)
    return out


def evaluate(source: Path, protected: list[Path], out: Path, *flags: str, heldout: str = OTHERS) -> int:
    words = ["evaluate", "--original", str(source), "--protected", *map(str, protected), "--out", str(out)]
    return main([*words, "--heldout", heldout, "--allow-python", "--quiet", "--device", "cpu", *flags])


def judged(source: Path, protected: list[Path], out: Path, *flags: str) -> tuple[Results, str]:
    """The results, and the page's words."""
    assert evaluate(source, protected, out, *flags) == 0
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    return read_results(out / "results.json"), page.prose()


def clean_answers(source: Path) -> tuple[int, ...]:
    mine = load_black_box(MINE, allow_python=True)
    return tuple(int(mine.predict([np.asarray(Image.open(source / name))])[0].argmax()) for name in NAMES)


def test_a_photo_without_a_mask_is_judged_as_it_leaves(photos: Path, masks: Path, tmp_path: Path) -> None:
    folder = protect(photos, tmp_path / "b", "--region", str(masks))
    results, prose = judged(photos, [folder], tmp_path / "e")
    assert results.runs[0].statuses == {"protected": 2, "failed": 2}
    assert results.photos == NAMES
    assert results.labels == clean_answers(photos)
    assert [distortion.linf > 0 for distortion in results.runs[0].distortion] == [name in MASKED for name in NAMES]
    for row in results.rows:
        assert row.score("b").photos == 4
        assert row.answers["b"]["png"][2:] == row.answers["clean"]["png"][2:]
    assert "2 of 4 photos are protected." in prose


@pytest.mark.slow
def test_it_takes_no_photo_out_of_another_folder(photos: Path, masks: Path, tmp_path: Path) -> None:
    first, second = protect(photos, tmp_path / "a"), protect(photos, tmp_path / "b", "--region", str(masks))
    alone, _ = judged(photos, [first], tmp_path / "alone")
    both, prose = judged(photos, [first, second], tmp_path / "both")
    assert (both.photos, both.labels, both.runs[0]) == (alone.photos, alone.labels, alone.runs[0])
    for row, same in zip(both.rows, alone.rows, strict=True):
        assert row.score("a") == same.score("a")
        assert row.score("b").photos == 4
    assert "4 of 4 photos are protected in a, 2 of 4 photos are protected in b." in prose


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "value", "status"), [("--region", "face", "skipped"), ("--max-pixels", "1000", "failed")]
)
def test_photos_that_were_passed_over_are_still_read(
    photos: Path, tmp_path: Path, flag: str, value: str, status: str
) -> None:
    """Noise, which has no face. A held-out model that fails on a photo counts it in its denominator."""
    for index, name in enumerate(NAMES):
        noise = np.random.default_rng(index).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photos / name)
    folder = protect(photos, tmp_path / "p", flag, value)
    assert evaluate(photos, [folder], tmp_path / "e", heldout=MOODY) == 1
    results = read_results(tmp_path / "e" / "results.json")
    assert results.runs[0].statuses == {status: 4}
    assert results.photos == NAMES
    (moody,) = results.rows_of("held-out")
    assert (moody.score("clean").photos, moody.score("clean").failed) == (4, 1)
    assert results.authorized.score("p").right == 4


@pytest.mark.slow
def test_photo_by_photo_too_a_photo_without_a_mask_is_one_that_is_not_protected(
    photos: Path, masks: Path, tmp_path: Path
) -> None:
    models = ["--authorized", MINE, "--surrogate", THEIRS, "--heldout", OTHERS, "--allow-python"]
    words = ["--out", str(tmp_path / "t"), "--highest", "8", "--sample", "4", "--per-image", "--region", str(masks)]
    assert main(["tune", str(photos), *models, *QUICK, *words]) in (0, 1)
    states = {
        photo["photo"]: photo["state"] for photo in json.loads((tmp_path / "t" / "tune.json").read_text())["per_photo"]
    }
    assert [states[name] == "not protected" for name in NAMES] == [False, False, True, True]
    assert read_results(tmp_path / "t" / "protected" / "results.json").photos == NAMES


@pytest.mark.slow
def test_an_unreadable_original_is_in_no_figure_and_is_reported(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"no photo")
    folder = protect(photos, tmp_path / "p")
    results, prose = judged(photos, [folder], tmp_path / "e")
    assert results.photos == NAMES
    assert results.runs[0].statuses == {"protected": 4, "failed": 1}
    assert "4 of 5 photos are protected; 1 cannot be read, and is in no figure." in prose


def test_a_folder_of_unreadable_photos_is_an_error(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        (photos / name).write_bytes(b"no photo")
    folder = protect(photos, tmp_path / "p")
    capsys.readouterr()
    assert evaluate(photos, [folder], tmp_path / "e") == 2
    assert "has no photo that can be read" in capsys.readouterr().err


def test_a_given_label_holds_where_nothing_was_written(photos: Path, masks: Path, tmp_path: Path) -> None:
    labels = tuple((answer + 1) % 3 for answer in clean_answers(photos))
    rows = [f"{name},{label}" for name, label in zip(NAMES, labels, strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    flags = ("--labels", str(tmp_path / "labels.csv"))
    folder = protect(photos, tmp_path / "p", "--region", str(masks), *flags)
    results, _ = judged(photos, [folder], tmp_path / "e")
    assert results.labels == labels


def test_contradicting_labels_are_refused(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.csv").write_text(f"file,label\n1.png,{(clean_answers(photos)[1] + 1) % 3}\n")
    folders = [protect(photos, tmp_path / "a"), protect(photos, tmp_path / "b", "--labels", f"{tmp_path}/labels.csv")]
    capsys.readouterr()
    assert evaluate(photos, folders, tmp_path / "e") == 2
    assert "1.png was protected with different labels in different folders" in capsys.readouterr().err


@pytest.mark.slow
def test_an_original_that_was_replaced_is_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same size, so that nothing else tells the two pictures apart."""
    theirs = tmp_path / "theirs"
    shutil.copytree(photos, theirs)
    folder = protect(photos, tmp_path / "p")
    before = (photos / "1.png").read_bytes()
    Image.fromarray(render(7, 3, 7, 40)).save(photos / "1.png")
    capsys.readouterr()
    for folders in ([folder], [folder, theirs]):
        assert evaluate(photos, folders, tmp_path / "e") == 2
        message = capsys.readouterr().err
        assert f"{folder}: 1 original is not the one that was protected: 1.png; restore" in message
        assert len(message.strip().splitlines()) == 1
    assert evaluate(photos, [theirs], tmp_path / "e", "--authorized", MINE) == 0  # no record, nothing to hold it to
    (photos / "1.png").write_bytes(before)
    assert evaluate(photos, [folder], tmp_path / "e") == 0


def test_a_protected_file_that_was_replaced_is_named_and_judged_as_it_is(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = protect(photos, tmp_path / "p")
    shutil.copy(photos / "1.png", folder / "1.png")
    results, _ = judged(photos, [folder], tmp_path / "e")
    assert "1 protected file changed since the run wrote the folder; judged as on the disk now: 1.png" in caplog.text
    assert results.runs[0].distortion[1].linf == 0


@pytest.mark.slow
def test_a_replaced_original_can_be_protected_by_the_same_command(photos: Path, tmp_path: Path) -> None:
    """As the error message advises; a photo that was not protected is compared with its record, too."""
    (photos / "2.png").write_bytes(b"no photo")
    folder = protect(photos, tmp_path / "p")
    for name in ("1.png", "2.png"):
        Image.fromarray(render(7, 3, 7, 40)).save(photos / name)
    assert evaluate(photos, [folder], tmp_path / "e") == 2
    protect(photos, folder)
    results, _ = judged(photos, [folder], tmp_path / "e")
    assert [distortion.linf for distortion in results.runs[0].distortion] == [
        PhotoManifest(folder).by_source()[name].linf for name in NAMES
    ]


@pytest.mark.slow
def test_large_photos_are_read_as_far_as_a_run_allowed_them(tmp_path: Path) -> None:
    """One row of pixels more than other programs are asked to read."""
    (tmp_path / "photos").mkdir()
    size = (10_000, MAX_PIXELS // 10_000 + 1)
    Image.new("L", size).save(tmp_path / "photos" / "large.png", compress_level=1)
    photos, files = scan(tmp_path / "photos"), {"large.png": None}

    def first(*settings: Mapping[str, int] | None) -> tuple[int, ...]:
        runs = [None if values is None else RunRecord(values, "a", (), "", "") for values in settings]
        folders = [ProtectedFolder(str(index), tmp_path, files, {}, run) for index, run in enumerate(runs)]
        return next(read_pairs(photos, folders, {"large.png": 0})).original.shape

    assert first(None, {"max_pixels": MAX_PIXELS}, {"max_pixels": 2 * MAX_PIXELS}) == (*size[::-1], 1)
    for settings in (None, {}, {"max_pixels": MAX_PIXELS}, {"max_pixels": 1000}):
        with pytest.raises(UserError, match="too large"):
            first(settings)
