"""The rendered portraits: equal arguments give equal bytes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from onlymymodel.data import portraits
from onlymymodel.data.portraits import EMOTIONS, IDENTITIES, IDENTITY_NAMES, Identity, make_scene, paint, render

_DIGEST = """
import hashlib
from onlymymodel.data.portraits import render
print(hashlib.sha256(render(2, 6, 5, 64).tobytes()).hexdigest())
"""


def test_sixteen_people_have_different_names() -> None:
    assert len(IDENTITIES) == 16
    assert len(set(IDENTITY_NAMES)) == 16
    assert all(name.isalpha() for name in IDENTITY_NAMES)


def test_people_differ_in_more_than_their_names() -> None:
    nameless = {tuple(value for key, value in vars(person).items() if key != "name") for person in IDENTITIES}
    assert len(nameless) == len(IDENTITIES)


def test_emotions_are_affectnets_seven_in_its_order() -> None:
    assert EMOTIONS == ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 64, 97, 192, 256])
def test_every_person_renders_with_every_emotion(size: int) -> None:
    pairs = [(identity, emotion) for identity in range(len(IDENTITIES)) for emotion in range(len(EMOTIONS))]
    for identity, emotion in pairs if size <= 64 else pairs[::9]:
        image = render(identity, emotion, seed=identity, size=size)
        assert image.shape == (size, size, 3)
        assert image.dtype == np.uint8
        assert image.std() > 10  # neither blank nor burnt out


def test_size_defaults_to_192() -> None:
    assert render(0, 0, 0).shape == (192, 192, 3)


def test_same_arguments_give_the_same_bytes() -> None:
    first = render(3, 4, seed=11, size=96)
    render(5, 1, seed=12, size=64)  # nothing is left over from one picture to the next
    assert np.array_equal(first, render(3, 4, seed=11, size=96))


def test_another_process_gives_the_same_pixels() -> None:
    command = [sys.executable, "-c", _DIGEST]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert elsewhere == hashlib.sha256(render(2, 6, 5, 64).tobytes()).hexdigest()


def test_every_argument_changes_the_picture() -> None:
    pictures = [render(*args, size=64) for args in ((1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4))]
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_pictures_of_one_person_vary() -> None:
    pictures = np.stack([render(7, 0, seed, 64) for seed in range(16)]).astype(float)
    assert pictures.std(axis=0).mean() > 20
    scenes = [make_scene(7, 0, seed) for seed in range(16)]
    for field in ("yaw", "roll", "zoom", "offset", "light", "cast", "background", "shirt", "noise"):
        assert len({getattr(scene, field) for scene in scenes}) == 16


def test_sizes_show_the_same_picture() -> None:
    large = render(9, 1, seed=8, size=192).astype(float).reshape(64, 3, 64, 3, 3).mean((1, 3))
    small = render(9, 1, seed=8, size=64).astype(float)
    assert np.abs(large - small).mean() < 8


def test_emotion_moves_the_face_and_nothing_else() -> None:
    """In one scene, two expressions differ inside the face only: the corners keep their bytes."""
    scene = replace(make_scene(4, 0, 9), yaw=0.0, pitch=0.0, roll=0.0)
    calm, happy = (paint(IDENTITIES[4], replace(scene, emotion=emotion)) for emotion in (0, 1))
    assert not np.array_equal(calm, happy)
    assert np.array_equal(calm[:20], happy[:20])
    assert np.array_equal(calm[:, :20], happy[:, :20])


def test_a_custom_person_can_be_painted() -> None:
    person = Identity("Nobody", (200, 150, 120), (60, 40, 30), "afro", (80, 60, 40), glasses="square", beard="full")
    assert paint(person, make_scene(0, 3, 0), 64).shape == (64, 64, 3)


@pytest.mark.parametrize("args", [(16, 0, 0), (0, 7, 0)])
def test_unknown_people_and_emotions_are_refused(args: tuple[int, int, int]) -> None:
    with pytest.raises(IndexError):
        render(*args)


def test_public_names_exist() -> None:
    assert all(hasattr(portraits, name) for name in portraits.__all__)
