"""Photos of faces of many kinds: crowds, turned, gray, transparent, cut off, and none."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from face_scenes import RECIPE, TWO, Pixels, context, head, png, protected, recognizer, scene
from PIL import Image
from records import answers_of, faces_of, measured

from onlymymodel.data.image_io import decode
from onlymymodel.protect.faces import MAX_FACES
from onlymymodel.protect.photo import PhotoSource, protect_photos
from onlymymodel.protect.region import Region
from onlymymodel.surrogates.face_detector import find_faces


def tiles(count: int) -> Pixels:
    """The same astronaut in other tints, every other one turned; the first a little larger."""
    random = np.random.default_rng(0)
    picture = np.full((4 * 110, -(-count // 4) * 100, 3), 90, np.uint8)
    for number in range(count):
        side, (row, column) = (108 if number == 0 else 100), divmod(number, picture.shape[1] // 100)
        tile = head(side)[:, : side * 11 // 12] * random.uniform(0.7, 1, 3)
        tile = tile[:, ::-1] if number % 2 else tile
        picture[row * 110 : row * 110 + side, column * 100 : column * 100 + tile.shape[1]] = tile
    return picture


@pytest.mark.slow
def test_twenty_faces_and_no_more_are_worked_on() -> None:
    picture = tiles(24)
    n_faces = len(find_faces(picture))
    assert n_faces > MAX_FACES
    known = recognizer(1, (0, 7), threshold=0.9, picture=picture)
    theirs = recognizer(2, (0, 7), threshold=0.9, picture=picture)
    recipe = replace(RECIPE, steps=2, step_share=1.0, kappa=0.0)
    models = {"authorized": known, "surrogates": (theirs,)}
    ((_, record),) = protect_photos([PhotoSource(png(picture))], context(**models, recipe=recipe))
    assert len(faces_of(record)) == MAX_FACES
    assert record.notes == (f"{n_faces} faces were found; the {MAX_FACES} largest were worked on",)
    assert record.status == "protected", record.reason
    assert measured(record.linf) <= 16
    sizes = [(face.box[2] - face.box[0]) * (face.box[3] - face.box[1]) for face in faces_of(record)]
    assert all(later <= sooner * 1.01 for sooner, later in pairwise(sizes))
    assert all(answers_of(face).answer_after == face.label for face in faces_of(record))
    pushed = [face.surrogates[0] for face in faces_of(record) if face.area == "changed"]
    assert len(pushed) > 8
    assert all(answers.answer_after != answers.pushed_from for answers in pushed)


def turned() -> bytes:
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: rotate by 90 degrees to see it
    return png(np.rot90(TWO).copy(), exif=exif)


@pytest.mark.slow
def test_a_turned_phone_photo_is_as_the_upright_one() -> None:
    after, record = protected(turned())
    upright, plain = protected(png(TWO))
    assert after.shape == upright.shape
    assert [face.box for face in faces_of(record)] == [face.box for face in faces_of(plain)]
    assert [face.area for face in faces_of(record)] == ["changed", "changed"]


def test_a_gray_photo_of_two_stays_gray() -> None:
    gray = np.asarray(Image.fromarray(tiles(2)).convert("L"))[..., None].copy()
    authorized, surrogate = recognizer(1, picture=gray), recognizer(2, threshold=0.95, picture=gray)
    after, record = protected(png(gray), authorized=authorized, surrogates=(surrogate,))
    assert after.shape == gray.shape
    assert [face.area for face in faces_of(record)] == ["changed", "changed"]


def test_a_transparent_photo_keeps_its_alpha() -> None:
    alpha = np.tile(np.linspace(0, 255, TWO.shape[1]).astype(np.uint8), (TWO.shape[0], 1))
    ((data, record),) = protect_photos([PhotoSource(png(np.dstack([TWO, alpha])))], context())
    assert record.status == "protected", record.reason
    assert data is not None
    assert np.array_equal(decode(data).alpha, alpha)  # type: ignore[arg-type]
    assert len(faces_of(record)) == 2


@pytest.mark.slow
def test_a_face_at_the_border_has_its_area_inside_the_photo() -> None:
    picture = scene((3, 10, 20, 210), (5, 305, 60, 150))
    faces = find_faces(picture)
    assert len(faces) == 2
    authorized, surrogate = recognizer(1, picture=picture), recognizer(2, threshold=0.95, picture=picture)
    after, record = protected(png(picture), authorized=authorized, surrogates=(surrogate,))
    left, top, right, bottom = faces_of(record)[1].box
    assert 0 <= left < right <= 420
    assert 0 <= top < bottom <= 260
    assert (after != picture)[:, 310:].any()


def test_without_a_face_it_is_skipped_or_taken_whole_by_choice() -> None:
    plain = np.random.default_rng(3).integers(60, 200, (90, 120, 3), dtype=np.uint8)
    ((nothing, record),) = protect_photos([PhotoSource(png(plain))], context())
    assert (nothing, record.status, record.reason) == (None, "skipped", "no face was found")
    ((_, record),) = protect_photos([PhotoSource(png(plain))], context(region=Region(no_face="image")))
    assert record.status in ("protected", "unchanged")
    assert (record.faces, record.authorized is None) == (None, False)
