"""Datasets with a folder for each class, compared with torchvision's ImageFolder."""

import shutil
from functools import partial
from pathlib import Path

from dataset_fixtures import dataset_error, pictures
from torchvision.datasets import ImageFolder

from onlymymodel.data.datasets import Dataset, open_dataset

NAMES = ("dog/b.jpg", "dog/a.png", "cat/x.jpg", "Zebra/z.JPG", "10/q.jpg", "2/r.jpg", "great white/s.jpg")


def read(root: Path, split: str | None = None) -> Dataset:
    return open_dataset(f"folders:{root}", split=split)


refusal = partial(dataset_error, "folders")


def test_classes_and_pictures_are_those_of_torchvision(tmp_path: Path) -> None:
    pictures(tmp_path, *NAMES)
    dataset, oracle = read(tmp_path), ImageFolder(tmp_path)
    assert list(dataset.classes) == oracle.classes == ["10", "2", "Zebra", "cat", "dog", "great white"]
    assert {str(tmp_path / item.path): item.label for item in dataset.items} == dict(oracle.samples)
    assert [item.path.as_posix() for item in dataset.items[-3:]] == ["dog/a.png", "dog/b.jpg", "great white/s.jpg"]
    assert not dataset.left_out


def test_a_split(tmp_path: Path) -> None:
    pictures(tmp_path, "val/cat/a.jpg", "train/cat/b.jpg")
    assert [item.path.as_posix() for item in read(tmp_path, "train").items] == ["train/cat/b.jpg"]
    for outside in ("../val", "..", "/tmp", ".git", ""):
        assert "is not the name of a folder" in refusal(tmp_path / "train", outside)
    assert refusal(tmp_path, "test") == f"{tmp_path / 'test'} is missing."
    assert refusal(tmp_path).endswith(
        "train has no pictures, nor have 1 more; it has folders of its own: go one folder down, or give a split."
    )


def test_omitted_files_are_counted(tmp_path: Path) -> None:
    pictures(tmp_path, *NAMES, "stray.jpg", "dog/deeper/c.jpg")
    for name in ("README", "dog/notes.txt", "cat/.hidden.jpg", "cat/y.jpg.part"):
        (tmp_path / name).touch()
    (tmp_path / "cat" / "broken.jpg").symlink_to(tmp_path / "nowhere")
    dataset = read(tmp_path)
    assert len(dataset.items) == len(NAMES)
    assert dataset.left_out == {
        "not a picture": 4, "hidden": 1, "not in a class folder": 1, "a folder inside a class folder": 1,
    }  # fmt: skip


def test_links_are_followed(tmp_path: Path) -> None:
    pictures(tmp_path / "elsewhere", "a.jpg")
    (tmp_path / "set" / "cat").mkdir(parents=True)
    (tmp_path / "set" / "cat" / "a.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "elsewhere")
    dataset = read(tmp_path / "set")
    assert [(item.path.as_posix(), item.label) for item in dataset.items] == [("cat/a.jpg", 0), ("dog/a.jpg", 1)]


def test_empty_and_incomplete_folders_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} has no folders; folders: needs one for each class."
    pictures(tmp_path, *NAMES)
    shutil.rmtree(tmp_path / "cat")
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog" / "a.png").unlink()
    (tmp_path / "dog" / "b.jpg").rename(tmp_path / "dog" / "b.jpg.part")
    assert refusal(tmp_path) == f"{tmp_path / 'cat'} has no pictures, nor have 1 more."
