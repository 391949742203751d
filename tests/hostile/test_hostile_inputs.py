"""A sample of the inputs of `python tests/helpers/hostile_inputs.py`: each is read, or refused in one sentence."""

from pathlib import Path

import pytest
from hostile import check_lines, protect
from hostile_inputs import READERS, Hostile, make, sound, try_input

SAMPLE = 12  # inputs of each kind


@pytest.mark.parametrize("kind", READERS)
def test_sound_files_are_read(kind: str, tmp_path: Path) -> None:
    for name, data in sound(kind):
        expected = "refused" if name == "animation.gif" else "read"
        assert try_input(Hostile(kind, name, data), tmp_path) == expected, name


@pytest.mark.parametrize("kind", READERS)
def test_hostile_files_are_read_or_refused_in_a_sentence(kind: str, tmp_path: Path) -> None:
    outcomes = {
        number: try_input(make(kind, number), tmp_path) for number in range(SAMPLE * (8 if kind == "photo" else 1))
    }
    assert {number: outcome for number, outcome in outcomes.items() if outcome not in ("read", "refused")} == {}
    assert "refused" in outcomes.values()


def test_the_same_number_makes_the_same_input() -> None:
    assert make("photo", 7) == make("photo", 7) != make("photo", 8)


@pytest.mark.slow
def test_each_hostile_picture_of_a_folder_has_one_line(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    for number in range(80):
        hostile = make("photo", number)
        (source / f"{number:03} {hostile.name}").write_bytes(hostile.data)
    summary = protect(source, tmp_path / "out")
    assert sum(summary.counts.values()) > 60
    check_lines(source, tmp_path / "out")
