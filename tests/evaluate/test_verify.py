import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from toys import read_portrait

from onlymymodel.data.manifest import Manifest, sha256_file
from onlymymodel.data.portraits import render
from onlymymodel.data.stores.store import LocalStore
from onlymymodel.errors import UserError
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.evaluate.verify_file import check_file
from onlymymodel.evaluate.verify_originals import MISSING
from onlymymodel.evaluate.verify_report import Fault, VerifyReport
from onlymymodel.evaluate.verify_surrogates import AskedSurrogates
from onlymymodel.protect import run_record
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.folder import Job, protect_folder
from onlymymodel.protect.photo import Context
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest
from onlymymodel.protect.seal import seal_folder
from onlymymodel.surrogates.load import load_model

RECIPE = make_recipe("default", steps=4, kappa=0.5, views=("center",))
MODELS = [load_model(f"python:toys:{name}", allow_python=True) for name in ("mine", "theirs", "others")]
CONTEXT = Context(MODELS[0], tuple(MODELS[1:]), Budget(16 / 255), RECIPE)
URIS = {"authorized": "python:toys:mine", "surrogates": ["python:toys:theirs", "python:toys:others"]}
AS_RECORDED = VerifyReport(
    checked=3,
    already_misread=0,
    without_source=0,
    faults=(),
    measured=(
        "3 files: the bytes, and the authorized model's answer and margin",
        "3 files against the originals: that they differ, by the recorded largest change, budget and region",
        "that every picture of the source has a line",
        "2 of 2 stand-ins: that they are misled as recorded",
    ),
    not_checked=(),
    proven=False,
    remark="the seal has no signature",
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three protected portraits beside their originals."""
    source = tmp_path / "photos"
    source.mkdir()
    for index in range(3):
        Image.fromarray(read_portrait(index)).save(source / f"{index}.png")
    summary = protect_folder(Job(source, tmp_path / "out", CONTEXT, URIS), progress=False)
    assert summary.all_protected
    seal_folder(tmp_path / "out")
    return tmp_path / "out"


def verify(out: Path, **changes: object) -> VerifyReport:
    return verify_folder(out, allow_python=True, progress=False, **changes)  # type: ignore[arg-type]


def faults(out: Path) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for fault in verify(out).faults:
        reasons.setdefault(fault.file, []).append(fault.reason)
    return reasons


def edit_lines(out: Path, *numbers: int, **fields: object) -> None:
    """Change fields of some lines of the manifest."""
    lines = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    for number in numbers:
        lines[number] |= fields
    (out / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))


def edit_run(out: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of run.json."""
    content = json.loads((out / run_record.NAME).read_text())
    change(content)
    (out / run_record.NAME).write_text(json.dumps(content))


def test_an_untouched_folder_is_as_the_manifest_says(out: Path) -> None:
    assert verify(out) == AS_RECORDED


def test_every_kind_of_spoiled_file_is_reported(out: Path) -> None:
    (out / "0.png").write_bytes((out / "0.png").read_bytes() + b"\0")
    Image.fromarray(render(1, 1, 1, 40)).save(out / "1.png")  # the original put back: read as before, but not our file
    (out / "2.png").unlink()
    (out / "stranger.png").write_bytes(b"")
    reasons = faults(out)
    assert reasons["0.png"][0] == "its bytes have changed"
    assert reasons["1.png"][0] == "its bytes have changed"
    assert reasons["2.png"] == ["is missing"]
    assert reasons["stranger.png"] == ["is not in the manifest"]
    report = verify(out)
    assert report.measured[:2] == (
        "2 files: the bytes, and the authorized model's answer and margin",
        "2 files against the originals: that they differ, by the recorded largest change, budget and region",
    )


def test_one_file_is_counted_in_the_singular(out: Path) -> None:
    (out / "0.png").unlink()
    (out / "1.png").unlink()
    assert verify(out).measured[:2] == (
        "1 file: the bytes, and the authorized model's answer and margin",
        "1 file against the originals: that they differ, by the recorded largest change, budget and region",
    )


def test_what_could_not_be_read_is_not_said_to_be_checked(out: Path) -> None:
    for index in range(3):
        (out / f"{index}.png").unlink()
    (out / "0.png").mkdir()
    report = verify(out)
    assert report.measured == ("that every picture of the source has a line",)
    assert [fault.reason for fault in report.faults] == [
        "cannot be read: not a regular file",
        "is missing",
        "is missing",
    ]


def test_an_original_that_cannot_be_decoded_here_is_a_fault(out: Path, tmp_path: Path) -> None:
    """As one of a format whose reader is an extra that is not installed on this machine."""
    original = tmp_path / "photos" / "1.png"
    original.write_bytes(b"GIF89a")
    edit_lines(out, 1, source_sha256=sha256_file(original))
    seal_folder(out)
    report = verify(out)
    (fault,) = report.faults
    assert fault.file == "1.png"
    assert fault.reason.startswith("its original cannot be read here, so that it was not compared with it: ")
    assert report.without_source == 1
    assert report.measured[1].startswith("2 files against the originals: ")


def test_a_link_that_leads_nowhere_is_no_missing_original(out: Path, tmp_path: Path) -> None:
    (tmp_path / "photos" / "broken.png").symlink_to("nowhere")
    line = {**Manifest(out / MANIFEST).load()[0], "source": "broken.png", "status": "failed", "output": None}
    with (out / MANIFEST).open("a") as file:
        file.write(json.dumps(line) + "\n")
    seal_folder(out)
    assert verify(out).not_checked == ()


def test_pixels_are_judged_not_only_hashes(out: Path) -> None:
    """Someone spoils a file and puts the new hash into the manifest: the models and the budget still tell."""
    spoiled = np.array(Image.open(out / "0.png"))
    spoiled[5, 5] = 255 - spoiled[5, 5] // 2
    spoiled[:20] = 255 - spoiled[:20]
    Image.fromarray(spoiled).save(out / "0.png")
    edit_lines(out, 0, output_sha256=sha256_file(out / "0.png"))
    assert any("more than 16/255" in what for what in faults(out)["0.png"])


def test_a_changed_or_missing_original(out: Path) -> None:
    source = out.parent / "photos"
    Image.fromarray(render(5, 5, 5, 40)).save(source / "0.png")
    (source / "1.png").unlink()
    report = verify(out)
    assert report.faults == (
        Fault("0.png", "the original has changed since it was protected"),
        Fault("1.png", MISSING),
    )
    assert report.without_source == 2
    assert report.measured[1].startswith("1 file against the originals: ")


def test_originals_that_have_moved(out: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    report = verify(out)
    assert report.without_source == 3
    (fault,) = report.faults
    assert fault == Fault("../photos", "the originals are not there: give --source SRC, or --without-originals")
    assert verify(out, source=tmp_path / "elsewhere") == AS_RECORDED
    with pytest.raises(UserError, match="does not exist"):
        verify(out, source=tmp_path / "nowhere")


def test_without_originals_says_what_was_not_checked(out: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "photos")
    report = verify(out, without_originals=True)
    assert (report.faults, report.without_source) == ((), 3)
    assert report.measured == (AS_RECORDED.measured[0], AS_RECORDED.measured[3])
    assert report.not_checked == (
        "the originals: whether files differ from them, by the recorded largest change, budget and region, and whether "
        "each of them has a line",
    )
    with pytest.raises(UserError, match="give one of --source and --without-originals"):
        verify(out, without_originals=True, source=out)


def test_pictures_without_a_line_and_lines_without_a_picture(out: Path, tmp_path: Path) -> None:
    Image.fromarray(render(5, 5, 5, 40)).save(tmp_path / "photos" / "new.png")
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    line = {**Manifest(out / MANIFEST).load()[0], "source": "gone.png", "status": "failed", "output": None}
    with (out / MANIFEST).open("a") as file:
        file.write(json.dumps(line) + "\n")
    seal_folder(out)
    report = verify(out)
    assert report.faults == (Fault("new.png", "is in no line: it was added after the run, or its line was removed"),)
    assert report.not_checked == ("1 line without a file, where the original is gone, too, such as gone.png",)


def test_a_folder_without_a_protected_file_is_no_success(out: Path) -> None:
    (out / MANIFEST).write_text("")
    for index in range(3):
        (out / f"{index}.png").unlink()
    seal_folder(out)
    reasons = faults(out)
    assert reasons.pop(MANIFEST) == ["has no line of a protected file, so that no file was checked"]
    assert set(reasons) == {"0.png", "1.png", "2.png"}  # they are in no line


def test_a_file_that_is_its_original_is_told_even_with_its_hash_in_the_manifest(out: Path, tmp_path: Path) -> None:
    shutil.copy(tmp_path / "photos" / "0.png", out / "0.png")
    edit_lines(out, 0, output_sha256=sha256_file(out / "0.png"))
    seal_folder(out)
    assert "it does not differ from its original" in faults(out)["0.png"]
    (reason,) = {fault.reason for fault in verify(out, without_originals=True).faults} - {
        "is recorded as protected, but misleads no stand-in that reads its original"
    }
    assert reason == "stand-in python:toys:theirs reads it, and is recorded as misled"


def test_surrogates_that_cannot_be_asked_are_named(out: Path) -> None:
    edit_run(out, lambda content: content["models"].update(surrogates=["python:toys:theirs", "python:toys:nobody"]))
    seal_folder(out)
    report = verify(out)
    assert report.faults == ()
    assert report.measured[3] == "1 of 2 stand-ins: that they are misled as recorded"
    (sentence,) = report.not_checked
    assert sentence.startswith("stand-in python:toys:others: ")
    moved = verify(out, surrogates=["python:toys:others", "python:toys:theirs"])
    assert (moved.measured, moved.not_checked) == (AS_RECORDED.measured, ())
    one = verify(out, surrogates=["python:toys:others"])
    assert one.not_checked == ("stand-in python:toys:theirs: it was not named",)
    with pytest.raises(UserError, match="has the weights of no stand-in"):
        verify(out, surrogates=["python:toys:left_is_brighter"])
    alone = verify(out, ask_surrogates=False)
    assert (alone.measured, alone.not_checked) == (AS_RECORDED.measured[:3], ("the stand-ins, as was asked for",))
    edit_run(out, lambda content: content["models"].update(surrogates=["python:toys:theirs", "python:toys:mine"]))
    seal_folder(out)
    assert verify(out).not_checked == ("stand-in python:toys:others: it has other weights than that of the run",)


def test_a_status_without_ground_is_a_fault(tmp_path: Path) -> None:
    """A photo that no surrogate read before, whose line says `protected`."""
    source = tmp_path / "misread"
    source.mkdir()
    Image.fromarray(render(1, 1, 1, 40)).save(source / "1.png")
    folder = tmp_path / "other"
    summary = protect_folder(Job(source, folder, CONTEXT, URIS), progress=False)
    seal_folder(folder)
    assert dict(summary.counts) == {"already-misread": 1}
    report = verify(folder)
    assert (report.faults, report.checked, report.already_misread) == ((), 1, 1)
    edit_lines(folder, 0, status="protected")
    seal_folder(folder)
    assert faults(folder) == {"1.png": ["is recorded as protected, but misleads no stand-in that reads its original"]}


def test_another_authorized_model_is_refused(out: Path) -> None:
    with pytest.raises(UserError, match="other weights"):
        verify(out, authorized="python:toys:theirs")


def test_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.json"):
        verify(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="broken"):
        verify(tmp_path)


def test_a_broken_manifest_line_is_named(out: Path) -> None:
    text = (out / MANIFEST).read_text()
    (out / MANIFEST).write_text("nonsense\n" + text)
    report = verify(out)
    assert report.faults[-1] == Fault(MANIFEST, "line 1 is not a JSON object, so that no file was checked")
    assert report.measured == ()


def test_a_reading_that_was_promised_and_is_lost_is_reported(tmp_path: Path) -> None:
    """The manifest claims that the mirrored file is read, which it is not."""
    source = tmp_path / "photos"
    source.mkdir()
    flat = np.full((16, 16, 3), 120, np.uint8)
    flat[:, :8] = 124
    Image.fromarray(flat).save(source / "0.png")
    models = [load_model(f"python:toys:{name}", allow_python=True) for name in ("left_is_brighter", "theirs")]
    context = Context(models[0], (models[1],), Budget(2 / 255), make_recipe("exact", steps=2, kappa=0.1))
    protect_folder(
        Job(source, tmp_path / "out", context, {"authorized": "python:toys:left_is_brighter", "surrogates": []}),
        progress=False,
    )
    (line,) = Manifest(tmp_path / "out" / MANIFEST).load()
    line |= {"deployments": {"mirror": {"before": 1.0, "after": 1.0}, "jpeg-50": {"before": -1.0, "after": -1.0}}}
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(line) + "\n")
    (reason,) = faults(tmp_path / "out")["0.png"]
    assert reason.startswith("the authorized model misreads it through mirror (margin -")


def rewrite(out: Path, number: int, pixels: NDArray[np.uint8]) -> None:
    """Write other pixels to a protected file, and its new hash to the manifest."""
    Image.fromarray(pixels).save(out / f"{number}.png")
    edit_lines(out, number, output_sha256=sha256_file(out / f"{number}.png"))


def test_a_file_that_was_made_gray_is_a_fault_and_ends_no_check(out: Path) -> None:
    with Image.open(out / "0.png") as picture:
        rewrite(out, 0, np.asarray(picture.convert("L")))
    reasons = faults(out)
    assert "it is gray, and its original is not" in reasons["0.png"]
    assert set(reasons) == {"0.png", MANIFEST}  # the seal tells that the line has changed


def test_a_file_of_a_gray_photo_has_no_colors(out: Path) -> None:
    """WebP stores gray as three equal channels, so that three channels alone are no fault."""
    store, record = LocalStore(out), PhotoManifest(out).load()[0]
    with Image.open(out / "0.png") as picture:
        gray = np.asarray(picture.convert("L"))
    original = io.BytesIO()
    Image.fromarray(gray // 2).save(original, "png")
    colored = np.stack([gray, gray, np.where(gray < 255, gray + 1, gray)], axis=2)
    for pixels, is_fault in ((np.stack([gray] * 3, axis=2), False), (colored, True)):
        rewrite(out, 0, pixels)
        record = replace(record, output_sha256=sha256_file(out / "0.png"))
        checked = check_file(store, record, original.getvalue(), CONTEXT, AskedSurrogates({}, 2))
        reasons = [fault.reason for fault in checked.faults]
        assert ("it has colors, and its original is gray" in reasons) is is_fault


@pytest.mark.parametrize("recorded", [-5, None, 7])
def test_a_largest_change_that_is_not_the_recorded_one_is_a_fault(out: Path, recorded: int | None) -> None:
    measured = PhotoManifest(out).load()[0].linf
    edit_lines(out, 0, linf=recorded)
    said = "none" if recorded is None else f"{recorded}/255"
    assert faults(out)["0.png"] == [f"its largest change is {measured}/255, and its line says {said}"]


def test_hostile_lines_are_faults_of_their_files(out: Path) -> None:
    edit_lines(out, 0, objects=[])
    edit_lines(out, 1, deployments={"nosuch": {"before": 1.0, "after": 1.0}})
    reasons = faults(out)
    assert reasons["0.png"] == ["its line has objects, and the authorized model is no detector"]
    (reason,) = reasons["1.png"]
    assert reason.startswith("its deployments cannot be checked: unknown deployment 'nosuch'; ")
    assert "2.png" not in reasons
