import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostile import files_of
from paths import HELPERS
from PIL import Image
from toys import mine, others, theirs

from onlymymodel.cli.main import main
from onlymymodel.data.folder import scan
from onlymymodel.data.manifest import Manifest, sha256, sha256_file
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.protect import batches as batches_module
from onlymymodel.protect.attack import attack as attack_module
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.choices import RegionKind
from onlymymodel.protect.folder import Job, protect_folder
from onlymymodel.protect.folder_summary import Summary
from onlymymodel.protect.photo import Context, protect_photos
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest
from onlymymodel.protect.region import Region
from onlymymodel.protect.seal import NAME as SEAL
from onlymymodel.surrogates.classifier import Classifier, ModelCard

CONTEXT = Context(
    mine(), (theirs(), others()), Budget(16 / 255), make_recipe("default", steps=4, kappa=0.5, views=("center",))
)
URIS = {"authorized": "python:toys:mine", "surrogates": ["python:toys:theirs", "python:toys:others"]}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven portraits of two sizes in two folders, and what else lies about in a folder."""
    source = tmp_path / "photos"
    (source / "trip").mkdir(parents=True)
    for index in range(7):
        parent = source / "trip" if index % 2 else source
        Image.fromarray(render(index, index, index, 40 if index < 5 else 48)).save(parent / f"{index}.png")
    (source / "notes.txt").write_text("not a photo")
    return source


def run(source: Path, out: Path, **changes: Any) -> Summary:
    job = Job(source, out, **{"context": CONTEXT, "uris": URIS, "batch_size": 2, **changes})
    return protect_folder(job, progress=False)


def lines_of(out: Path) -> list[dict[str, Any]]:
    """The manifest without the one field that no two runs share."""
    return [{k: v for k, v in record.items() if k != "seconds"} for record in Manifest(out / MANIFEST).load()]


def test_every_photo_has_one_line_and_the_tree_is_mirrored(photos: Path, tmp_path: Path) -> None:
    before = files_of(photos)
    summary = run(photos, tmp_path / "out")
    records = PhotoManifest(tmp_path / "out").load()
    assert summary.counts.total() == len(records) == 7
    assert summary.not_photos == 1
    assert {record.source for record in records} == {name for name in before if name.endswith(".png")}
    for record in records:
        if record.status == "protected":
            assert record.output == record.source
            assert sha256_file(tmp_path / "out" / record.output) == record.output_sha256
    assert files_of(photos) == before


def test_a_part_of_a_folder_is_protected_as_if_the_rest_were_not_there(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"no photo")
    part = {"0.png", "trip/3.png", "4.png"}
    assert run(photos, tmp_path / "part", only=part).counts.total() == 3
    for name in files_of(photos).keys() - part:
        (photos / name).unlink()
    run(photos, tmp_path / "whole")
    assert lines_of(tmp_path / "part") == lines_of(tmp_path / "whole")
    part_files, whole_files = (files_of(tmp_path / name) for name in ("part", "whole"))
    assert {n: d for n, d in part_files.items() if n in part} == {n: d for n, d in whole_files.items() if n in part}
    assert part_files.keys() == whole_files.keys()


def test_a_finished_run_is_not_run_again(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(photos, tmp_path / "out")
    before = files_of(tmp_path / "out")
    monkeypatch.setattr(batches_module, "protect_photos", lambda *_: pytest.fail("computed again"))
    assert run(photos, tmp_path / "out") == first
    assert files_of(tmp_path / "out") == before


def test_a_photo_that_changed_or_was_damaged_is_done_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos, out)
    fresh = files_of(out)
    (out / "0.png").write_bytes(b"damaged")
    (out / "trip" / "1.png").unlink()
    run(photos, out)
    assert {n: d for n, d in files_of(out).items() if n != MANIFEST} == {
        n: d for n, d in fresh.items() if n != MANIFEST
    }
    Image.fromarray(render(9, 0, 0, 40)).save(photos / "0.png")
    run(photos, out)
    assert files_of(out)["0.png"] != fresh["0.png"]
    assert PhotoManifest(out).by_source()["0.png"].source_sha256 == sha256_file(photos / "0.png")


def test_another_label_is_another_photo(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos, out, labels={"0.png": 1})
    assert PhotoManifest(out).by_source()["0.png"].label == 1
    run(photos, out, labels={"0.png": 2})
    assert PhotoManifest(out).by_source()["0.png"].label == 2


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 3])
def test_a_killed_run_resumes_to_the_same_bytes(photos: Path, tmp_path: Path, kills: int) -> None:
    """SIGKILL at moments spread over the run, then resume; compared with an undisturbed run."""
    words = [
        "protect", str(photos), "--authorized", "python:toys:mine", "--surrogate", "python:toys:slow",
        "python:toys:others", "--allow-python", "--quiet", "--device", "cpu", "--batch-size", "2", "--steps", "8",
        "--epsilon", "16", "--kappa", "0.5", "--views", "center", "--out",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(HELPERS)}
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    assert main([*words, str(undisturbed)]) == 1  # two are misread already
    command = [sys.executable, "-m", "onlymymodel", *words, str(disturbed)]
    for kill in range(kills):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        _wait_for_lines(disturbed / MANIFEST, 1 + 2 * kill, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(_lines(disturbed / MANIFEST)) < 7
        # what a kill in mid-write leaves behind
        (disturbed / "9.png.partial").write_bytes(b"half a pho")
        with (disturbed / MANIFEST).open("ab") as manifest:
            manifest.write(b'{"source": "half a li')
    assert main([*words, str(disturbed)]) == 1
    expected, resumed = files_of(undisturbed), files_of(disturbed)
    assert lines_of(disturbed) == lines_of(undisturbed)
    assert expected.keys() == resumed.keys() > {MANIFEST, SEAL}
    for name in expected.keys() - {MANIFEST, SEAL}:  # the seal is of the seconds in the manifest, too
        assert resumed[name] == expected[name], name


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def _wait_for_lines(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 120
    while len(_lines(path)) < count:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_other_settings_do_not_mix_with_an_earlier_run(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out")
    before = files_of(tmp_path / "out")
    with pytest.raises(UserError, match=r"other settings \(batch-size 2 there, 3 here"):
        run(photos, tmp_path / "out", batch_size=3)
    assert files_of(tmp_path / "out") == before


def test_a_run_without_fingerprints_is_resumed(photos: Path, tmp_path: Path) -> None:
    """The hash of the settings is what it was; weights that are known now, a family's other name do not stop it."""
    run(photos, tmp_path / "out")
    earlier = (tmp_path / "out" / "run.json").read_bytes()
    content = json.loads(earlier)
    assert content["settings_sha256"] == sha256(json.dumps(content["settings"], sort_keys=True).encode())
    assert "weights" not in content["settings"]["authorized"]

    def seen_now(model: Classifier) -> Classifier:
        return Classifier(model.net, replace(model.card, weights="w", family="net"))

    now = replace(CONTEXT, authorized=seen_now(mine()), surrogates=(seen_now(theirs()), seen_now(others())))
    run(photos, tmp_path / "out", context=now)
    assert (tmp_path / "out" / "run.json").read_bytes() == earlier
    run(photos, tmp_path / "new", context=replace(now, surrogates=()), only=())
    made = json.loads((tmp_path / "new" / "run.json").read_bytes())
    cards = [ModelCard.from_json(record["settings"]["authorized"]) for record in (content, made)]
    assert [card.weights for card in cards] == ["", "w"]
    assert made["settings"]["authorized"].pop("weights") == "w"
    assert made["settings_sha256"] == sha256(json.dumps(made["settings"], sort_keys=True).encode())


def test_a_strangers_folder_is_not_written_into(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "0.png").write_bytes(b"precious")
    with pytest.raises(UserError, match="not empty"):
        run(photos, tmp_path / "out")
    assert files_of(tmp_path / "out") == {"0.png": b"precious"}


@pytest.mark.parametrize("out", [".", "inside", ".."])
def test_output_and_source_do_not_overlap(photos: Path, out: str) -> None:
    before = files_of(photos)
    with pytest.raises(UserError, match="output folder"):
        run(photos, photos / out)
    assert files_of(photos) == before


def test_bad_files_end_in_a_status_and_the_run_continues(photos: Path, tmp_path: Path) -> None:
    good = run(photos, tmp_path / "good")
    (photos / "empty.jpg").touch()
    (photos / "text.jpg").write_text("hello")
    (photos / "cut.png").write_bytes((photos / "0.png").read_bytes()[:300])
    (photos / "folder.png").mkdir()
    (photos / "link.png").symlink_to(photos / "0.png")
    Image.new("RGB", (1, 1)).save(photos / "tiny.bmp")
    summary = run(photos, tmp_path / "out")
    status = {name: record.status for name, record in PhotoManifest(tmp_path / "out").by_source().items()}
    assert [status[name] for name in ("empty.jpg", "text.jpg", "cut.png")] == ["failed"] * 3
    assert [status[name] for name in ("folder.png", "link.png", "tiny.bmp")] == ["skipped"] * 3
    assert summary.counts["protected"] == good.counts["protected"]
    assert not summary.all_protected
    again = run(photos, tmp_path / "out")
    assert again == summary
    assert len(Manifest(tmp_path / "out" / MANIFEST).load()) == 13


def test_a_file_that_cannot_be_written_fails_alone(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos, out)
    reference = files_of(out)
    (out / "0.png").unlink()
    (out / "0.png").mkdir()  # a folder in the way
    summary = run(photos, out)
    record = PhotoManifest(out).by_source()["0.png"]
    assert record.status == "failed"
    assert "cannot be written" in record.reason
    assert record.output is None
    assert summary.counts["failed"] == 1
    assert not list(out.rglob("*.partial"))
    assert files_of(out)["trip/1.png"] == reference["trip/1.png"]
    (out / "0.png").rmdir()
    run(photos, out)  # tried again
    assert {n: d for n, d in files_of(out).items() if n != MANIFEST} == {
        n: d for n, d in reference.items() if n != MANIFEST
    }


@pytest.mark.slow
def test_too_little_memory_halves_the_batch(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure is injected: exhausting a machine's memory in a test would take its neighbors along."""
    run(photos, tmp_path / "reference")
    real, batch_sizes = protect_photos, []

    def cramped(sources: Any, *rest: Any) -> Any:
        batch_sizes.append(len(sources))
        if len(sources) > 1:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")
        return real(sources, *rest)

    monkeypatch.setattr(batches_module, "protect_photos", cramped)
    run(photos, tmp_path / "out")
    assert batch_sizes.count(2) == 3
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "reference")


def test_too_little_memory_for_all_the_people_on_a_photo_takes_fewer_at_once(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is injected, as above."""
    run(photos / "0.png", tmp_path / "reference", batch_size=8)
    real, batch_sizes = protect_photos, []

    def cramped(sources: Any, context: Any, on_step: Any, batch_size: int) -> Any:
        batch_sizes.append(batch_size)
        if batch_size > 2:
            raise MemoryError
        return real(sources, context, on_step, batch_size)

    monkeypatch.setattr(batches_module, "protect_photos", cramped)
    run(photos / "0.png", tmp_path / "out", batch_size=8)
    assert batch_sizes == [8, 4, 2]
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "reference")

    def full(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(batches_module, "protect_photos", full)
    assert run(photos / "0.png", tmp_path / "never", batch_size=8).counts == {"failed": 1}


def test_other_errors_are_not_taken_for_memory(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(batches_module, "protect_photos", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        run(photos, tmp_path / "out")


@pytest.mark.parametrize("kind", ["face", "mask"])
def test_an_error_of_the_program_ends_the_run_whatever_may_change(
    kind: RegionKind, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photo that tells such errors from those of one photo has neither a face nor a mask."""
    for path in photos.rglob("*.png"):
        mask = tmp_path / "masks" / path.relative_to(photos)
        mask.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as picture:
            Image.new("L", picture.size, 255).save(mask)

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(attack_module, "optimize", broken)
    region = Region(kind, no_face="image")
    masks = tmp_path / "masks" if kind == "mask" else None
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(photos, tmp_path / "out", context=replace(CONTEXT, region=region), masks=masks)


def test_a_single_photo_is_a_folder_of_one(photos: Path, tmp_path: Path) -> None:
    summary = run(photos / "0.png", tmp_path / "out")
    assert summary.counts.total() == 1
    assert files_of(tmp_path / "out")["0.png"]


def test_the_run_record_names_no_folder_of_this_machine(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out")
    text = (tmp_path / "out" / "run.json").read_text() + (tmp_path / "out" / MANIFEST).read_text()
    assert str(tmp_path) not in text
    assert json.loads((tmp_path / "out" / "run.json").read_text())["source"] == "../photos"


def test_entries_of_an_earlier_scan_are_not_scanned_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = scan(photos)
    monkeypatch.setattr("onlymymodel.protect.folder.scan", lambda *_: pytest.fail("scanned again"))
    assert run(photos, tmp_path / "out", scanned=entries).counts.total() == 7
