"""The manifest: what is appended is read back, whatever tore its end off."""

import contextlib
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onlymymodel.data.manifest import Manifest, sha256, sha256_file
from onlymymodel.errors import UserError

RECORDS: list[dict[str, Any]] = [
    {"source": "b/ä.jpg", "status": "protected", "linf": 8 / 255, "note": "line\nbreak \u2028 日本"},
    {"source": "a.png", "status": "skipped", "reason": None, "nested": {"z": [1, 2.5], "a": True}},
    {"source": "b/ä.jpg", "status": "failed"},
]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return Manifest(tmp_path / "manifest.jsonl")


@pytest.fixture
def full(manifest: Manifest) -> Manifest:
    for record in RECORDS:
        manifest.append(record)
    return manifest


def test_what_is_appended_is_read_back(full: Manifest) -> None:
    assert full.load() == RECORDS
    assert [list(record) for record in full.load()] == [list(record) for record in RECORDS]
    text = full.path.read_bytes()
    assert text.count(b"\n") == 3
    assert "日本".encode() in text
    assert full.repair() == 0
    assert full.path.read_bytes() == text


def test_no_file_is_no_record(manifest: Manifest) -> None:
    assert (manifest.load(), manifest.by_source(), manifest.repair()) == ([], {}, 0)
    assert not manifest.path.exists()


def test_later_lines_win(full: Manifest) -> None:
    full.append({"environment": "no source here"})
    assert full.by_source() == {"b/ä.jpg": RECORDS[2], "a.png": RECORDS[1]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", "\ud800"])
def test_what_json_cannot_say_is_refused_and_nothing_written(full: Manifest, value: Any) -> None:
    before = full.path.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        full.append({"source": "x", "value": value})
    assert full.path.read_bytes() == before


def test_torn_at_every_byte(full: Manifest) -> None:
    whole = full.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for length in range(len(whole) + 1):
        full.path.write_bytes(whole[:length])
        ends = [sum(map(len, lines[: i + 1])) for i in range(3)]
        survivors = [record for record, end in zip(RECORDS, ends, strict=True) if end - 1 <= length]
        again = Manifest(full.path)
        assert again.load() == survivors
        again.append({"source": "new"})
        assert again.load() == [*survivors, {"source": "new"}]


def test_zeros_after_a_power_failure_are_cut(full: Manifest) -> None:
    whole = full.path.read_bytes()
    full.path.write_bytes(whole + bytes(100))
    assert full.repair() == 100
    assert full.path.read_bytes() == whole


@pytest.mark.parametrize("line", [b"{torn", b"[1]", b"", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_broken_line_elsewhere_is_named(full: Manifest, line: bytes) -> None:
    lines = full.path.read_bytes().splitlines(keepends=True)
    full.path.write_bytes(lines[0] + line + b"\n" + lines[1])
    with pytest.raises(UserError, match=r"manifest\.jsonl, line 2 is not a JSON object"):
        full.load()


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 5])
def test_full_disk_leaves_the_file_as_it_was(full: Manifest, room: int) -> None:
    before = full.path.read_bytes()
    with file_size_limit(len(before) + room), pytest.raises(OSError, match=r"No space left|File too large"):
        full.append({"source": "x" * 100})
    assert full.path.read_bytes() == before
    full.append({"source": "after"})
    assert full.load() == [*RECORDS, {"source": "after"}]


def test_kill_costs_at_most_the_last_line(manifest: Manifest) -> None:
    program = (
        "import sys; from pathlib import Path; from onlymymodel.data.manifest import Manifest\n"
        "manifest = Manifest(Path(sys.argv[1])); i = 0\n"
        "while True: manifest.append({'source': str(i), 'fill': 'x' * 5000}); i += 1"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(manifest.path)])
    deadline = time.monotonic() + 60
    while len(manifest.load()) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait()
    count = len(manifest.load())
    assert count >= 5
    manifest.append({"source": "resumed"})
    assert [record["source"] for record in manifest.load()] == [*map(str, range(count)), "resumed"]


def test_lines_are_plain_json(full: Manifest) -> None:
    lines = full.path.read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == RECORDS


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(range(256)) * 5000)
    assert sha256(path.read_bytes()) == sha256_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
