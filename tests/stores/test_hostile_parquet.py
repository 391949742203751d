"""Parquet files of strangers: memory does not grow with them, and what is wrong with them is said in one sentence."""

import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_rows import PICTURE, portrait_bytes, write_rows
from stored import protect

from onlymymodel.data.folder import scan
from onlymymodel.data.regular_file import read_regular
from onlymymodel.data.rows.parquet import ParquetTable
from onlymymodel.data.rows.scan import find_rows
from onlymymodel.errors import UserError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.parquet"
    write_rows(path, [(portrait_bytes(index), f"{index}.png") for index in range(3)], label=[0, 1, 2])
    return path


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "without its footer"])
def test_what_is_no_parquet_file_ends_the_run_in_one_sentence(
    kind: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = source.read_bytes()
    changed = {"empty": b"", "text": b"not a table", "truncated": data[:-100], "without its footer": data[:4]}[kind]
    source.write_bytes(changed)
    assert protect(source, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"omm: {source} cannot be used: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_changed_bytes_cause_no_other_errors(source: Path) -> None:
    """Every byte of the file may be another one: what is read is a value, or an error of the two kinds."""
    data, generator = source.read_bytes(), random.Random(0)
    failed = 0
    for _ in range(400):
        changed = bytearray(data)
        # half of them in the footer, whose length is in the last eight bytes
        start = 0 if generator.random() < 0.5 else len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        for _ in range(3):
            changed[generator.randrange(start, len(data))] = generator.randrange(256)
        source.write_bytes(changed)
        table = ParquetTable("a", source, None)
        try:
            assert all(path is None or isinstance(path, str) for path in table.paths())
            assert all(label is None or isinstance(label, int | str) for label in table.labels("label"))
            table.class_names("label")
            assert all(isinstance(table.read(row), bytes) for row in range(len(table)))
        except (OSError, UserError):
            failed += 1
        table.close()
    assert failed > 20


def peak_of_reading(path: Path, rows: range) -> int:
    """Return the largest number of bytes that pyarrow held while it read rows."""
    pool = pa.default_memory_pool()
    before, table = pool.bytes_allocated(), ParquetTable("a", path, None)
    largest = 0
    for row in rows:
        table.read(row)
        largest = max(largest, pool.bytes_allocated() - before)
    table.close()
    return largest


def test_memory_does_not_grow_with_a_row_group(tmp_path: Path) -> None:
    picture = bytes(1 << 20)
    rows = [{"bytes": picture + bytes([index]), "path": None} for index in range(48)]
    pq.write_table(pa.table({"image": pa.array(rows, PICTURE)}), tmp_path / "large.parquet", write_batch_size=1)
    assert pq.ParquetFile(tmp_path / "large.parquet").num_row_groups == 1
    assert peak_of_reading(tmp_path / "large.parquet", range(48)) < 8 * len(picture)


def test_memory_does_not_grow_with_repetitions_of_one_value(tmp_path: Path) -> None:
    picture = pa.array([bytes(4 << 20)]).dictionary_encode()
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), picture.dictionary)
    table = pa.table({"image": pa.StructArray.from_arrays([repeated], names=["bytes"])})
    path = tmp_path / "repeated.parquet"
    pq.write_table(table, path, dictionary_pagesize_limit=1 << 30, store_schema=False)
    assert path.stat().st_size < 1 << 20  # and 40 GB when it is read as a whole
    assert peak_of_reading(path, range(8)) < 8 * (4 << 20)


def test_more_rows_than_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "nulls.parquet"
    nothing = pa.StructArray.from_arrays([pa.nulls(1_000_000, pa.binary())], names=["bytes"])
    pq.write_table(pa.table({"image": nothing}), path, row_group_size=1_000_000)
    with pytest.raises(UserError, match=r"it claims 1,000,000 rows in [0-9,]+ bytes"):
        scan(find_rows(path) or path)


def test_a_long_path_is_refused(source: Path) -> None:
    write_rows(source, [(portrait_bytes(0), "a" * 5000)])
    with pytest.raises(UserError, match=r"image\.path has a text of more than 4096 characters"):
        scan(find_rows(source) or source)


@pytest.mark.parametrize(
    "path", ["/etc/a.png", "../a.png", "a/../../b.png", "C:\\a.png", "\\\\host\\a.png", "a//b.png", ""]
)
def test_paths_that_lead_elsewhere_are_not_used(path: str, source: Path) -> None:
    write_rows(source, [(portrait_bytes(0), path)])
    assert [str(entry.output) for entry in scan(find_rows(source) or source)] == ["a/0000000.png"]


def test_the_limit_of_bytes_is_that_of_files(source: Path) -> None:
    (first, *_) = scan(find_rows(source) or source)
    with pytest.raises(OSError, match="bytes, the limit is 100"):
        read_regular(first.file, 100)


def test_without_pyarrow_the_run_says_what_to_install(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    assert protect(source, tmp_path / "out") == 2
    said = "omm: rows of Parquet files need pyarrow: pip install 'onlymymodel[parquet]'\n"
    assert capsys.readouterr().err == said
