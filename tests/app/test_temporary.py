"""Temporary folders of the page's servers: those of killed ones are removed, all others stay."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from onlymymodel.app.temporary import ABANDONED, LOCK, PREFIX, sweep, temporary_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")

SERVER = """
import sys, time
from pathlib import Path
from onlymymodel.app.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "source").write_bytes(b"an original")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def start(tmp_path: Path) -> tuple["subprocess.Popen[str]", Path]:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    server = subprocess.Popen([sys.executable, "-c", SERVER], env=environment, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, Path(server.stdout.readline().strip())


def end(server: "subprocess.Popen[str]") -> None:
    server.send_signal(signal.SIGKILL)
    server.communicate()


def test_what_a_killed_server_left_is_removed_and_a_running_ones_is_not(tmp_path: Path) -> None:
    (killed, left), (running, kept) = start(tmp_path), start(tmp_path)
    try:
        assert sweep() == 0
        end(killed)
        assert (left / "source").exists()
        assert sweep() == 1
        assert not left.exists()
        assert (kept / "source").exists()
    finally:
        end(running)


def test_a_folder_of_this_process_stays_until_it_is_left(tmp_path: Path) -> None:
    with temporary_folder() as folder:
        assert folder.parent == tmp_path
        assert sweep() == 0
        assert folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_only_own_folders_of_that_name_are_removed(tmp_path: Path) -> None:
    elsewhere, other = tmp_path / "elsewhere", tmp_path / "omm-other"
    for folder in (elsewhere, other):
        folder.mkdir()
        (folder / LOCK).touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{PREFIX}file").touch()
    young, old, odd = (tmp_path / f"{PREFIX}{name}" for name in ("young", "old", "odd"))
    for folder in (young, old, odd):
        folder.mkdir()
    (odd / LOCK).symlink_to(elsewhere / LOCK)
    past = time.time() - ABANDONED - 60
    os.utime(old, (past, past))  # of a version without locks
    assert sweep() == 1
    assert not old.exists()
    assert all(path.exists() for path in (young, odd, elsewhere / LOCK, other, tmp_path / f"{PREFIX}file"))
