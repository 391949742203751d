"""Rows of Parquet files as the photos of a run: equal to a run over a folder of the same bytes."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_rows import portrait_bytes, write_rows
from stored import contents, lines_of, photos_of, protect

from onlymymodel.cli.main import main
from onlymymodel.protect import batches as batches_module

# three portraits as `Dataset.to_parquet` of datasets 5.2.0 writes them, with the labels 0, 1 and -1 of three classes
WRITTEN_BY_DATASETS = Path(__file__).with_name("datasets-5.2.0.parquet")
BROKEN = b"no picture"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two Parquet files with several row groups, and what else such a folder has."""
    source = tmp_path / "rows"
    named = [(portrait_bytes(index), f"trip/{index}.png") for index in range(3)]
    write_rows(source / "data" / "train-00000-of-00002.parquet", [*named, (BROKEN, "broken.jpg")])
    unnamed = [(portrait_bytes(3), None), (None, "empty.png"), (portrait_bytes(4), "../outside.png"), None]
    write_rows(source / "data" / "train-00001-of-00002.parquet", unnamed)
    (source / "README.md").write_text("a card")
    return source


@pytest.fixture
def local(tmp_path: Path) -> dict[str, bytes]:
    """Return the files of a run over a folder of the same bytes and names."""
    folder = tmp_path / "photos"
    second = folder / "data" / "train-00001-of-00002"
    for path in (folder / "trip", second):
        path.mkdir(parents=True)
    for index in range(3):
        (folder / "trip" / f"{index}.png").write_bytes(portrait_bytes(index))
    (folder / "broken.jpg").write_bytes(BROKEN)
    (second / "0000000").write_bytes(portrait_bytes(3))
    (second / "0000002").write_bytes(portrait_bytes(4))
    assert protect(folder, tmp_path / "local") == 1
    return contents(tmp_path / "local")


def test_rows_are_protected_as_files_of_the_same_bytes(
    rows: Path, local: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert protect(rows, out) == 1
    found = contents(out)
    assert photos_of(found).keys() == {*photos_of(local), "README.md"}
    assert {name: data for name, data in photos_of(found).items() if name != "README.md"} == photos_of(local)
    # a row without bytes fails; a folder has no such file
    lines = {line["source"]: line for line in lines_of(found)}
    lacking = {"empty.png", "data/train-00001-of-00002/0000003"}
    assert {name for name in lines if name not in lacking} == {line["source"] for line in lines_of(local)}
    for line in lines_of(local):
        assert lines[line["source"]] == line
    for name in lacking:
        assert (lines[name]["status"], lines[name]["reason"]) == ("failed", "cannot be read: its row has no bytes")
    assert json.loads(found["run.json"])["source"] == "../rows"
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 0
    # what failed is tried again; nothing else is
    monkeypatch.setattr(batches_module, "protect_photos", lambda *_: pytest.fail("computed again"))
    assert protect(rows, out) == 1
    assert contents(out) == found


def test_the_seal_of_rows_holds_and_a_changed_row_is_a_fault(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, first = tmp_path / "out", rows / "data" / "train-00000-of-00002.parquet"
    protect(rows, out)
    write_rows(first, [(portrait_bytes(5 - index), f"trip/{index}.png") for index in range(3)])
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 1
    assert "FAULT  trip/0.png: the original has changed since it was protected" in capsys.readouterr().err


def test_shards_of_rows_merge_to_the_run_of_one_process(rows: Path, tmp_path: Path) -> None:
    protect(rows, tmp_path / "one")
    for shard in ("1/2", "2/2"):
        protect(rows, tmp_path / "merged", "--shard", shard)
    assert main(["merge", str(tmp_path / "merged")]) == 1
    one, merged = contents(tmp_path / "one"), contents(tmp_path / "merged")
    assert photos_of(merged) == photos_of(one)  # the card, too


def test_the_card_says_what_was_done_and_what_is_not_promised(rows: Path, tmp_path: Path) -> None:
    protect(rows, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    header, body = card.removeprefix("---\n").split("\n---\n", 1)
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    statuses = [line["status"] for line in lines]
    assert 'data_files: "**/*.png"' in header
    assert "size_categories:\n- n<1K" in header
    for status in set(statuses):
        assert f"| {status} | {statuses.count(status)} |" in body
    for words in ("python:toys:mine", "linf 16", "2 steps", "What is not promised", "`rows`"):
        assert words in body
    assert ".." not in card


def test_what_datasets_writes_is_read_with_its_labels(tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copy(WRITTEN_BY_DATASETS, tmp_path / "pets.parquet")
    assert protect(tmp_path / "pets.parquet", out, "--labels", "column:label") in (0, 1)
    lines = {line["source"]: line for line in lines_of(contents(out))}
    assert list(lines) == ["pets/0.png", "pets/0000001", "2.png"]
    given = {name: (line["label"], line["label_source"]) for name, line in lines.items()}
    assert given["pets/0.png"] == (0, "given")
    assert given["pets/0000001"] == (1, "given")
    assert given["2.png"][1] != "given"  # -1 is no label


def test_labels_that_are_no_classes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, source = tmp_path / "out", tmp_path / "a.parquet"
    pictures = [(portrait_bytes(0), "0.png"), (portrait_bytes(1), "1.png")]
    write_rows(source, pictures, label=[0, 7], caption=["0", "a zebra"], share=[0.5, 1.0])
    for column, reason in {
        "label": "cannot be used: indices outside 0 to 2: 7 (1.png)",
        "caption": "not an index (this model has no class names): 'a zebra' (1.png)",
        "share": "the column 'share' has no labels: they are integers or texts, not double",
        "lable": "has no column 'lable'; it has 'image', 'label', 'caption', 'share'",
    }.items():
        assert protect(source, out, "--labels", f"column:{column}") == 2
        assert reason in capsys.readouterr().err
    write_rows(source, pictures, label=[0, 1], class_names=["cat", "dog"])
    assert protect(source, out, "--labels", "column:label") == 2
    assert "has 2 classes and the model 3" in capsys.readouterr().err
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "0.png").write_bytes(portrait_bytes(0))
    assert protect(folder, out, "--labels", "column:label") == 2
    assert "--labels column:label is for rows of Parquet files" in capsys.readouterr().err


def test_two_rows_of_one_path_are_named(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(rows / "data" / "test.parquet", [(portrait_bytes(5), None), (portrait_bytes(0), "trip/1.png")])
    assert protect(rows, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "'trip/1.png': row 1 of data/test.parquet and row 1 of data/train-00000-of-00002.parquet" in said
    assert protect(rows, tmp_path / "out", "--exclude", "test.parquet") == 1


def test_a_folder_with_a_picture_is_a_folder_of_photos(rows: Path, tmp_path: Path) -> None:
    (rows / "a.png").write_bytes(portrait_bytes(0))
    assert protect(rows, tmp_path / "out") == 0
    assert photos_of(contents(tmp_path / "out")).keys() == {"a.png"}


def test_results_beside_the_rows_are_refused(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert protect(rows, rows / "protected") == 2
    assert "is inside, the source" in capsys.readouterr().err


def test_rows_without_any_path_may_have_no_type_for_it(tmp_path: Path) -> None:
    """As pyarrow writes a list of dictionaries."""
    rows = [{"image": {"bytes": portrait_bytes(number), "path": None}} for number in range(2)]
    (tmp_path / "rows").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows" / "train.parquet")
    assert protect(tmp_path / "rows", tmp_path / "out") == 0
    assert contents(tmp_path / "out").keys() >= {"train/0000000.png", "train/0000001.png"}


def test_the_column_is_found_by_its_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, pictures = tmp_path / "a.parquet", [(portrait_bytes(0), "0.png")]
    write_rows(source, pictures, column="img")
    assert protect(source, tmp_path / "img") == 0
    write_rows(source, pictures, column="left", right=pa.array([{"bytes": b"", "path": ""}]))
    assert protect(source, tmp_path / "both") == 2
    assert "has several columns of pictures ('left', 'right'), and none of them is 'image'" in capsys.readouterr().err
    write_rows(source, pictures, column="image", right=pa.array([{"bytes": b"", "path": ""}]))
    assert protect(source, tmp_path / "image") == 0
    pa.parquet.write_table(pa.table({"image": [b"bytes alone"]}), source)
    assert protect(source, tmp_path / "none") == 2
    assert "has no column of pictures" in capsys.readouterr().err


def test_commands_that_need_photos_say_which_command_reads_rows(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ("--authorized", "python:toys:mine", "--allow-python")
    protected = ("--protected", str(tmp_path))
    assert main(["evaluate", "--original", str(rows), *protected, "--out", str(tmp_path / "out"), *models]) == 2
    assert "Rows of Parquet files are for omm protect, evaluate and tune" in capsys.readouterr().err
    links = tmp_path / "links"
    links.mkdir()
    (links / "a.parquet").symlink_to(rows / "data" / "train-00000-of-00002.parquet")
    assert protect(links, tmp_path / "out") == 2
    assert "a.parquet (a symbolic link). Rows of Parquet files are for" in capsys.readouterr().err
