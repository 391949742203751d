"""One run at a time writes into a folder; a dead one holds nothing up."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from onlymymodel.data.folder_lock import LOCK, lock_folder
from onlymymodel.errors import UserError

HOLD = (
    "import sys, time; from pathlib import Path; from onlymymodel.data.folder_lock import lock_folder\n"
    "with lock_folder(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
)


def test_the_second_is_told_who_holds_it_and_may_follow(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        with pytest.raises(UserError) as caught, lock_folder(tmp_path):
            pass
        assert f"is in use by another run (process {os.getpid()} on {platform.node()}, since 20" in str(caught.value)
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), lock_folder(tmp_path):
        _ = 1 / 0
    with lock_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_lock_of_a_killed_process_is_stale(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == "held\n"
        with pytest.raises(UserError, match=rf"process {process.pid} on"), lock_folder(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / LOCK).exists()
    with lock_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"process": 1, "computer": "\x1b[31m"}', b"[]", b"\xff" * 9999])
def test_a_holder_that_names_itself_badly_holds_it_all_the_same(content: bytes, tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        (tmp_path / LOCK).write_bytes(content)
        with (
            pytest.raises(UserError, match=r"in use by another run \(which has only just begun\)"),
            lock_folder(tmp_path),
        ):
            pass


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).symlink_to(victim)
    with pytest.raises(UserError, match="cannot be written"), lock_folder(tmp_path / "out"):
        pass
    assert victim.read_bytes() == b"precious"
