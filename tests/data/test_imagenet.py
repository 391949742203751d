"""ImageNet in both layouts; the kit's order of classes is not the order of the wnids."""

from functools import partial
from pathlib import Path

import pytest
from dataset_fixtures import KIT, KIT_NAME, TRUTH, dataset_error, imagenet_flat, labels, pictures
from timm.data.imagenet_info import ImageNetInfo

from onlymymodel.data.datasets import Dataset, open_dataset
from onlymymodel.data.imagenet import CLASSES, ilsvrc2012_wnids

IDS = [449, 1, 450, 450, 2, 429]
LABELS = [0, 278, 1, 1, 212, 134]  # indices of tench, fox, goldfish, goldfish, setter, crane among the sorted wnids


def read(root: Path, split: str | None = None) -> Dataset:
    return open_dataset(f"imagenet:{root}", split=split)


refusal = partial(dataset_error, "imagenet")


def test_wnids_are_the_thousand_classes_in_the_order_of_their_ids() -> None:
    wnids = ilsvrc2012_wnids()
    assert len(wnids) == len(set(wnids)) == CLASSES
    assert sorted(wnids) == ImageNetInfo("imagenet-1k").label_names()
    # the first lines of the challenge's ground truth, and the wnids of those validation pictures
    ids = (490, 361, 171, 822, 297, 482, 13, 704, 599, 164)
    assert [wnids[number - 1] for number in ids] == [
        "n01751748", "n09193705", "n02105855", "n04263257", "n03125729",
        "n01735189", "n02346627", "n02776631", "n03794056", "n02328150",
    ]  # fmt: skip
    assert {number: wnids[number - 1] for number in KIT} == KIT


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("folder", ["val", "ILSVRC2012_img_val", "."])
def test_flat_pictures_get_the_index_of_their_wnid(tmp_path: Path, folder: str, newline: str) -> None:
    dataset = read(imagenet_flat(tmp_path, IDS, newline, folder))
    at = "" if folder == "." else f"{folder}/"
    assert labels(dataset) == {f"{at}ILSVRC2012_val_{n:08d}.JPEG": label for n, label in enumerate(LABELS, 1)}
    assert (dataset.name, dataset.root, len(dataset.classes)) == ("imagenet", tmp_path, CLASSES)
    assert [dataset.classes[item.label] for item in dataset.items] == [KIT[number] for number in IDS]
    assert not dataset.left_out
    assert (dataset.root / dataset.items[-1].path).is_file()


def test_kit_may_be_beside_the_folder_of_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imagenet_flat(tmp_path, IDS)
    expected = {f"ILSVRC2012_val_{n:08d}.JPEG": label for n, label in enumerate(LABELS, 1)}
    assert labels(read(tmp_path / "val")) == labels(read(tmp_path / "val", "val")) == expected
    monkeypatch.chdir(tmp_path / "val")
    assert labels(open_dataset("imagenet:.")) == expected


def test_class_folders_keep_their_index_among_the_thousand(tmp_path: Path) -> None:
    pictures(
        tmp_path, "val/n02012849/ILSVRC2012_val_00000009.JPEG", "val/n01440764/ILSVRC2012_val_00000293.JPEG",
        "val/n01440764/ILSVRC2012_val_00002138.JPEG", "train/n01443537/n01443537_2.JPEG", "val/stray.png",
    )  # fmt: skip
    (tmp_path / "val" / "valprep.sh").touch()
    dataset = read(tmp_path)
    assert labels(dataset) == {
        "val/n01440764/ILSVRC2012_val_00000293.JPEG": 0,
        "val/n01440764/ILSVRC2012_val_00002138.JPEG": 0,
        "val/n02012849/ILSVRC2012_val_00000009.JPEG": 134,  # crane, the bird, in every list of the 1,000 classes
    }
    assert len(dataset.classes) == CLASSES
    assert list(dataset.classes) == sorted(dataset.classes)
    assert dataset.left_out == {"not in a class folder": 1, "not a picture": 1}
    assert labels(read(tmp_path, "train")) == {"train/n01443537/n01443537_2.JPEG": 1}
    assert labels(read(tmp_path / "train")) == {"n01443537/n01443537_2.JPEG": 1}


def test_other_classes_are_numbered_in_sorted_order(tmp_path: Path) -> None:
    pictures(tmp_path, "n99999999/a.JPEG", "n01440764/b.JPEG", "n00000001/c.JPEG")
    dataset = read(tmp_path)
    assert dataset.classes == ("n00000001", "n01440764", "n99999999")
    assert labels(dataset) == {"n00000001/c.JPEG": 0, "n01440764/b.JPEG": 1, "n99999999/a.JPEG": 2}


@pytest.mark.slow
def test_a_thousand_folders_are_the_thousand_classes(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"val/n{7 * k:08d}/a.JPEG" for k in range(CLASSES)))
    assert [item.label for item in read(tmp_path).items] == list(range(CLASSES))


def test_incomplete_download_is_refused(tmp_path: Path) -> None:
    imagenet_flat(tmp_path, IDS)
    (tmp_path / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()
    (tmp_path / "val" / "ILSVRC2012_val_00000005.JPEG").unlink()
    assert refusal(tmp_path) == (
        f"{tmp_path} is not complete: val/ILSVRC2012_val_00000002.JPEG is missing, and so are 1 more."
    )
    (tmp_path / "val" / "n01440764").mkdir()
    assert refusal(tmp_path).endswith(
        "val is only partly sorted into class folders: ILSVRC2012_val_00000001.JPEG is in none."
    )


def test_incomplete_kit_is_refused(tmp_path: Path) -> None:
    data = imagenet_flat(tmp_path, IDS) / KIT_NAME / "data"
    (data / TRUTH).write_text("3\n1\n5\n")
    assert refusal(tmp_path) == f"{data / TRUTH} is not complete: it has 3 lines for 6 pictures."
    (data / TRUTH).unlink()
    assert refusal(tmp_path) == f"{data / TRUTH} is missing."
    data.rmdir()
    data.parent.rmdir()
    assert refusal(tmp_path) == f"{tmp_path} is not complete: {KIT_NAME}/data/{TRUTH} is missing."
    (tmp_path / f"{KIT_NAME}.tar.gz").touch()
    assert refusal(tmp_path) == f"{tmp_path / KIT_NAME}.tar.gz is still packed; unpack it in {tmp_path}."


def test_empty_folders_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("n01440764 and ILSVRC2012_val_00000001.JPEG are missing, one is needed.")
    assert refusal(tmp_path, "train") == f"{tmp_path} is not complete: train is missing."
    assert refusal(tmp_path, "test") == f"{tmp_path} has no split 'test'; it is one of val, train."
    for wnid in ("n01440764", "n01443537", "n02012849"):
        (tmp_path / "val" / wnid).mkdir(parents=True)
    pictures(tmp_path, "val/n01440764/a.JPEG")
    assert refusal(tmp_path) == f"{tmp_path / 'val' / 'n01443537'} has no pictures, nor have 1 more."


@pytest.mark.parametrize(
    ("truth", "problem"),
    [
        ("", "is empty."),
        (
            "3\n0\n1001\n-1\nx\n99999999999\n1 2\n",
            "not an id from 1 to 1000 (6): '0' (line 2), '1001' (line 3), '-1' (line 4), ",
        ),
        ("3\n\n1\n5\n", "an empty line before (2): '1' (line 3)"),
        ("\xff\xfe3\n", "is not UTF-8 text."),
    ],
)
def test_broken_ground_truth_is_refused(tmp_path: Path, truth: str, problem: str) -> None:
    data = imagenet_flat(tmp_path, IDS) / KIT_NAME / "data"
    (data / TRUTH).write_bytes(truth.encode("latin-1"))
    message = refusal(tmp_path)
    assert message.startswith(str(data / TRUTH))
    assert problem in message


def test_ground_truth_with_a_byte_order_mark(tmp_path: Path) -> None:
    data = imagenet_flat(tmp_path, IDS) / KIT_NAME / "data"
    (data / TRUTH).write_bytes(b"\xef\xbb\xbf" + (data / TRUTH).read_bytes())
    assert [item.label for item in read(tmp_path).items] == LABELS


def test_class_folders_need_no_kit(tmp_path: Path) -> None:
    pictures(tmp_path, "val/n01440764/a.JPEG")
    (tmp_path / "meta.bin").write_bytes(b"cposix\nsystem\n(S'false'\ntR.")  # torchvision's own note: a pickle
    assert labels(read(tmp_path)) == {"val/n01440764/a.JPEG": 0}
