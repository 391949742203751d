"""Rows of Parquet files in stores, and addresses of the Hugging Face Hub where it cannot be reached."""

from pathlib import Path

import pytest
from parquet_rows import portrait_bytes, write_rows
from stored import contents, fill, lines_of, photos_of, protect

from onlymymodel.cli.main import main
from onlymymodel.data.rows.parquet import ParquetTable
from onlymymodel.data.stores.remote import open_remote

SOURCE, OUT = "memory://bucket/rows", "memory://bucket/protected"

pytestmark = pytest.mark.usefixtures("memory_store")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    for split, first in (("train", 0), ("test", 3)):
        pictures = [(portrait_bytes(index), f"{index}.png") for index in range(first, first + 3)]
        write_rows(tmp_path / "rows" / "data" / f"{split}.parquet", pictures)
    return tmp_path / "rows"


def test_rows_in_a_store_are_those_of_a_folder_and_unchanged_ones_are_not_read_again(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(SOURCE, rows)
    assert protect(rows, tmp_path / "out") == 0
    assert protect(SOURCE, OUT) == 0
    local, found = contents(tmp_path / "out"), contents(open_remote(OUT))
    assert found.keys() == local.keys()
    assert "README.md" in found
    for name, data in photos_of(found).items():
        assert name == "README.md" or data == local[name]
    assert lines_of(found) == lines_of(local)
    assert main(["verify", OUT, "--allow-python", "--quiet"]) == 0
    read: list[int] = []
    original = ParquetTable.read

    def counting(table: ParquetTable, row: int) -> bytes:
        read.append(row)
        return original(table, row)

    monkeypatch.setattr(ParquetTable, "read", counting)
    assert protect(SOURCE, OUT) == 0
    assert protect(rows, tmp_path / "out") == 0
    # `check_known` looks at pictures only where a bundled model takes part
    assert read == []
    assert contents(open_remote(OUT)) == found


def test_one_parquet_file_in_a_store_is_a_source(rows: Path, tmp_path: Path) -> None:
    fill(SOURCE, rows)
    assert protect(f"{SOURCE}/data/test.parquet", tmp_path / "out") == 0
    assert sorted(photos_of(contents(tmp_path / "out"))) == ["3.png", "4.png", "5.png", "README.md"]


def test_judges_and_ray_are_refused_for_rows_in_a_store(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(SOURCE, rows)
    assert protect(SOURCE, tmp_path / "out", "--heldout", "python:toys:others") == 2
    assert "judges are asked about photos of this machine" in capsys.readouterr().err
    assert protect(SOURCE, tmp_path / "out", "--engine", "ray") == 2
    assert "not from a store" in capsys.readouterr().err


def test_a_hub_that_cannot_be_reached_ends_the_run_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert protect("hf://datasets/someone/pets", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("omm: ")
    assert "hf://datasets/someone/pets cannot be used: " in said
    assert said.count("\n") == 1
