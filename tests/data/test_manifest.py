"""Manifest: appended records are read back, even if the file is torn at its end."""

import contextlib
import hashlib
import json
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlymymodel.data.manifest import MAX_LINE, Manifest, parse_line, sha256, sha256_file
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


def test_appended_records_are_read_back(full: Manifest) -> None:
    assert full.load() == RECORDS
    assert [list(record) for record in full.load()] == [list(record) for record in RECORDS]
    text = full.path.read_bytes()
    assert text.count(b"\n") == 3
    assert "日本".encode() in text
    assert full.repair() == 0
    assert full.path.read_bytes() == text


def test_missing_file_has_no_records(manifest: Manifest) -> None:
    assert (manifest.load(), manifest.repair()) == ([], 0)
    assert not manifest.path.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes"])
def test_values_outside_json_are_refused_and_nothing_is_written(full: Manifest, value: Any) -> None:
    before = full.path.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        full.append({"source": "x", "value": value})
    assert full.path.read_bytes() == before


@pytest.mark.slow
def test_a_line_torn_at_any_byte_is_repaired(full: Manifest) -> None:
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


def test_zeros_after_a_power_failure_are_removed(full: Manifest) -> None:
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


def test_a_line_without_an_end_takes_no_memory(full: Manifest) -> None:
    with full.path.open("ab") as file:
        file.truncate(64 << 30)  # sparse: it takes no space on the disk
    tracemalloc.start()
    try:
        with pytest.raises(OSError, match="a line of more than"):
            full.load()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_LINE


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


def test_kill_loses_at_most_the_last_line(manifest: Manifest) -> None:
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


# `runtime.configure` makes the processor flush subnormal numbers to zero
numbers = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
undecodable = st.binary(max_size=40).map(lambda name: name.decode("utf-8", "surrogateescape"))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.text() | undecodable, json_values | undecodable, max_size=4), max_size=4))
def test_lines_are_read_back_as_they_were_appended(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    manifest = Manifest(tmp_path_factory.mktemp("lines") / "manifest.jsonl")
    for record in records:
        manifest.append(record)
    assert manifest.load() == records


def test_superseded_records_are_dropped_and_the_rest_keeps_its_order(full: Manifest) -> None:
    full.append({"note": "no source"})
    full.append({"note": "no source"})
    full.drop_superseded("source")
    assert full.load() == [RECORDS[2], RECORDS[1], {"note": "no source"}, {"note": "no source"}]
    before = full.path.stat().st_ino
    full.drop_superseded("source")
    assert full.path.stat().st_ino == before
    full.append({"source": "new"})
    assert full.load()[-1] == {"source": "new"}
    Manifest(full.path.with_name("none")).drop_superseded("source")
    assert not full.path.with_name("none").exists()


def test_dropping_superseded_records_takes_less_memory_than_the_file(manifest: Manifest) -> None:
    line = b'{"source":"%d","reason":"' + b"x" * 10_000 + b'"}\n'
    manifest.path.write_bytes(b"".join(line % number for number in (*range(1000), 0)))
    expected = b"".join(line % number for number in range(1000))
    tracemalloc.start()
    try:
        manifest.drop_superseded("source")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert manifest.path.read_bytes() == expected
    assert peak < len(expected) / 4


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": NaN}', b'{"a":"\\udcff"}', b'{"a":1e999}', b'{"a":1,"a":2}', b'{"a":123456789012345678901234567890}',
        b"[1]", b'{"a":"\xff"}', b'{"a":"x\ty"}', b'{"a":' + b"[" * 100_000, b"", b'{"a":1} x', b"\xef\xbb\xbf{}",
        b'{"a":1.10000000000000000001}', b'{"a":"\\ud83d\\ude00"}', b'{"a":18446744073709551616}', b'{"a":-0.0}\n',
    ],
)  # fmt: skip
def test_a_line_is_read_as_the_standard_library_reads_it(line: bytes) -> None:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        expected = json.loads(line.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        expected = None
    assert repr(parse_line(line)) == repr(expected if isinstance(expected, dict) else None)


def test_a_later_run_does_not_read_the_whole_manifest_to_append(manifest: Manifest) -> None:
    lines = b"".join(b'{"source": "%06d"}\n' % number for number in range(300_000))
    manifest.path.write_bytes(lines)
    tracemalloc.start()
    try:
        manifest.append({"source": "last"})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert manifest.path.read_bytes() == lines + b'{"source": "last"}\n'
    assert peak < 1 << 20  # bytes; the file has six times as many


@pytest.mark.parametrize("length", [10, (1 << 16) - 12, (1 << 16) - 11, 1 << 16, 200_000])
@pytest.mark.parametrize("complete", [True, False])
def test_a_last_line_of_any_length_is_repaired(manifest: Manifest, length: int, complete: bool) -> None:
    tail = b'{"a": "' + b"x" * length + (b'"}' if complete else b"")
    manifest.path.write_bytes(b"{}\n" + tail)
    assert manifest.repair() == (0 if complete else len(tail))
    assert manifest.path.read_bytes() == b"{}\n" + (tail + b"\n" if complete else b"")
