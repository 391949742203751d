"""The face detector's cache: the same faces as without it."""

from collections.abc import Iterator

import pytest
from face_scenes import TWO

from onlymymodel.surrogates import face_detector
from onlymymodel.surrogates.face_detector import CACHED_PHOTOS, find_faces, set_cache_size


@pytest.fixture(autouse=True)
def _restored_cache() -> Iterator[None]:
    yield
    set_cache_size(CACHED_PHOTOS)


@pytest.mark.slow
@pytest.mark.parametrize("photos", [0, 1, 3])
def test_cached_faces_are_those_of_a_new_search(photos: int) -> None:
    mirrored = TWO[:, ::-1]
    expected = [face_detector._search(image) for image in (TWO, mirrored)]
    set_cache_size(photos)
    for _ in range(2):
        assert [find_faces(image) for image in (TWO, mirrored)] == expected
    assert len(expected[0]) == 2
    assert expected[0] != expected[1]


def test_a_caller_may_change_the_list_of_faces() -> None:
    set_cache_size(1)
    faces = find_faces(TWO)
    count = len(faces)
    faces.clear()
    assert len(find_faces(TWO)) == count == 2
