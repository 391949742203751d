"""CelebA-HQ identities in both layouts, with equal class indices."""

from functools import partial
from pathlib import Path

import pytest
from dataset_fixtures import celeba_mask_hq, dataset_error, labels, pictures

from onlymymodel.data.datasets import Dataset, open_dataset

MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
# (number in CelebA-HQ, number in CelebA from 0, identity); as text 1000 < 2880 < 33 < 9
ROWS = [(0, 119613, 2880), (1, 99094, 33), (2, 200121, 9), (10, 81059, 1000), (11, 5, 2880)]
LABELS = {0: 1, 1: 2, 2: 3, 10: 0, 11: 1}


def read(root: Path, split: str | None = None) -> Dataset:
    return open_dataset(f"celeba_hq:{root}", split=split)


refusal = partial(dataset_error, "celeba_hq")


@pytest.mark.parametrize("where", ["identity_CelebA.txt", "Anno/identity_CelebA.txt"])
def test_celebamask_hq(tmp_path: Path, where: str) -> None:
    dataset = read(celeba_mask_hq(tmp_path, ROWS, where))
    assert labels(dataset) == {f"CelebA-HQ-img/{index}.jpg": label for index, label in LABELS.items()}
    assert dataset.classes == ("1000", "2880", "33", "9")
    assert not dataset.left_out


def test_celebamask_hq_counts_omitted_files(tmp_path: Path) -> None:
    celeba_mask_hq(tmp_path, ROWS)
    pictures(tmp_path, "CelebA-HQ-img/99.jpg")
    with (tmp_path / MAPPING).open("a", newline="") as file:
        file.write("0           119613      119614.jpg\r\n\r\n")
    dataset = read(tmp_path)
    assert len(dataset.items) == len(ROWS)
    assert dataset.left_out == {"listed twice": 1, f"not in {MAPPING}": 1}


def test_folders(tmp_path: Path) -> None:
    pictures(tmp_path, "train/2880/0.jpg", "train/33/1.jpg", "train/9/2.jpg", "train/1000/10.jpg", "test/33/11.jpg")
    pictures(tmp_path, "test/2880/12.jpg", "test/stray.jpg")
    test, train = read(tmp_path), read(tmp_path, "train")
    assert test.classes == train.classes == ("1000", "2880", "33", "9")  # as ImageFolder has it
    assert labels(test) == {"test/2880/12.jpg": 1, "test/33/11.jpg": 2}  # not shifted though 1000 has no test picture
    assert labels(train) == {"train/1000/10.jpg": 0, "train/2880/0.jpg": 1, "train/33/1.jpg": 2, "train/9/2.jpg": 3}
    assert test.left_out == {"not in an identity's folder": 1}
    assert labels(read(tmp_path / "train")) == {"1000/10.jpg": 0, "2880/0.jpg": 1, "33/1.jpg": 2, "9/2.jpg": 3}


def test_incomplete_celebamask_hq_is_refused(tmp_path: Path) -> None:
    celeba_mask_hq(tmp_path, ROWS)
    table = tmp_path / "identity_CelebA.txt"
    (tmp_path / "CelebA-HQ-img" / "2.jpg").unlink()
    assert refusal(tmp_path) == f"{tmp_path} is not complete: CelebA-HQ-img/2.jpg is missing."
    table.write_text("119614.jpg 2880\n000006.jpg 2880\n")
    assert refusal(tmp_path) == f"{table} is not complete: 099095.jpg has no identity there, nor have 2 more."
    table.unlink()
    assert refusal(tmp_path) == f"{table} is missing."
    (tmp_path / MAPPING).unlink()
    assert refusal(tmp_path) == f"{tmp_path / MAPPING} is missing."
    assert "has no splits" in refusal(tmp_path, "test")


def test_incomplete_folders_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} is not complete: IDENTITY and {MAPPING} are missing, one is needed."
    pictures(tmp_path, "train/33/1.jpg")
    (tmp_path / "train" / "2880").mkdir()
    (tmp_path / "train" / "9").mkdir()
    assert refusal(tmp_path) == f"{tmp_path / 'train' / '2880'} has no pictures, nor have 1 more."
    assert refusal(tmp_path, "test") == f"{tmp_path} is not complete: test is missing."


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ("", "is empty"),
        ("idx orig_idx orig_file\n", "lists no picture"),
        ("idx orig_idx orig_file\n0 119613\n", "is truncated: line 2 has 2 of 3 columns"),
        ("0 1 a.jpg\n-1 1 a.jpg\nx 1 a.jpg\n", "not a picture's number (2): '-1' (line 2), 'x' (line 3)"),
        ("0 1 ../a.jpg\n1 1 /a.jpg\n", "unsafe file name (2): '../a.jpg' (line 1), '/a.jpg' (line 2)"),
        ("0 1 a.jpg\n0 2 b.jpg\n", "more than one original for a picture (1): '0' (line 2)"),
    ],
)
def test_broken_mappings(tmp_path: Path, mapping: str, problem: str) -> None:
    celeba_mask_hq(tmp_path, ROWS)
    (tmp_path / MAPPING).write_text(mapping)
    message = refusal(tmp_path)
    assert message.startswith(str(tmp_path / MAPPING))
    assert problem in message


def test_broken_identities(tmp_path: Path) -> None:
    celeba_mask_hq(tmp_path, ROWS)
    (tmp_path / "identity_CelebA.txt").write_text("a.jpg x\nb.jpg 1\nb.jpg 2\n")
    assert refusal(tmp_path).endswith(
        "not an identity's number (1): 'x' (line 1); more than one identity for a picture (1): 'b.jpg' (line 3)."
    )
