"""`omm status` says what a run has done while it writes, and writes nothing."""

import json
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from evaluating import MINE, QUICK, write_photos
from evaluating import protect as protect_portraits
from hostile import files_of, protect, save_photo
from paths import ROOT
from patience import RUN_PATIENCE, wait_until

from onlymymodel.cli.main import main
from onlymymodel.data.folder_lock import LOCK, lock_folder, read_lock
from onlymymodel.errors import UserError
from onlymymodel.protect.photo_record import MANIFEST
from onlymymodel.protect.run_status import read_status
from onlymymodel.protect.shards import Shard


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(5):
        save_photo(tmp_path / "photos" / f"{index}.png", index)
    return tmp_path / "photos"


def status(capsys: pytest.CaptureFixture[str], out: Path, *flags: str) -> dict[str, Any]:
    assert main(["status", str(out), "--json", *flags]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_a_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_photos(tmp_path / "photos")
    out = protect_portraits(source, tmp_path / "out")
    (source / "new.png").write_bytes((source / "0.png").read_bytes())
    capsys.readouterr()
    before = files_of(out)
    found = status(capsys, out, "--last", "1")
    assert (found["counts"], found["photos"]) == ({"protected": 3}, 4)
    (run,) = found["runs"]
    assert (run["state"], run["process"], run["expected_end"]) == ("not running", None, None)
    assert [line["source"] for line in run["last"]] == ["sub/2.png"]
    assert main(["status", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "3 of 4 photos done: 3 protected" in printed
    assert "  protected        sub/2.png: 1 of 1 stand-ins" in printed
    assert files_of(out) == before


@pytest.mark.slow
def test_a_run_at_work_and_one_that_was_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_photos(tmp_path / "photos"), tmp_path / "out"
    models = ["--authorized", MINE, "--surrogate", "python:toys:slow", "--allow-python", "--batch-size", "1"]
    words = ["protect", str(source), "--out", str(out), *models, *QUICK, "--steps", "100"]
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "helpers")))
    process = subprocess.Popen(
        [sys.executable, "-m", "onlymymodel", *words],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: (out / MANIFEST).exists() or process.poll() is not None, RUN_PATIENCE)
        (run,) = status(capsys, out)["runs"]
        assert (run["state"], run["process"], run["computer"]) == ("running", process.pid, platform.node())
        assert (run["photos"], 1 <= run["done"] < 3) == (3, True)
        assert run["seconds_per_photo"] > 0
        assert run["expected_end"] > run["last_written"]
        assert main(["status", str(out)]) == 0
        assert "more take about" in capsys.readouterr().out
    finally:
        process.kill()
        process.wait()
    (run,) = status(capsys, out)["runs"]
    assert (run["state"], run["photos"], run["expected_end"]) == ("stopped", 3, None)


def test_shards(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    for number in (1, 3):
        protect(photos, out, shard=Shard(number, 3))
    found = status(capsys, out)
    assert [run["shard"] for run in found["runs"]] == ["1/3", "3/3"]
    assert found["photos"] == sum(run["done"] for run in found["runs"]) < 5
    assert main(["status", str(out)]) == 0
    assert "\nshard 3/3: " in capsys.readouterr().out


def test_a_run_on_another_computer_that_is_not_seen_at_work_is_not_called_stopped(photos: Path, tmp_path: Path) -> None:
    protect(photos, tmp_path / "out")
    holder = {"process": 1, "computer": "elsewhere", "since": "2026-01-01T00:00:00+00:00", "photos": 9, "offset": 0}
    (tmp_path / "out" / LOCK).write_text(json.dumps(holder))
    (found,) = read_status(tmp_path / "out", 0)
    assert (found.state, found.photos, found.remaining, found.expected_end) == ("unknown", 9, 4, None)


def test_a_torn_last_line_is_not_counted_and_a_photo_counts_once(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect(photos, out)
    lines = (out / MANIFEST).read_bytes()
    first = lines[: lines.index(b"\n") + 1]
    (out / MANIFEST).write_bytes(lines + first + first[:20])
    (found,) = read_status(out, 9)
    assert (found.done, len(found.last)) == (5, 6)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"process": 1}', b'{"process": 1e999, "since": "2026-01-01", "computer": ""}']
)
def test_a_strange_lock_is_no_run(content: bytes, photos: Path, tmp_path: Path) -> None:
    protect(photos, tmp_path / "out")
    (tmp_path / "out" / LOCK).write_bytes(content)
    assert read_status(tmp_path / "out", 0)[0].state == "not running"


def test_looking_at_a_lock_refuses_it_to_nobody(tmp_path: Path) -> None:
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.002):
            read_lock(tmp_path)

    observer = threading.Thread(target=look)
    observer.start()
    try:
        for _ in range(200):
            with lock_folder(tmp_path, photos=3):
                holder = read_lock(tmp_path)
                assert holder is not None
                assert (holder.holds, holder.process, holder.photos) == (True, os.getpid(), 3)
    finally:
        ended.set()
        observer.join()
    assert read_lock(tmp_path) is None


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"was not made by omm protect: it has no run\.json"):
        read_status(tmp_path, 3)


@pytest.mark.slow
def test_it_does_not_import_torch(photos: Path, tmp_path: Path) -> None:
    protect(photos, tmp_path / "out")
    script = "import sys; from onlymymodel.cli.main import main; main(sys.argv[1:]); assert 'torch' not in sys.modules"
    words = [sys.executable, "-c", script, "status", str(tmp_path / "out")]
    assert subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 0
