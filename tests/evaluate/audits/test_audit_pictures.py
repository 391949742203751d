"""Pictures of audits, and their split by person."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onlymymodel.data.attributes import AttributeLabels
from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.options import TASKS
from onlymymodel.evaluate.audits.pictures import (
    Pictures,
    digit_pictures,
    display_picture,
    folder_pictures,
    portrait_pictures,
    with_attributes,
)


def test_displayed_pictures_are_enlarged_rounded_and_clipped() -> None:
    shown = display_picture(torch.tensor([[[0.0, 0.502], [1.7, -0.2]]], requires_grad=True), min_side=4)
    assert shown[..., 0].tolist() == [[0, 0, 128, 128]] * 2 + [[255, 255, 0, 0]] * 2
    assert display_picture(torch.rand(3, 200, 100)).shape == (200, 100, 3)


@pytest.mark.slow
@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.3, 0.3), (0.5, 0.25), (1.0, 1.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_split_into_groups_puts_nobody_into_two_parts(shares: tuple[float, float], seed: int) -> None:
    pictures = portrait_pictures(50, 8)
    parts = pictures.split_into_groups(shares, seed)
    people = [set(part.groups.tolist()) for part in parts]
    assert all(people)
    assert sum(map(len, people)) == len(set.union(*people))
    assert sorted(name for part in parts for name in part.names) == sorted(pictures.names)
    if shares == (0.5, 0.25):
        assert [len(part) for part in people] == [8, 4, 4]


def test_too_few_people_cannot_be_split() -> None:
    with pytest.raises(UserError, match="2 people cannot be split into 3 parts"):
        portrait_pictures(2, 8).split_into_groups((0.5, 0.25))


def test_split_keeps_every_picture_with_its_label() -> None:
    pictures = digit_pictures(8).take(range(30))
    first, second = pictures.split(12, seed=1)
    assert (len(first), len(second)) == (12, 18)
    assert sorted(first.names + second.names) == sorted(pictures.names)
    for part in (first, second):
        for row, name in enumerate(part.names):
            at = pictures.names.index(name)
            assert torch.equal(part.pixels[row], pictures.pixels[at])
            assert part.labels[row] == pictures.labels[at]
    assert len(pictures.take([])) == 0


@pytest.mark.slow
def test_portraits_are_labeled_by_task_and_reproducible() -> None:
    by_person, by_emotion = (portrait_pictures(20, 16, task=task) for task in reversed(TASKS))
    assert torch.equal(by_person.pixels, by_emotion.pixels)
    assert torch.equal(by_person.labels, by_person.groups)
    assert torch.equal(by_person.groups, by_emotion.groups)
    assert by_emotion.labels.max() < by_emotion.classes
    assert by_person.pixels.shape == (20, 3, 16, 16)
    assert not torch.equal(portrait_pictures(20, 16, seed=1).pixels, by_person.pixels)


def test_digits_equal_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    pictures = digit_pictures(8)
    assert len(pictures) == 1797
    np.testing.assert_allclose(pictures.pixels[:, 0].numpy() * 16, load_digits().images, atol=1e-5)
    assert pictures.labels.tolist() == load_digits().target.tolist()


def test_folders_are_groups(tmp_path: Path) -> None:
    for number, name in enumerate(("zoe/1.png", "ann/1.png", "ann/deep/2.png", "loose.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20), (number * 60, 0, 0)).save(tmp_path / name)
    loaded: Pictures = folder_pictures(tmp_path, 8)
    people = dict(zip(loaded.names, loaded.groups.tolist(), strict=True))
    assert people["ann/1.png"] == people["ann/deep/2.png"]
    assert len({people["ann/1.png"], people["zoe/1.png"], people["loose.png"]}) == loaded.classes == 3
    assert loaded.pixels.shape == (4, 3, 8, 8)
    shade = loaded.pixels[loaded.names.index("ann/deep/2.png"), 0]
    torch.testing.assert_close(shade, torch.full((8, 8), 120 / 255))


def test_error_names_an_empty_folder_and_a_broken_photo(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} is empty"):
        folder_pictures(tmp_path)
    (tmp_path / "letter.txt").write_text("no photo")
    with pytest.raises(UserError, match=f"{tmp_path} has no photo"):
        folder_pictures(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    with pytest.raises(UserError, match=r"broken\.png"):
        folder_pictures(tmp_path)


def table(names: dict[str, int]) -> AttributeLabels:
    return AttributeLabels(("Bald", "Smiling"), names)


def test_pictures_get_the_attributes_of_a_table_and_lose_those_that_it_lacks(tmp_path: Path) -> None:
    for name in ("ann/1.png", "ann/2.png", "bob/3.png", "cem/4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16)).save(tmp_path / name)
    pictures = folder_pictures(tmp_path, 16)
    codes = {"ann/1.png": 2, "ann/2.png": 3, "cem/4.png": 0}
    labelled = with_attributes(pictures, table(codes))
    assert labelled.names == tuple(codes)
    assert labelled.labels.tolist() == [2, 3, 0]
    assert labelled.groups.tolist() == [0, 0, 1]  # folders are people
    assert (labelled.classes, labelled.attributes) == (2, ("Bald", "Smiling"))
    listed = with_attributes(pictures, table(codes), {"1.png": "77", "2.png": "5", "4.png": "77"})
    assert listed.groups.tolist() == [1, 0, 1]
    with pytest.raises(UserError, match=r"2 pictures, such as ann/2.png, have attributes but no identity"):
        with_attributes(pictures, table(codes), {"1.png": "77"})
