"""A run on protected photos says so, and protects none of them again."""

import shutil
from pathlib import Path

import pytest
from hostile import files_of, protect, save_photo

from onlymymodel.cli.main import main
from onlymymodel.protect.merge import merge_shards
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest
from onlymymodel.protect.shards import Shard


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    source = tmp_path / "photos"
    for index, name in enumerate(("0.png", "trip/1.png")):
        save_photo(source / name, index)
    return source


@pytest.fixture
def out(photos: Path, tmp_path: Path) -> Path:
    assert protect(photos, tmp_path / "out").counts == {"protected": 2}
    return tmp_path / "out"


def reasons(out: Path) -> dict[str, str]:
    return {source: record.reason for source, record in PhotoManifest(out).by_source().items()}


def test_an_output_folder_as_the_source(out: Path, tmp_path: Path) -> None:
    summary = protect(out, tmp_path / "again")
    assert (summary.counts, summary.own_outputs) == ({"skipped": 2}, 2)
    assert reasons(tmp_path / "again") == {
        "0.png": f"it is a protected photo already: '0.png' of the {MANIFEST} in the source's '.'",
        "trip/1.png": f"it is a protected photo already: 'trip/1.png' of the {MANIFEST} in the source's '.'",
    }
    before = files_of(tmp_path / "again")
    assert protect(out, tmp_path / "again") == summary
    assert files_of(tmp_path / "again") == before


@pytest.mark.parametrize("part", ["trip", "trip/1.png"])
def test_a_part_of_an_output_folder_as_the_source(part: str, out: Path, tmp_path: Path) -> None:
    assert protect(out / part, tmp_path / "again").own_outputs == 1
    assert reasons(tmp_path / "again") == {
        "1.png": f"it is a protected photo already: 'trip/1.png' of the {MANIFEST} in the source or a folder above it"
    }


def test_a_folder_above_an_output_folder_and_an_original_beside_it(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "all" / "done")
    save_photo(tmp_path / "all" / "new.png", 7)
    summary = protect(tmp_path / "all", tmp_path / "again")
    assert (summary.counts, summary.own_outputs) == ({"skipped": 2, "protected": 1}, 2)


def test_a_protected_photo_among_the_originals(photos: Path, out: Path) -> None:
    shutil.copy(out / "0.png", photos / "copy.png")
    summary = protect(photos, out)
    assert (summary.counts, summary.own_outputs) == ({"protected": 2, "skipped": 1}, 1)
    assert (
        reasons(out)["copy.png"] == f"it is a protected photo already: '0.png' of the {MANIFEST} in the output folder"
    )


def test_a_protected_photo_in_the_place_of_its_original_stays_protected(photos: Path, out: Path) -> None:
    shutil.copy(out / "0.png", photos / "0.png")
    before = files_of(out)
    summary = protect(photos, out)
    assert (summary.counts, summary.own_outputs) == ({"protected": 2}, 1)
    assert files_of(out) == before
    (out / "0.png").unlink()  # moved, not copied
    assert protect(photos, out).counts == {"protected": 1, "skipped": 1}
    assert "0.png" not in files_of(out)


def test_a_shard_knows_what_was_written_before_it_in_the_merged_folder(photos: Path, out: Path) -> None:
    shutil.copy(out / "0.png", photos / "0.png")
    shutil.copy(out / "trip" / "1.png", photos / "copy.png")
    before = files_of(out)
    summary = protect(photos, out, shard=Shard(1, 1))
    assert (summary.counts, summary.own_outputs) == ({"protected": 2, "skipped": 1}, 2)
    merge_shards(out)
    assert reasons(out)["copy.png"].startswith("it is a protected photo already: 'trip/1.png'")
    assert {name: files_of(out).get(name) for name in before if name.endswith(".png")} == {
        name: data for name, data in before.items() if name.endswith(".png")
    }


@pytest.mark.parametrize("content", [b"no lines", b"[1]\n", b'{"output_sha256": 3, "output": []}\n', b"\xff" * 99])
def test_a_strangers_file_of_that_name_is_no_manifest(content: bytes, photos: Path, tmp_path: Path) -> None:
    (photos / MANIFEST).write_bytes(content)
    assert protect(photos, tmp_path / "out").counts == {"protected": 2}


def test_the_command_says_it(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "protect", str(out), "--out", str(tmp_path / "again"), "--authorized", "python:toys:mine", "--surrogate",
        "python:toys:theirs", "--allow-python", "--quiet", "--device", "cpu",
    ]  # fmt: skip
    assert main(words) == 1
    assert "2 of the photos in the source were written by an earlier run" in capsys.readouterr().out
