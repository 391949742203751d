"""The NIPS 2017 set: labels from 1 in the table, from 0 here; every way in which a table can be wrong."""

from functools import partial
from pathlib import Path

import pytest
from dataset_fixtures import dataset_error, nips2017, pictures

from onlymymodel.data.datasets import Dataset, open_dataset
from onlymymodel.errors import UserError

ROWS = {"0c7ac4a8c9dfa802": 306, "f43fbfe8a9ea876c": 884, "01b6f5a0b3a7e2f1": 1, "ffffffffffffffff": 1000}


def read(root: Path) -> Dataset:
    return open_dataset(f"nips2017:{root}")


refusal = partial(dataset_error, "nips2017")


def table(root: Path, lines: str) -> str:
    (root / "images.csv").write_text("ImageId,TrueLabel,TargetClass\n" + lines)
    return refusal(root)


@pytest.mark.parametrize("name", ["images.csv", "dev_dataset.csv", "final_dataset.csv"])
@pytest.mark.parametrize(("mark", "newline"), [("", "\n"), ("\ufeff", "\r\n")])
def test_labels_count_from_zero(tmp_path: Path, name: str, mark: str, newline: str) -> None:
    dataset = read(nips2017(tmp_path, ROWS, name, mark, newline))
    assert [(str(item.path), item.label) for item in dataset.items] == [
        ("images/0c7ac4a8c9dfa802.png", 305),
        ("images/f43fbfe8a9ea876c.png", 883),
        ("images/01b6f5a0b3a7e2f1.png", 0),
        ("images/ffffffffffffffff.png", 999),
    ]
    assert dataset.classes == tuple(str(number) for number in range(1000))
    assert not dataset.left_out


def test_omitted_files_are_counted(tmp_path: Path) -> None:
    nips2017(tmp_path, ROWS)
    pictures(tmp_path, "images/more.png")
    with (tmp_path / "images.csv").open("a") as file:
        file.write('0c7ac4a8c9dfa802,u,0,0,1,1,306,7,u,CC,"Doe, J",u\n')
    dataset = read(tmp_path)
    assert len(dataset.items) == len(ROWS)
    assert dataset.left_out == {"listed twice": 1, "not in images.csv": 1}


def test_incomplete_download_is_refused(tmp_path: Path) -> None:
    nips2017(tmp_path, ROWS)
    (tmp_path / "images" / "f43fbfe8a9ea876c.png").unlink()
    assert refusal(tmp_path) == f"{tmp_path} is not complete: images/f43fbfe8a9ea876c.png is missing."
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    message = f"{tmp_path} is not complete: images/0c7ac4a8c9dfa802.png is missing, and so are 3 more."
    assert refusal(tmp_path) == message
    (tmp_path / "images").rmdir()
    assert refusal(tmp_path) == message


def test_empty_set_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path / 'images.csv'} is missing."
    (tmp_path / "images.csv").touch()
    assert refusal(tmp_path) == f"{tmp_path / 'images.csv'} is empty."
    assert table(tmp_path, "") == f"{tmp_path / 'images.csv'} lists no picture."
    with pytest.raises(UserError, match="has no splits; leave out the split 'val'"):
        open_dataset(f"nips2017:{tmp_path}", split="val")


def test_every_problem_at_once(tmp_path: Path) -> None:
    lines = (
        "a,0,1\nb,1001,1\nc,x,1\n../d,1,1\n/e,1,1\n,1,1\nC:\\f,1,1\ng/h,1,1\ni,5,1\ni,6,1\nj,99999999999999999999,1\n"
    )
    assert table(tmp_path, lines) == (
        f"{tmp_path / 'images.csv'} cannot be used: "
        "TrueLabel outside 1 to 1000 (4): '0' (line 2), '1001' (line 3), 'x' (line 4), "
        "'99999999999999999999' (line 12); "
        "unsafe ImageId (5): '../d' (line 5), '/e' (line 6), '' (line 7), 'C:\\\\f' (line 8), 'g/h' (line 9); "
        "more than one label for a picture (1): 'i' (line 11)."
    )


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "images.csv"
    assert table(tmp_path, "a,1,1\nb\n") == f"{file} is truncated: line 3 has too few columns."
    file.write_text("id,TrueLabel\na,1\n")
    assert refusal(tmp_path) == f"{file} has no column ImageId; its first line has 'id', 'TrueLabel'."
    file.write_bytes(b"ImageId,TrueLabel\n\xe9,1\n")
    assert refusal(tmp_path) == f"{file} is not UTF-8 text; save it as CSV UTF-8."
    file.write_text("ImageId,TrueLabel\n" + "x" * 200_000)
    assert refusal(tmp_path) == f"{file} is not a CSV table: field larger than field limit (131072)."
    with file.open("wb") as stream:
        stream.truncate(64 * 2**20 + 1)
    assert refusal(tmp_path) == f"{file} is larger than 64 MiB; it is not the table of this dataset."
