"""Opening datasets, and the model's class index for each photo of a folder."""

import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest
from dataset_fixtures import affectnet_arrays, affectnet_row, affectnet_tables, imagenet_flat, nips2017, pictures

from onlymymodel.data.datasets import KINDS, Dataset, Item, labels_for, open_dataset
from onlymymodel.data.labels import read_labels
from onlymymodel.errors import UserError


def made(name: str, classes: Sequence[str], **labels: int) -> Dataset:
    """Return a dataset of pictures CLASS/FILE.jpg that needs no disk; two underscores mean a slash."""
    items = tuple(Item(PurePosixPath(path.replace("__", "/") + ".jpg"), label) for path, label in labels.items())
    return Dataset(name, Path("set"), tuple(classes), items, {})


def refusal(spec: str, split: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(spec, split=split)
    return str(caught.value)


def mismatch(dataset: Dataset, photos: Sequence[str], classes: Sequence[str] | None, n_classes: int) -> str:
    with pytest.raises(UserError) as caught:
        labels_for(dataset, photos=photos, classes=classes, n_classes=n_classes)
    return str(caught.value)


ANIMALS = made("folders", ("Cat", "dog"), Cat__a=0, Cat__b=0, dog__a=1)


def test_malformed_specs_are_refused(tmp_path: Path) -> None:
    kinds = "imagenet, nips2017, celeba_hq, celeba, affectnet, folders, csv"
    assert ", ".join(KINDS) == kinds
    assert refusal("data") == f"dataset 'data' is not of the form KIND:PATH; KIND is one of {kinds}."
    assert "not of the form KIND:PATH" in refusal("imagenet:")
    assert refusal("imagnet:x") == "dataset 'imagnet:x': unknown kind 'imagnet'; did you mean imagenet?"
    assert refusal("CelebA-HQ:x") == "dataset 'CelebA-HQ:x': unknown kind 'CelebA-HQ'; did you mean celeba_hq?"
    assert refusal("coco:x") == f"dataset 'coco:x': unknown kind 'coco'; known are {kinds}."
    for kind in KINDS:
        gone = tmp_path / "gone"
        assert refusal(f"{kind}:{gone}") == f"dataset '{kind}:{gone}': {gone} does not exist."
    (tmp_path / "file").touch()
    assert refusal(f"folders:{tmp_path / 'file'}").endswith("is not a folder.")
    assert refusal(f"csv:{tmp_path}").endswith("is not a file.")


def test_the_home_folder_and_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    pictures(tmp_path, "a:b/cat/x.jpg")
    assert open_dataset("folders:~/a:b").root == tmp_path / "a:b"


def test_photos_by_name_whatever_the_case_and_order() -> None:
    photos = ["Cat/a.jpg", "dog/a.jpg", "unlabelled.jpg"]
    assert labels_for(ANIMALS, photos=photos, classes=["DOG", "bird", "cat "], n_classes=3) == {
        "Cat/a.jpg": 2,
        "dog/a.jpg": 0,
    }


def test_the_source_may_be_inside_the_set_or_the_set_inside_the_source() -> None:
    split = made("folders", ("cat", "dog"), val__cat__a=0, val__dog__a=1, val__dog__b=1)
    for photos, expected in (
        (["val/cat/a.jpg", "val/dog/a.jpg"], [0, 1]),  # the same folder
        (["cat/a.jpg", "dog/a.jpg", "dog/b.jpg"], [0, 1, 1]),  # source: the folder of the split
        (["b.jpg"], [1]),  # source: the folder of one class
        (["sets/one/val/dog/a.jpg"], [1]),  # source: a folder above
    ):
        assert labels_for(split, photos=photos, classes=None, n_classes=2) == dict(zip(photos, expected, strict=True))


def test_a_name_is_matched_by_whole_parts_only() -> None:
    assert "none of the 1 photos" in mismatch(ANIMALS, ["Cat/aa.jpg"], None, 2)
    assert "none of the 1 photos (the first is 'cot/a.jpg')" in mismatch(ANIMALS, ["cot/a.jpg"], None, 2)


def test_ambiguous_photos_are_refused() -> None:
    assert mismatch(ANIMALS, ["a.jpg", "b.jpg"], None, 2) == (
        "set: 1 photo matches several of its pictures: 'a.jpg'; give the folder that the photos are in."
    )
    flat = made("folders", ("cat",), a=0)  # both photos end with the picture's path, only one can be it
    assert "2 photos match several of its pictures: 'x/a.jpg', 'y/a.jpg'" in mismatch(
        flat, ["x/a.jpg", "y/a.jpg"], None, 1
    )


def test_composed_and_decomposed_names_are_equal() -> None:
    composed = made("folders", ("café", "dog"), café__é=0, dog__a=1)
    photos = [unicodedata.normalize("NFD", "café/é.jpg")]
    classes = [unicodedata.normalize("NFD", "CAFÉ"), "dog"]
    assert labels_for(composed, photos=photos, classes=classes, n_classes=2) == {photos[0]: 0}


def test_no_photos_have_no_labels() -> None:
    assert labels_for(ANIMALS, photos=[], classes=None, n_classes=2) == {}


def test_classes_that_the_model_lacks_are_refused() -> None:
    photos = ["Cat/a.jpg", "dog/a.jpg"]
    assert mismatch(ANIMALS, photos, ["wolf", "cat"], 2) == "set has 1 class(es) that the model does not have: 'dog'."
    assert mismatch(ANIMALS, photos, ["w", "x"], 2) == "set has 2 class(es) that the model does not have: 'Cat', 'dog'."
    assert mismatch(ANIMALS, photos, ["cat", "Cat", "dog"], 3) == "The model has more than one class of the name 'Cat'."
    # only the classes of these photos count
    assert labels_for(ANIMALS, photos=["Cat/a.jpg"], classes=["wolf", "cat"], n_classes=2) == {"Cat/a.jpg": 1}


def test_without_names_classes_are_matched_by_index_if_their_number_agrees() -> None:
    assert labels_for(ANIMALS, photos=["dog/a.jpg"], classes=None, n_classes=2) == {"dog/a.jpg": 1}
    assert "has 2 classes and the model 3" in mismatch(ANIMALS, ["dog/a.jpg"], None, 3)
    with pytest.raises(ValueError, match="3 class names for 2 classes"):
        labels_for(ANIMALS, photos=["dog/a.jpg"], classes=["a", "b", "c"], n_classes=2)


def test_codes_are_matched_by_name_only_for_models_that_use_them() -> None:
    wnids = made("imagenet", ("n01440764", "n01443537"), n01443537__a=1)
    photos = ["n01443537/a.jpg"]
    assert labels_for(wnids, photos=photos, classes=["tench", "goldfish"], n_classes=2) == {photos[0]: 1}
    assert labels_for(wnids, photos=photos, classes=["N01443537", "n01440764"], n_classes=2) == {photos[0]: 0}
    assert "has 2 classes and the model 1" in mismatch(wnids, photos, ["tench"], 1)
    people = made("celeba_hq", ("1000", "2880"), a=0, b=1)
    assert labels_for(people, photos=["a.jpg", "b.jpg"], classes=["2880", "7", "1000"], n_classes=3) == {
        "a.jpg": 2,
        "b.jpg": 0,
    }
    assert "the model does not have: '1000'" in mismatch(people, ["a.jpg", "b.jpg"], ["2880", "7"], 2)


def test_numbered_folders_sorted_as_text_are_not_indices() -> None:
    ten = made("folders", tuple(sorted(map(str, range(10)))), a=7)
    assert labels_for(ten, photos=["a.jpg"], classes=None, n_classes=10) == {"a.jpg": 7}
    eleven = made("folders", tuple(sorted(map(str, range(11)))), a=2)  # "0", "1", "10", "2"
    assert "has folders 0 to 10, which are not in this order when sorted as text" in mismatch(
        eleven, ["a.jpg"], None, 11
    )
    names = [str(number) for number in range(11)]
    assert labels_for(eleven, photos=["a.jpg"], classes=names, n_classes=11) == {"a.jpg": 10}
    padded = made("folders", tuple(f"{number:02d}" for number in range(11)), a=10)
    assert labels_for(padded, photos=["a.jpg"], classes=None, n_classes=11) == {"a.jpg": 10}


def test_expressions_match_their_common_synonyms(tmp_path: Path) -> None:
    affectnet_arrays(tmp_path, {0: "1", 1: "6", 2: "0"})
    dataset = open_dataset(f"affectnet:{tmp_path}")
    classes = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    photos = ["0.jpg", "1.jpg", "2.jpg"]
    assert labels_for(dataset, photos=photos, classes=classes, n_classes=7) == {"0.jpg": 3, "1.jpg": 0, "2.jpg": 6}
    assert labels_for(dataset, photos=photos, classes=None, n_classes=8) == {"0.jpg": 1, "1.jpg": 6, "2.jpg": 0}


def test_from_disk_to_labels(tmp_path: Path) -> None:
    flat = open_dataset(f"imagenet:{imagenet_flat(tmp_path / 'i', [449, 1])}")
    photo = "val/ILSVRC2012_val_00000002.JPEG"
    assert labels_for(flat, photos=[photo], classes=None, n_classes=1000) == {photo: 278}
    nips = open_dataset(f"nips2017:{nips2017(tmp_path / 'n', {'ab': 306})}")
    assert labels_for(nips, photos=["ab.png"], classes=None, n_classes=1000) == {"ab.png": 305}
    named = [f"class {number}" for number in range(1000)]
    assert labels_for(nips, photos=["images/ab.png"], classes=named, n_classes=1000) == {"images/ab.png": 305}
    assert "has 1000 classes and the model 1001" in mismatch(nips, ["ab.png"], None, 1001)  # TF-Slim's background


def test_csv_kind_equals_read_labels(tmp_path: Path) -> None:
    table, photos, classes = tmp_path / "labels.csv", ["a.jpg", "sub/b.jpg"], ["cat", "dog"]
    table.write_text("\ufefffile,label\r\na.jpg,dog\r\n./sub/b.jpg,cat\r\na.jpg,dog\r\n", encoding="utf-8")
    dataset = open_dataset(f"csv:{table}")
    assert dataset.classes == ("cat", "dog")
    assert [(str(item.path), item.label) for item in dataset.items] == [("a.jpg", 1), ("sub/b.jpg", 0)]
    assert dataset.left_out == {"listed twice": 1}
    labels = labels_for(dataset, photos=photos, classes=classes, n_classes=2)
    assert labels == read_labels(table, photos=photos, classes=classes, n_classes=2) == {"a.jpg": 1, "sub/b.jpg": 0}
    assert "not in the folder (1): './sub/b.jpg'" in mismatch(dataset, ["a.jpg"], classes, 2)


def test_csv_tables_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\na.jpg,07\nb.jpg,2\n")
    dataset = open_dataset(f"csv:{tmp_path / 'labels.csv'}")
    assert dataset.classes == tuple("01234567")
    assert [item.label for item in dataset.items] == [7, 2]
    assert labels_for(dataset, photos=["a.jpg", "b.jpg"], classes=None, n_classes=1000) == {"a.jpg": 7, "b.jpg": 2}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty."),
        ("file,label\n", "lists no picture."),
        ("file,class\na,b\n", "has no column label; its first line has 'file', 'class'."),
        (
            "file,label\n../a,x\n/b,x\nC:/c,x\n,x\n",
            "unsafe file name (4): '../a' (line 2), '/b' (line 3), 'C:/c' (line",
        ),
        ("file,label\na,x\na,y\nb,\n", "more than one label for a file (1): 'a' (line 3); no label (1): 'b' (line 4)."),
        ("file,label\na,-1\nb,100000\n", "negative or huge indices (2): '-1' (line 2), '100000' (line 3)."),
        ("file,label\na,x\nb\n", "is truncated: line 3 has too few columns."),
    ],
)
def test_broken_csv_tables(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    assert problem in refusal(f"csv:{tmp_path / 'labels.csv'}")


def test_long_lists_of_problems_are_cut(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\n" + "".join(f"../{'x' * 500}{n},1\n" for n in range(1000)))
    message = refusal(f"csv:{tmp_path / 'labels.csv'}")
    assert "unsafe file name (1000): '../xxx" in message
    assert message.endswith("(line 11), ....")
    assert len(message) < 2000


@pytest.mark.slow
def test_the_time_grows_with_the_pictures_not_with_their_square(tmp_path: Path) -> None:
    listed, matched = 4_000, 50_000
    for number in range(listed):
        (tmp_path / "Manually_Annotated_Images" / str(number % 20)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "Manually_Annotated_Images" / str(number % 20) / f"{number}.jpg").touch()
    rows = [affectnet_row(f"{number % 20}/{number}.jpg", number % 8) for number in range(listed)]
    (tmp_path / "validation.csv").write_text("\n".join(rows))
    start = time.process_time()
    dataset = open_dataset(f"affectnet:{tmp_path}")
    assert [item.label for item in dataset.items] == [number % 8 for number in range(listed)]
    same = [PurePosixPath(f"{number}/n01440764/same.JPEG") for number in range(matched)]
    deep = Dataset("folders", tmp_path, ("a", "b"), tuple(Item(path, n % 2) for n, path in enumerate(same)), {})
    for photos in ([f"top/{path}" for path in same], [str(path) for path in same]):
        labels = labels_for(deep, photos=photos, classes=None, n_classes=2)
        assert labels == {name: number % 2 for number, name in enumerate(photos)}
    assert time.process_time() - start < 20


def test_boxes_come_with_the_items(tmp_path: Path) -> None:
    dataset = open_dataset(f"affectnet:{affectnet_tables(tmp_path, [affectnet_row('1/a.jpg', 2, (3, 4, 5, 6))])}")
    assert dataset.items == (Item(PurePosixPath("Manually_Annotated_Images/1/a.jpg"), 2, (3, 4, 8, 10)),)
