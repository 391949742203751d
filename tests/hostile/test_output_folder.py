"""An output folder that others have prepared: nothing outside it is touched, and one run at a time writes."""

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostile import CONTEXT, check_lines, files_of, protect, save_photo
from paths import HELPERS

from onlymymodel.data.folder_lock import LOCK, lock_folder
from onlymymodel.errors import UserError
from onlymymodel.evaluate.protected_folder import open_folders
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect import batches as batches_module
from onlymymodel.protect import run_record
from onlymymodel.protect.choices import Format
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest
from onlymymodel.surrogates.answer_cache import DATABASE_FILES, open_answer_cache


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    source = tmp_path / "photos"
    for index, name in enumerate(("0.png", "trip/1.png", "trip/deep/2.png")):
        save_photo(source / name, index)
    return source


@pytest.fixture
def out(photos: Path, tmp_path: Path) -> Path:
    protect(photos, tmp_path / "out")
    return tmp_path / "out"


def tamper(out: Path, **changes: Any) -> None:
    """Change the first line of the manifest."""
    first, *rest = (out / MANIFEST).read_text().splitlines()
    (out / MANIFEST).write_text("\n".join([json.dumps({**json.loads(first), **changes}), *rest, ""]))


@pytest.mark.parametrize("key", ["output", "source"])
@pytest.mark.parametrize("path", ["../victim.png", "trip/../../victim.png", "VICTIM", "..", "a\0b"])
def test_a_line_that_leads_out_of_the_folder_is_refused(
    key: str, path: str, photos: Path, out: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"precious")
    tamper(out, **{key: str(victim) if path == "VICTIM" else path})
    (photos / "0.png").write_bytes(b"no photo any more")  # so that its file is removed
    with pytest.raises(UserError, match=r"line 1 is not the record of a photo: .* leads out of the folder"):
        protect(photos, out)
    report = verify_folder(out, authorized="python:toys:mine", allow_python=True, progress=False)
    assert report.measured == ()
    assert "leads out of the folder, so that no file was checked" in report.faults[-1].reason
    with pytest.raises(UserError, match="leads out of the folder"):
        open_folders(photos, [out])
    assert victim.read_bytes() == b"precious"


def test_links_in_the_folder_are_not_followed(photos: Path, out: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / "deep").mkdir(parents=True)
    for name in ("1.png", "0.png"):
        (victim / name).write_bytes(b"precious")
    (out / "trip").rename(tmp_path / "elsewhere")
    (out / "trip").symlink_to(victim)
    (out / "0.png").rename(tmp_path / "same.png")
    (out / "0.png").symlink_to(tmp_path / "same.png")  # the same bytes, but not in the folder
    before = files_of(victim)
    faults = verify_folder(out, authorized="python:toys:mine", allow_python=True, progress=False).faults
    link = "cannot be read: a symbolic link, which is not followed"
    assert {("0.png", link), ("trip/1.png", link)} <= {(fault.file, fault.reason) for fault in faults}
    with pytest.raises(UserError, match="3 protected files are missing"):
        open_folders(photos, [out])
    summary = protect(photos, out)
    assert summary.counts == {"protected": 1, "failed": 2}
    records = PhotoManifest(out).by_source()
    assert "a symbolic link, which is not followed" in records["trip/1.png"].reason
    assert not (out / "0.png").is_symlink()
    assert files_of(victim) == before
    (out / "trip").unlink()
    assert protect(photos, out).counts == {"protected": 3}  # tried again
    check_lines(photos, out)


@pytest.mark.parametrize("name", [MANIFEST, "run.json", LOCK])
def test_own_files_that_are_links_are_refused(name: str, photos: Path, out: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    if (out / name).exists():
        (out / name).rename(victim)
    else:
        victim.write_bytes(b"precious")
    before = victim.read_bytes()
    (out / name).symlink_to(victim)
    with pytest.raises(UserError, match=r"cannot be (read|written)"):
        protect(photos, out)
    assert victim.read_bytes() == before


@pytest.mark.parametrize("name", DATABASE_FILES)
def test_a_database_of_answers_that_is_a_link_is_refused(name: str, out: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    (out / name).symlink_to(victim)
    with pytest.raises(UserError, match="is a symbolic link, which is not followed"):
        open_answer_cache(out).count_query(CONTEXT.authorized.card, "view", "image")
    assert victim.read_bytes() == b""


@pytest.mark.parametrize("name", [MANIFEST, "run.json"])
def test_a_pipe_in_place_of_an_own_file_does_not_block(name: str, photos: Path, out: Path) -> None:
    (out / name).unlink()
    os.mkfifo(out / name)
    with pytest.raises(UserError, match="not a regular file"):
        protect(photos, out)


@pytest.mark.parametrize("half", [".omm-0123456789abcdef.partial", LOCK])
def test_what_a_kill_before_run_json_leaves_is_not_a_strangers(half: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    out.mkdir()
    (out / half).write_bytes(b'{"schema"')
    assert protect(photos, out).counts == {"protected": 3}
    check_lines(photos, out)


def test_a_strangers_unfinished_file_stays(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    out.mkdir()
    (out / "download.partial").write_bytes(b"precious")
    with pytest.raises(UserError, match="not empty"):
        protect(photos, out)
    assert files_of(out) == {"download.partial": b"precious"}


def test_a_second_run_is_refused_while_the_first_is_at_work(photos: Path, out: Path) -> None:
    before = files_of(out)
    with lock_folder(out), pytest.raises(UserError, match=rf"in use by another run \(process {os.getpid()} on "):
        protect(photos, out)
    assert files_of(out) == before


@pytest.mark.slow
def test_of_two_runs_at_once_one_is_refused_and_no_line_is_false(photos: Path, tmp_path: Path) -> None:
    words = [
        "protect", str(photos), "--out", str(tmp_path / "two"), "--authorized", "python:toys:mine", "--surrogate",
        "python:toys:slow", "--allow-python", "--quiet", "--device", "cpu", "--steps", "8", "--views", "center",
        "--kappa", "0", "--epsilon", "32", "--push", "own",
    ]  # fmt: skip
    command = [sys.executable, "-m", "onlymymodel", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])}
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[1] for process in processes]
    refused = [text for text in outputs if "in use by another run (process " in text]
    # where one ended before the other began, both are right
    assert sorted(process.returncode for process in processes) == ([0, 2] if refused else [0, 0])
    check_lines(photos, tmp_path / "two")


def test_permissions_are_kept(photos: Path, tmp_path: Path) -> None:
    modes = {"0.png": 0o600, "trip": 0o700, "trip/1.png": 0o640, "trip/deep": 0o550, "trip/deep/2.png": 0o444}
    for name, mode in modes.items():
        (photos / name).chmod(mode)
    photos.chmod(0o750)
    before = os.umask(0o022)
    try:
        protect(photos, tmp_path / "private")
    finally:
        os.umask(before)
    kept = {name: stat.S_IMODE((tmp_path / "private" / name).stat().st_mode) for name in modes}
    assert kept == {**modes, "trip/deep": 0o750}  # the owner has to be able to write into the copy
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o750


@pytest.mark.parametrize("length", [248, 252, 255])
@pytest.mark.parametrize("format", ["png", "webp"])
def test_a_long_name_is_written_or_refused_before_anything_is_computed(
    length: int, format: Format, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "x" * (length - 4) + ".png"
    save_photo(photos / name, 7)
    job = {"context": replace(CONTEXT, format=format), "only": {name}}
    if format == "webp" and length == 255:
        monkeypatch.setattr(batches_module, "protect_photos", lambda *_: pytest.fail("computed"))
        assert protect(photos, tmp_path / "long", **job).counts == {"failed": 1}
        (record,) = PhotoManifest(tmp_path / "long").load()
        assert record.reason == "cannot be written: File name too long"
    else:
        assert protect(photos, tmp_path / "long", **job).counts == {"protected": 1}
    assert run_record.read(tmp_path / "long").source == "../photos"
