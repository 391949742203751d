"""The mask of each photo in a folder of masks."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from onlymymodel.protect.masks import Masks


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("a.jpg", "a.png"),
        ("trip/b.heic", "trip/b.JPG"),
        ("c.png", "c.jpg"),  # lower case comes first
        ("scan.001", "scan.001.png"),  # .001 is a part of the name, as in the names of results
        ("scan.002", None),
        ("trip/a.jpg", None),
        ("nowhere/a.jpg", None),
    ],
)
def test_a_mask_has_the_path_and_name_of_its_photo(photo: str, mask: str | None, tmp_path: Path) -> None:
    names = ("a.png", "trip/b.JPG", "c.jpg", "c.PNG", "scan.png", "scan.001.png", "trip/notes.txt")
    masks = Masks(touch(tmp_path / "masks", *names))
    assert masks.of(PurePosixPath(photo)) == (None if mask is None else tmp_path / "masks" / mask)


def test_one_mask_is_that_of_every_photo(tmp_path: Path) -> None:
    mask = touch(tmp_path, "mask.png") / "mask.png"
    assert Masks(mask).of(PurePosixPath("trip/a.jpg")) == mask
    assert Masks(None).of(PurePosixPath("a.jpg")) is None


def test_a_folder_of_masks_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a listing for each photo, time would grow with the square of their number."""
    masks = Masks(touch(tmp_path / "masks", *(f"{number}.png" for number in range(20))))
    listed, real = Counter[Path](), Path.iterdir

    def counted(folder: Path) -> Iterator[Path]:
        listed[folder] += 1
        return iter(real(folder))

    monkeypatch.setattr(Path, "iterdir", counted)
    assert all(masks.of(PurePosixPath(f"{number}.jpg")) for number in range(20))
    assert listed == {tmp_path / "masks": 1}
