"""`omm status` says what a run has done while it writes, and writes nothing."""

import json
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from evaluating import MINE, QUICK, write_photos
from evaluating import protect as protect_portraits
from hostile import files_of, protect, save_photo
from paths import ROOT
from patience import RUN_PATIENCE, wait_until

from onlymymodel.cli.main import main
from onlymymodel.data.folder import scan
from onlymymodel.data.folder_lock import LOCK, lock_folder, read_lock
from onlymymodel.errors import UserError
from onlymymodel.protect import folder_status
from onlymymodel.protect.folder_status import read_status
from onlymymodel.protect.merge import merge_shards
from onlymymodel.protect.photo_record import MANIFEST
from onlymymodel.protect.shards import Shard, shard_of


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
    """Shard 2/3 has not begun: its photos are among all, and it is named."""
    out = tmp_path / "out"
    for number in (1, 3):
        protect(photos, out, shard=Shard(number, 3))
    found = status(capsys, out)
    assert [run["shard"] for run in found["runs"]] == ["1/3", "3/3"]
    assert all(run["photos"] == run["done"] for run in found["runs"])
    assert (found["photos"], found["not_begun"], found["shard_counts"]) == (5, ["2/3"], [3])
    assert sum(found["counts"].values()) == sum(run["done"] for run in found["runs"]) == 5 - len(of(photos, 2, 3))
    assert main(["status", str(out)]) == 0
    printed = capsys.readouterr().out
    assert " of 5 photos done: " in printed
    assert "\nshard 3/3: " in printed
    assert printed.endswith("shard 2/3: not begun\n")


def of(photos: Path, number: int, count: int) -> list[Path]:
    """Return the photos of a shard."""
    return [path for path in photos.iterdir() if Shard(number, count).has(PurePosixPath(path.name))]


def test_merged_photos_count_for_the_shards_that_run_again(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for number in (1, 2):
        protect(photos, out, shard=Shard(number, 2))
    merge_shards(out)
    save_photo(photos / "new.png", 99)
    again = shard_of(PurePosixPath("new.png"), 2)
    protect(photos, out, shard=Shard(3 - again.number, 2))
    found = status(capsys, out)
    merged, other = found["runs"]
    assert (found["photos"], sum(found["counts"].values()), found["not_begun"]) == (6, 5, [str(again)])
    assert (merged["shard"], merged["photos"], merged["done"]) == (None, 6, 5)
    assert other["photos"] == other["done"] == len(of(photos, 3 - again.number, 2)) > 0
    assert main(["status", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "\nmerged before: 5 photos done: " in printed
    assert printed.endswith(f"shard {again}: not begun\n")
    protect(photos, out, shard=again)
    found = status(capsys, out)
    assert (found["photos"], sum(found["counts"].values()), found["not_begun"]) == (6, 6, [])
    assert all(run["photos"] == run["done"] for run in found["runs"] if run["shard"])


def test_shards_of_two_counts_are_said_to_be_such(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, aside = tmp_path / "out", tmp_path / "aside"
    protect(photos, out, shard=Shard(1, 2))
    protect(photos, aside, shard=Shard(1, 3))
    Shard(1, 3).folder(aside).rename(Shard(1, 3).folder(out))
    found = status(capsys, out)
    either = {path.name for shard in ((1, 2), (1, 3)) for path in of(photos, *shard)}
    assert (found["photos"], sum(found["counts"].values())) == (5, len(either))
    assert (found["shard_counts"], found["not_begun"]) == ([2, 3], [])
    assert main(["status", str(out)]) == 0
    both = (
        "shards of 2 parts (.omm-shard-1-of-2) and shards of 3 parts (.omm-shard-1-of-3): omm merge takes those of one"
    )
    assert both in capsys.readouterr().out


def test_a_photo_that_the_source_no_longer_has_counts_once(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    protect(photos, out)
    (photos / "0.png").unlink()
    found = status(capsys, out)
    assert (found["photos"], sum(found["counts"].values()), found["gone"]) == (5, 5, 1)
    assert main(["status", str(out)]) == 0
    assert " 5 of 5 photos done: " in (printed := capsys.readouterr().out)
    assert "\n  1 of them no longer in the source\n" in printed


def test_the_latest_record_of_a_photo_counts(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect(photos, out, shard=Shard(1, 1))
    merge_shards(out)
    before = read_status(out, 0).counts
    (photos / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    protect(photos, out, shard=Shard(1, 1))
    after = read_status(out, 0).counts
    assert (before["failed"], after["failed"], after.total()) == (0, 1, 5)


def test_the_source_is_listed_once_and_not_for_a_whole_run_at_work(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole, scans = tmp_path / "out", tmp_path / "whole", list[object]()
    for number in (1, 2, 3):
        protect(photos, out, shard=Shard(number, 3))
    protect(photos, whole)

    def counted(source: Path, **settings: Any) -> Any:
        scans.append(source)
        return scan(source, **settings)

    monkeypatch.setattr(folder_status, "scan", counted)
    read_status(out, 0)
    assert len(scans) == 1
    with lock_folder(whole, photos=8):
        found = read_status(whole, 0)
    assert (found.photos, found.runs[0].state, found.runs[0].remaining, len(scans)) == (8, "running", 3, 1)


def test_shards_of_a_source_that_is_not_there(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect(photos, out, shard=Shard(1, 2))
    photos.rename(tmp_path / "moved")
    found = read_status(out, 0)
    assert (found.photos, found.gone, found.absent) == (None, 0, (Shard(2, 2),))
    protect(tmp_path / "moved", out, shard=Shard(2, 2))
    with lock_folder(Shard(1, 2).folder(out), photos=5), lock_folder(Shard(2, 2).folder(out), photos=2):
        assert read_status(out, 0).photos == 7


def test_a_run_on_another_computer_that_is_not_seen_at_work_is_not_called_stopped(photos: Path, tmp_path: Path) -> None:
    protect(photos, tmp_path / "out")
    holder = {"process": 1, "computer": "elsewhere", "since": "2026-01-01T00:00:00+00:00", "photos": 9, "offset": 0}
    (tmp_path / "out" / LOCK).write_text(json.dumps(holder))
    (found,) = read_status(tmp_path / "out", 0).runs
    assert (found.state, found.photos, found.remaining, found.expected_end) == ("unknown", 9, 4, None)


def test_a_torn_last_line_is_not_counted_and_a_photo_counts_once(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect(photos, out)
    lines = (out / MANIFEST).read_bytes()
    first = lines[: lines.index(b"\n") + 1]
    (out / MANIFEST).write_bytes(lines + first + first[:20])
    (found,) = read_status(out, 9).runs
    assert (found.done, len(found.last)) == (5, 6)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"process": 1}', b'{"process": 1e999, "since": "2026-01-01", "computer": ""}']
)
def test_a_strange_lock_is_no_run(content: bytes, photos: Path, tmp_path: Path) -> None:
    protect(photos, tmp_path / "out")
    (tmp_path / "out" / LOCK).write_bytes(content)
    assert read_status(tmp_path / "out", 0).runs[0].state == "not running"


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
