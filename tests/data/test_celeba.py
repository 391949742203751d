"""CelebA's table of attributes, in its two layouts."""

from functools import partial
from pathlib import Path, PurePosixPath

import pytest
from attribute_models import NAMES, write_table
from dataset_fixtures import dataset_error

from onlymymodel.data.attributes import AttributeLabels, agreeing, decode, encode
from onlymymodel.data.datasets import attributes_for, open_dataset
from onlymymodel.errors import UserError

ROWS = {"000001.jpg": (-1, 1, 1), "000002.jpg": (1, -1, -1), "000003.jpg": (-1, -1, -1)}
CODES = [0b110, 0b001, 0b000]

refusal = partial(dataset_error, "celeba")


@pytest.mark.parametrize("count", [1, 3, 53])
def test_a_code_is_read_as_it_was_written(count: int) -> None:
    for seed in range(5):
        present = tuple(bool(seed * 7 + index * 3 & 4) for index in range(count))
        assert decode(encode(present), count) == present
    everything = encode([True] * count)
    assert everything == 2**count - 1
    assert agreeing(everything, 0, count) == 0
    assert agreeing(everything, everything - 1, count) == count - 1


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_attr_celeba.csv", "Anno/list_attr_celeba.txt"])
def test_both_layouts_are_the_same_labels(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    table = write_table(tmp_path / name, ROWS)
    for place in (table, tmp_path):
        dataset = open_dataset(f"celeba:{place}")
        assert dataset.attributes == NAMES
        assert [item.path for item in dataset.items] == [PurePosixPath(file) for file in ROWS]
        assert [item.label for item in dataset.items] == CODES


def test_zeros_are_absent_too_and_the_count_may_be_missing(tmp_path: Path) -> None:
    zeros = {file: [max(value, 0) for value in row] for file, row in ROWS.items()}
    table = write_table(tmp_path / "a.txt", zeros)
    table.write_text(table.read_text().partition("\n")[2])
    assert [item.label for item in open_dataset(f"celeba:{table}").items] == CODES


@pytest.mark.parametrize("suffix", ["txt", "csv"])
def test_errors_name_line_and_column(tmp_path: Path, suffix: str) -> None:
    table = write_table(tmp_path / f"a.{suffix}", {**ROWS, "000004.jpg": (1, 2, 1)})
    line = 5 if suffix == "csv" else 6
    assert refusal(table) == (f"{table} cannot be used: neither -1, 0 nor 1 in column Male (1): '2' (line {line}).")
    write_table(table, {**ROWS, "000004.jpg": (1, 1)})
    assert refusal(table) == f"{table}, line {line} has 2 values for 3 attributes."
    write_table(table, {**ROWS, "../000004.jpg": (1, 1, 1)})
    assert refusal(table) == f"{table} cannot be used: unsafe file name (1): '../000004.jpg' (line {line})."
    write_table(table, ROWS, ("Smiling", "Male", "Smiling"))
    assert "names 'Smiling' more than once" in refusal(table)
    write_table(table, {})
    assert refusal(table) == f"{table} lists no picture."
    write_table(table, {"a.jpg": [1] * 54}, [f"a{index}" for index in range(54)])
    assert refusal(table) == f"{table} has 54 attributes; the limit is 53."


def test_a_picture_that_is_listed_twice(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.txt", ROWS)
    table.write_text(table.read_text() + "000001.jpg -1 1 1\n")
    assert open_dataset(f"celeba:{table}").left_out == {"listed twice": 1}
    table.write_text(table.read_text() + "000001.jpg -1 1 -1\n")
    assert "other attributes than before for a file (1): '000001.jpg' (line 7)" in refusal(table)


def test_a_folder_without_a_table(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path} has no table of attributes: none of list_attr_celeba.txt")
    with pytest.raises(UserError, match="this dataset has no splits"):
        open_dataset(f"celeba:{tmp_path}", split="val")


def test_photos_get_their_attributes_in_the_order_of_a_model(tmp_path: Path) -> None:
    dataset = open_dataset(f"celeba:{write_table(tmp_path / 'a.txt', ROWS)}")
    labels = attributes_for(dataset, photos=["img_align_celeba/000001.jpg", "img_align_celeba/000002.jpg"])
    assert labels == AttributeLabels(NAMES, {"img_align_celeba/000001.jpg": 0b110, "img_align_celeba/000002.jpg": 1})
    assert labels.of_model(["young", "Smiling"]) == {
        "img_align_celeba/000001.jpg": 0b01,
        "img_align_celeba/000002.jpg": 0b10,
    }
    with pytest.raises(UserError, match="lack 1 of the model's 2 attributes, such as 'Bald'"):
        labels.of_model(["Male", "Bald"])
