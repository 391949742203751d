"""Atomic writes under real errors: a full disk, Ctrl-C and kill -9."""

import contextlib
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onlymymodel.data.atomic import sweep_partials, write_atomic


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let the system refuse bytes beyond `size` of any file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_write_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.png"
    for data in (b"first", b"second, and longer", b""):
        write_atomic(path, data)
        assert path.read_bytes() == data
    assert names(tmp_path) == ["a.png", "deep", "er"]


def test_full_disk_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_atomic(path, b"old")
    with file_size_limit(10_000), pytest.raises(OSError, match="File too large"):
        write_atomic(path, bytes(1_000_000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.png"]


def test_ctrl_c_in_the_middle_of_a_write(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_atomic(path, b"old")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.003)  # no disk takes 200 MB in that time
        with pytest.raises(KeyboardInterrupt):
            write_atomic(path, bytes(200_000_000))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.png"]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "a.png", b"new")
    assert names(tmp_path) == ["a.png"]


def test_kill_leaves_the_old_file_and_a_partial_that_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_atomic(path, bytes(50_000_000))
    program = (
        "import sys; from pathlib import Path; from onlymymodel.data.atomic import write_atomic\n"
        "while True: write_atomic(Path(sys.argv[1]), bytes([1]) * 50_000_000)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)])
    partial = tmp_path / "a.png.partial"
    deadline = time.monotonic() + 60
    while not partial.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait()
    data = path.read_bytes()
    assert data in (bytes(50_000_000), bytes([1]) * 50_000_000)
    swept = sweep_partials(tmp_path)
    assert swept in ([], [partial])  # the kill may have come after the rename
    assert names(tmp_path) == ["a.png"]


def test_sweep_takes_only_regular_partial_files(tmp_path: Path) -> None:
    for name in ("a.png.partial", "sub/b.png.partial", "a.png", "partial", "c.partial.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.partial").mkdir()
    (tmp_path / "link.partial").symlink_to(tmp_path / "a.png")
    assert sweep_partials(tmp_path) == [tmp_path / "a.png.partial", tmp_path / "sub" / "b.png.partial"]
    assert names(tmp_path) == ["a.png", "c.partial.png", "folder.partial", "link.partial", "partial", "sub"]
    assert sweep_partials(tmp_path / "nothing") == []
