"""AffectNet in its three layouts: the same expressions, face boxes, and a count of what is left out."""

import io
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from dataset_fixtures import affectnet_arrays, affectnet_row, affectnet_tables, dataset_error, labels, pictures

from onlymymodel.data.affectnet import EXPRESSIONS
from onlymymodel.data.datasets import Dataset, open_dataset

IMAGES = "Manually_Annotated_Images"
ROWS = [
    affectnet_row("689/a.jpg", 1, (134, 130, 899, 899)),
    affectnet_row("12/b.png", 0, (-3, 0, 10, 12)),
    affectnet_row("689/c.jpg", 7),
    affectnet_row("689/d.jpg", 8, ("NULL", "NULL", "NULL", "NULL")),
    affectnet_row("3/e.jpg", 9),
    affectnet_row("3/f.jpg", 10, (-1, -1, -1, -1)),
    affectnet_row("3/g.jpg", 8),
    affectnet_row("3/h.JPG", 3, (5, 5, -1, -1)),
]


def read(root: Path, split: str | None = None) -> Dataset:
    return open_dataset(f"affectnet:{root}", split=split)


refusal = partial(dataset_error, "affectnet")


@pytest.mark.parametrize("header", [True, False])  # the official validation.csv has none
@pytest.mark.parametrize("table", ["validation.csv", "Manually_Annotated_file_lists/validation.csv"])
def test_tables(tmp_path: Path, table: str, header: bool) -> None:
    dataset = read(affectnet_tables(tmp_path, ROWS, table, header))
    assert [(str(item.path), item.label, item.box) for item in dataset.items] == [
        (f"{IMAGES}/689/a.jpg", 1, (134, 130, 1033, 1029)),
        (f"{IMAGES}/12/b.png", 0, (-3, 0, 7, 12)),
        (f"{IMAGES}/689/c.jpg", 7, (10, 20, 40, 60)),
        (f"{IMAGES}/3/h.JPG", 3, None),
    ]
    assert dataset.classes == EXPRESSIONS
    assert EXPRESSIONS[1] == "Happiness"
    assert EXPRESSIONS[7] == "Contempt"
    assert dataset.left_out == {"None": 2, "Uncertain": 1, "No-Face": 1}


def test_splits_of_tables(tmp_path: Path) -> None:
    affectnet_tables(tmp_path, ROWS[:2])
    affectnet_tables(tmp_path, ROWS[2:3], "training.csv")
    assert labels(read(tmp_path)) == labels(read(tmp_path, "val")) != labels(read(tmp_path, "train"))
    assert labels(read(tmp_path, "train")) == {f"{IMAGES}/689/c.jpg": 7}
    assert refusal(tmp_path, "test") == f"{tmp_path} has no split 'test'; it is one of val, train."
    (tmp_path / "training.csv").unlink()
    assert refusal(tmp_path, "train") == f"{tmp_path} is not complete: training.csv is missing."


def test_images_in_a_nested_folder(tmp_path: Path) -> None:
    affectnet_tables(tmp_path, ROWS[:1])
    (tmp_path / "Manually_Annotated").mkdir()
    (tmp_path / IMAGES).rename(tmp_path / "Manually_Annotated" / IMAGES)
    assert labels(read(tmp_path)) == {f"Manually_Annotated/{IMAGES}/689/a.jpg": 1}


def test_incomplete_tables_are_refused(tmp_path: Path) -> None:
    affectnet_tables(tmp_path, ROWS)
    (tmp_path / IMAGES / "3" / "e.jpg").unlink()  # uncertain: not needed
    assert len(read(tmp_path).items) == 4
    (tmp_path / IMAGES / "12" / "b.png").unlink()
    (tmp_path / IMAGES / "12").rmdir()
    (tmp_path / IMAGES / "689" / "c.jpg").unlink()
    assert refusal(tmp_path) == f"{tmp_path} is not complete: {IMAGES}/12/b.png is missing, and so are 1 more."
    (tmp_path / "validation.csv").unlink()
    assert refusal(tmp_path) == f"{tmp_path} is not complete: validation.csv is missing."


def test_tables_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "validation.csv").write_text("\n".join(ROWS))
    first = f"Manually_Annotated_Images/689/a.jpg is missing, and so are {3} more."
    assert refusal(tmp_path) == f"{tmp_path} is not complete: {first}"


def test_every_problem_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "validation.csv").write_text(
        "\ufeff" + "\r\n".join([
            affectnet_row("../../etc/passwd", 1), affectnet_row("/etc/passwd", 1), affectnet_row("..\\x.jpg", 1),
            affectnet_row("\x00.jpg", 1), affectnet_row("a.jpg", 11), affectnet_row("b.jpg", -1),
            affectnet_row("c.jpg", "1.5"), affectnet_row("d.jpg", 1), affectnet_row("d.jpg", 2),
        ]), encoding="utf-8",
    )  # fmt: skip
    assert refusal(tmp_path) == (
        f"{tmp_path / 'validation.csv'} cannot be used: "
        "unsafe file name (4): '../../etc/passwd' (line 1), '/etc/passwd' (line 2), '..\\\\x.jpg' (line 3), "
        "'\\x00.jpg' (line 4); "
        "no expression from 0 to 10 (3): '11' (line 5), '-1' (line 6), '1.5' (line 7); "
        "more than one expression for a picture (1): 'd.jpg' (line 9)."
    )


def test_unreadable_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "validation.csv").touch()
    assert refusal(tmp_path) == f"{tmp_path / 'validation.csv'} is empty."
    (tmp_path / "validation.csv").write_text(ROWS[3])
    assert refusal(tmp_path) == f"{tmp_path / 'validation.csv'} lists no picture with an expression."
    (tmp_path / "validation.csv").write_text(ROWS[0] + "\n689/a.jpg,1,2\n")
    assert refusal(tmp_path) == f"{tmp_path / 'validation.csv'} is truncated: line 2 has too few columns."


def test_pictures_named_twice_are_counted(tmp_path: Path) -> None:
    dataset = read(affectnet_tables(tmp_path, [ROWS[0], ROWS[0], ROWS[2]]))
    assert len(dataset.items) == 2
    assert dataset.left_out == {"listed twice": 1}


def test_arrays(tmp_path: Path) -> None:
    affectnet_arrays(tmp_path, {0: "1", 3: "0", 11: 7, 20: "8", 21: "6.0"})
    affectnet_arrays(tmp_path, {5: "2"}, "train_set")
    dataset = read(tmp_path)
    expected = {"0": 1, "3": 0, "11": 7, "21": 6}
    assert labels(dataset) == {f"val_set/images/{number}.jpg": label for number, label in expected.items()}
    assert (dataset.classes, dataset.left_out) == (EXPRESSIONS, {"None": 1})
    assert labels(read(tmp_path, "train")) == {"train_set/images/5.jpg": 2}
    assert labels(read(tmp_path / "val_set")) == {f"images/{number}.jpg": label for number, label in expected.items()}


def test_incomplete_arrays_are_refused(tmp_path: Path) -> None:
    affectnet_arrays(tmp_path, {0: "1", 3: "0", 11: 7})
    (tmp_path / "val_set" / "images" / "3.jpg").unlink()
    assert refusal(tmp_path) == f"{tmp_path} is not complete: val_set/images/3.jpg is missing."
    (tmp_path / "val_set" / "annotations" / "11_exp.npy").unlink()
    assert refusal(tmp_path) == (
        f"{tmp_path} is not complete: val_set/annotations/11_exp.npy is missing, and so are 1 more."
    )
    assert refusal(tmp_path, "train") == f"{tmp_path} is not complete: train_set is missing."


def test_empty_sets_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} is not complete: validation.csv, val_set and 0 are missing, one is needed."
    (tmp_path / "val_set").mkdir()
    assert refusal(tmp_path) == f"{tmp_path / 'val_set' / 'images'} is missing."
    (tmp_path / "val_set" / "images").mkdir()
    assert refusal(tmp_path) == f"{tmp_path / 'val_set' / 'images'} has no picture with an expression."


def hostile_arrays() -> dict[str, bytes]:
    def saved(value: object, pickled: bool = False) -> bytes:
        stream = io.BytesIO()
        np.save(stream, np.asarray(value, dtype=object if pickled else None), allow_pickle=pickled)
        return stream.getvalue()

    def header(text: str) -> bytes:
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.npy", saved(1))
    return {
        "empty": b"", "cut short": saved("3")[:-2], "no array": b"3\n", "out of range": saved(11),
        "word": saved("Happy"), "fraction": saved(1.5), "not a number": saved(np.nan), "negative": saved("-1"),
        "two numbers": saved([1, 2]),
        "pickle": saved("3", pickled=True), "bare pickle": b"\x80\x04K\x01.", "archive": archive.getvalue(),
        "large": saved(np.zeros(600)),
        "claims terabytes": header("{'descr':'<f8','fortran_order':False,'shape':(9**12,)}\n"),
        "huge": header("{'descr':'<f8','fortran_order':False,'shape':(999999999999,)}\n"),
        "nested": header("(" * 2000 + "\n"), "no header": header("{'descr':\n"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", sorted(hostile_arrays()))
def test_malicious_arrays_are_refused(tmp_path: Path, kind: str) -> None:
    affectnet_arrays(tmp_path, {0: "1", 1: "2"})
    path = tmp_path / "val_set" / "annotations" / "1_exp.npy"
    path.write_bytes(hostile_arrays()[kind])
    assert refusal(tmp_path) == f"{path} does not hold one expression from 0 to 10."


def test_folders_by_number_and_by_name(tmp_path: Path) -> None:
    by_name = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"]
    for root, names in ((tmp_path / "number", list("01234567")), (tmp_path / "name", by_name)):
        pictures(root, *(f"{name}/{label}.jpg" for label, name in enumerate(names)))
        dataset = read(root)
        assert labels(dataset) == {f"{name}/{label}.jpg": label for label, name in enumerate(names)}
        assert (dataset.classes, dataset.left_out) == (EXPRESSIONS, {})


def test_folders_below_a_split(tmp_path: Path) -> None:
    pictures(
        tmp_path, "valid/Happiness/a.jpg", "valid/10/b.jpg", "valid/Uncertain/c.jpg", "valid/d.jpg", "train/3/e.jpg"
    )
    dataset = read(tmp_path)
    assert labels(dataset) == {"valid/Happiness/a.jpg": 1}
    assert dataset.left_out == {"No-Face": 1, "Uncertain": 1, "not in an expression's folder": 1}
    assert labels(read(tmp_path, "train")) == {"train/3/e.jpg": 3}
    assert refusal(tmp_path, "test") == f"{tmp_path} is not complete: test is missing."


def test_folders_of_other_names_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "happy/a.jpg", "11/b.jpg", "cats/c.jpg")
    assert refusal(tmp_path) == f"{tmp_path} has folders that are not expressions: '11', 'cats'."


def test_incomplete_folders_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "happy/a.jpg")
    (tmp_path / "sad").mkdir()
    assert refusal(tmp_path) == f"{tmp_path / 'sad'} has no pictures."
