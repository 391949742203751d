"""Atomic writes under real errors: a full disk, Ctrl-C and kill -9."""

import contextlib
import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onlymymodel.data.atomic import remove_partials, write_atomic


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


@pytest.mark.parametrize("reason", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_syncs_no_folders_takes_files(
    reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As folders that VirtualBox shares, which only that can mount."""
    fsync = os.fsync

    def of_files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(reason, os.strerror(reason))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files_only)
    write_atomic(tmp_path / "a.png", b"new")
    assert (tmp_path / "a.png").read_bytes() == b"new"


def test_full_disk_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_atomic(path, b"old")
    with file_size_limit(10_000), pytest.raises(OSError, match="File too large"):
        write_atomic(path, bytes(1_000_000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.png"]


@pytest.mark.slow
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


def test_write_to_the_path_of_a_folder_fails(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "a.png", b"new")
    assert names(tmp_path) == ["a.png"]


@pytest.mark.slow
def test_kill_leaves_the_old_file_and_a_removable_partial(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_atomic(path, bytes(50_000_000))
    program = (
        "import sys; from pathlib import Path; from onlymymodel.data.atomic import write_atomic\n"
        "while True: write_atomic(Path(sys.argv[1]), bytes([1]) * 50_000_000)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.partial")) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait()
    data = path.read_bytes()
    assert data in (bytes(50_000_000), bytes([1]) * 50_000_000)
    partials = list(tmp_path.glob(".omm-*.partial"))
    assert len(partials) <= 1  # the kill may have come after the rename
    assert remove_partials(tmp_path) == partials
    assert names(tmp_path) == ["a.png"]


def test_only_regular_partial_files_are_removed(tmp_path: Path) -> None:
    for name in ("a.png.partial", "sub/b.png.partial", "a.png", "partial", "c.partial.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.partial").mkdir()
    (tmp_path / "link.partial").symlink_to(tmp_path / "a.png")
    assert remove_partials(tmp_path) == [tmp_path / "a.png.partial", tmp_path / "sub" / "b.png.partial"]
    assert names(tmp_path) == ["a.png", "c.partial.png", "folder.partial", "link.partial", "partial", "sub"]
    assert remove_partials(tmp_path / "nothing") == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / "deep").mkdir(parents=True)
    (victim / "a.png").write_bytes(b"precious")
    root = tmp_path / "out"
    (root / "sub").mkdir(parents=True)
    (root / "a.png").symlink_to(victim / "a.png")
    write_atomic(root / "a.png", b"new", root=root)
    assert not (root / "a.png").is_symlink()
    (root / "linked").symlink_to(victim)
    (root / "sub" / "linked").symlink_to(victim)
    for path in ("linked/a.png", "linked/deep/a.png", "linked/new/a.png", "sub/linked/a.png"):
        with pytest.raises(OSError, match="a symbolic link, which is not followed"):
            write_atomic(root / path, b"new", root=root)
    assert (victim / "a.png").read_bytes() == b"precious"
    assert names(victim) == ["a.png", "deep"]
    # what leads to the root may be a link: the user gave it
    (tmp_path / "to-out").symlink_to(root)
    write_atomic(tmp_path / "to-out" / "sub" / "b.png", b"new", root=tmp_path / "to-out")
    assert (root / "sub" / "b.png").read_bytes() == b"new"


@pytest.mark.parametrize("length", [248, 251, 255])
def test_names_as_long_as_the_system_allows(tmp_path: Path, length: int) -> None:
    name = "x" * (length - 4) + ".png"
    write_atomic(tmp_path / name, b"new")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o000])
def test_permissions_are_those_asked_for(tmp_path: Path, mode: int) -> None:
    write_atomic(tmp_path / "a.png", b"old")
    write_atomic(tmp_path / "a.png", b"new", mode=mode)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == mode
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "b.png", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "b.png").stat().st_mode) == 0o640
