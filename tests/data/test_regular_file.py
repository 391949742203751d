"""Only regular files of limited size are read, and nothing is waited for."""

import os
import socket
from pathlib import Path

import pytest

from onlymymodel.data.image_io import MAX_PIXELS
from onlymymodel.data.manifest import sha256_file
from onlymymodel.data.regular_file import max_photo_bytes, open_regular, read_regular


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for data in (b"", b"abc", bytes(100_000)):
        path.write_bytes(data)
        assert read_regular(path) == read_regular(path, len(data)) == data
        with open_regular(path) as file:
            assert file.read() == data


def test_a_file_that_grows_is_read_to_its_end_or_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "a", os.fstat
    path.write_bytes(b"abc")

    def grown(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        path.write_bytes(b"abc" * 1_000_000)
        return status

    monkeypatch.setattr(os, "fstat", grown)
    assert read_regular(path) == b"abc" * 1_000_000
    path.write_bytes(b"abc")
    with pytest.raises(OSError, match="the limit is 1,000"):
        read_regular(path, 1_000)


def test_other_kinds_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    os.mkfifo("pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("pipe", "folder", "socket", "/dev/zero", "gone"):
            for read in (open_regular, read_regular, sha256_file):
                with pytest.raises(OSError, match=r"not a regular file|No such (file|device)"):
                    read(Path(name))


def test_a_size_above_the_limit_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(OSError, match="4,398,046,511,104 bytes, the limit is 100"):
        read_regular(path, 100)
    with pytest.raises(OSError, match="the limit is"):
        read_regular(path, max_photo_bytes(MAX_PIXELS))


def test_links_are_followed_only_where_they_may_be(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "link") == b"abc"
    with pytest.raises(OSError, match="symbolic links"):
        read_regular(tmp_path / "link", follow_links=False)


def test_the_largest_photo_may_be_uncompressed() -> None:
    assert max_photo_bytes(MAX_PIXELS) > MAX_PIXELS * 4 * 2
