"""Shards on several machines make the folder that one run makes."""

import errno
import re
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from evaluating import MINE, QUICK, THEIRS, write_photos
from hostile import CONTEXT, check_lines, files_of, lines_of, protect, save_photo
from hypothesis import given
from hypothesis import strategies as st

from onlymymodel.cli.main import main
from onlymymodel.errors import UserError
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect import merge as merge_module
from onlymymodel.protect import seal as seal_module
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.merge import merge_shards
from onlymymodel.protect.photo_record import MANIFEST
from onlymymodel.protect.seal import read_seal
from onlymymodel.protect.shards import Shard, find_shards, parse_shard, shard_of
from onlymymodel.settings import RunSettings


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(9):
        save_photo(tmp_path / "photos" / ("sub" if index % 2 else ".") / f"{index}.png", index, 24 if index % 3 else 28)
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return tmp_path / "photos"


def protect_shards(photos: Path, out: Path, count: int = 3) -> None:
    for number in range(1, count + 1):
        protect(photos, out, shard=Shard(number, count))


def by_source(out: Path) -> list[dict[str, Any]]:
    return sorted(lines_of(out), key=lambda line: str(line["source"]))


def pictures(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in files_of(out).items() if name.endswith(".png")}


def check_same(photos: Path, out: Path, tmp_path: Path) -> None:
    protect(photos, tmp_path / "whole")
    check_lines(photos, out)
    assert by_source(out) == by_source(tmp_path / "whole")
    assert pictures(out) == pictures(tmp_path / "whole")


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1), min_size=1), st.integers(1, 50))
def test_every_photo_has_one_shard(parts: list[str], count: int) -> None:
    path = PurePosixPath(*parts)
    owners = [number for number in range(1, count + 1) if Shard(number, count).has(path)]
    assert owners == [shard_of(path, count).number]


@pytest.mark.parametrize("count", [1, 3])
def test_merged_shards_are_the_folder_of_one_run(count: int, photos: Path, tmp_path: Path) -> None:
    protect_shards(photos, tmp_path / "out", count)
    merged = merge_shards(tmp_path / "out")
    assert merged.missing == ()
    assert len(merged.records) == 10
    check_same(photos, tmp_path / "out", tmp_path)
    report = verify_folder(tmp_path / "out", authorized="python:toys:mine", allow_python=True, progress=False)
    assert report.faults == ()


def test_a_shard_of_a_merged_folder_computes_what_is_new(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect_shards(photos, out)
    merge_shards(out)
    before = pictures(out)
    for number in (1, 2, 3):
        protect(photos, out, shard=Shard(number, 3))
        assert lines_of(Shard(number, 3).folder(out)) == []
    save_photo(photos / "sub" / "3.png", 33)
    save_photo(photos / "new.png", 34)
    protect_shards(photos, out)
    merge_shards(out)
    check_same(photos, out, tmp_path)
    changed = {name for name, data in pictures(out).items() if before.get(name) != data}
    assert changed == {"sub/3.png", "new.png"}


def test_a_photo_that_is_no_longer_protected_loses_its_file(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect_shards(photos, out)
    merge_shards(out)
    (photos / "0.png").write_bytes((photos / "broken.png").read_bytes())
    protect_shards(photos, out)
    merge_shards(out)
    check_same(photos, out, tmp_path)
    assert not (out / "0.png").exists()


@pytest.mark.parametrize("stop", ["_move", "_remove_outdated", "write_atomic", "rmtree"])
def test_a_merge_that_is_stopped_goes_on(
    stop: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "out", 0
    protect_shards(photos, out)
    owner: Any = shutil if stop == "rmtree" else merge_module
    real = getattr(owner, stop)

    def stopped(*words: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == (3 if stop == "_move" else 1):
            raise KeyboardInterrupt
        return real(*words, **named)

    with monkeypatch.context() as patched:
        patched.setattr(owner, stop, stopped)
        with pytest.raises(KeyboardInterrupt):
            merge_shards(out)
    merge_shards(out)
    check_same(photos, out, tmp_path)


@pytest.mark.parametrize("kept", ["run.json", "manifest.jsonl"])
def test_a_merge_that_was_killed_while_it_removed_the_shards_goes_on_without_the_source(
    kept: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shards are renamed, and one file is left of them; the third is as it was."""
    out, real, calls = tmp_path / "out", Path.replace, 0
    protect_shards(photos, out)

    def stopped(path: Path, target: Path) -> Path:
        nonlocal calls
        calls += path.name.startswith(".omm-shard-")
        if calls > 2:
            raise KeyboardInterrupt
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            merge_shards(out)
    assert len(find_shards(out)) == 1
    for path in (out / merge_module.REMOVED).rglob("*"):
        if path.is_file() and path.name != kept:
            path.unlink()
    photos.rename(tmp_path / "elsewhere")
    assert len(merge_shards(out).records) == 10
    check_same(tmp_path / "elsewhere", out, tmp_path)
    assert read_seal(out) is not None
    with pytest.raises(UserError, match="has no shards"):
        merge_shards(out)


def test_a_merge_that_was_killed_at_its_very_end_goes_on(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect_shards(photos, out)
    merge_shards(out)
    (out / merge_module.REMOVED / Shard(3, 3).folder_name).mkdir(parents=True)
    assert len(merge_shards(out).records) == 10
    check_same(photos, out, tmp_path)


def test_shards_are_merged_where_the_source_was_emptied(photos: Path, tmp_path: Path) -> None:
    protect_shards(photos, tmp_path / "out")
    photos.rename(tmp_path / "elsewhere")
    photos.mkdir()
    assert merge_shards(tmp_path / "out").missing == ()
    check_same(tmp_path / "elsewhere", tmp_path / "out", tmp_path)


def test_the_seal_is_written_before_a_shard_is_removed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    protect_shards(photos, out)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(seal_module, "write_atomic", full)
        with pytest.raises(UserError, match=r"seal\.json cannot be written: No space left"):
            merge_shards(out)
    merge_shards(out)
    assert read_seal(out) is not None
    check_same(photos, out, tmp_path)


def test_a_shard_that_was_copied_from_a_store_before_its_end_is_refused(photos: Path, tmp_path: Path) -> None:
    """Its lines are in parts, so that its photos would be removed without one."""
    out = tmp_path / "out"
    protect_shards(photos, out)
    parts = Shard(2, 3).folder(out) / ".omm-manifest.jsonl.parts"
    parts.mkdir()
    (Shard(2, 3).folder(out) / MANIFEST).rename(parts / "0000000001-0123abcd.jsonl")
    before = files_of(out)
    with pytest.raises(UserError, match="shard 2/3 was copied from a store in which it has not ended"):
        merge_shards(out)
    assert files_of(out) == before


def test_what_cannot_be_merged_is_named(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match="has no shards"):
        merge_shards(out)
    protect(photos, out, shard=Shard(2, 3))
    with pytest.raises(UserError, match=re.escape("lacks the shards 1/3, 3/3")):
        merge_shards(out)
    with pytest.raises(UserError, match="has shards that are not merged"):
        protect(photos, out)
    there = r"shards of 3 parts \(\.omm-shard-2-of-3\)"
    with pytest.raises(UserError, match=rf"--shard 1/2: .* has {there}; go on with --shard I/3, or remove these"):
        protect(photos, out, shard=Shard(1, 2))
    Shard(1, 2).folder(out).mkdir()
    with pytest.raises(UserError, match=rf"has shards of 2 parts \(\.omm-shard-1-of-2\) and {there}; remove"):
        merge_shards(out)
    shutil.rmtree(Shard(1, 2).folder(out))
    recipe = make_recipe("default", steps=1)
    with pytest.raises(UserError, match=r"other settings \(steps 2 there, 1 here"):
        protect(photos, out, shard=Shard(1, 3), context=replace(CONTEXT, recipe=recipe))


def test_photos_that_no_shard_has_are_named(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect_shards(photos, out)
    save_photo(photos / "late.png", 50)
    assert merge_shards(out).missing == (("late.png", shard_of(PurePosixPath("late.png"), 3)),)


def test_a_file_that_was_replaced_in_a_shard_stops_the_merge(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect_shards(photos, out)
    shard = shard_of(PurePosixPath("0.png"), 3)
    (shard.folder(out) / "0.png").unlink()
    with pytest.raises(UserError, match=rf"0\.png is missing; run omm protect --shard {shard} again"):
        merge_shards(out)


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("1/1", {}, (1, 1)),
        ("2/3", {}, (2, 3)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "3"}, (3, 4)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "0"}, (1, 4)),
        ("auto", {"JOB_COMPLETION_INDEX": "2", "OMM_SHARDS": "3"}, (3, 3)),
        ("auto", {"RANK": "0", "WORLD_SIZE": "8"}, (1, 8)),
    ],
)
def test_shards_are_read(text: str, environment: dict[str, str], expected: tuple[int, int]) -> None:
    assert parse_shard(text, environment) == Shard(*expected)


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("0/3", {}), ("4/3", {}), ("1/0", {}), ("1", {}), ("", {}), ("-1/3", {}), ("1/3/5", {}), ("a/b", {}),
        ("auto", {}), ("auto", {"RANK": "0"}), ("auto", {"RANK": "8", "WORLD_SIZE": "8"}),
        ("auto", {"RANK": "x", "WORLD_SIZE": "8"}), ("9999999999/9999999999", {}),
    ],
)  # fmt: skip
def test_other_shards_are_refused(text: str, environment: dict[str, str]) -> None:
    with pytest.raises(UserError, match="--shard"):
        parse_shard(text, environment)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = write_photos(tmp_path / "photos"), tmp_path / "out"
    models = ["--authorized", MINE, "--surrogate", THEIRS, "--allow-python"]
    assert main(["protect", str(source), "--out", str(out), "--shard", "1/2", *models, *QUICK]) == 0
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 1
    assert "is not merged: omm merge" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["protect", str(source), "--out", str(out), "--shard", "auto", *models, *QUICK]) == 0
    assert [str(shard) for shard in find_shards(out)] == ["1/2", "2/2"]
    assert main(["merge", str(out)]) == 0
    assert "3 of 3 photos protected" in capsys.readouterr().out
    assert find_shards(out) == []
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 0
    assert main(["merge", str(out)]) == 2


def test_another_number_of_shards_is_refused_before_a_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_photos(tmp_path / "photos"), tmp_path / "out"
    for number in range(1, 8):
        Shard(number, 9).folder(out).mkdir(parents=True)
    monkeypatch.setattr(RunSettings, "load", lambda *_, **__: pytest.fail("loaded"))
    words = ["protect", str(source), "--out", str(out), "--authorized", MINE, "--surrogate", THEIRS, "--allow-python"]
    assert main([*words, "--shard", "1/2"]) == 2
    assert ".omm-shard-4-of-9, .omm-shard-5-of-9, 2 more); go on with --shard I/9, or " in capsys.readouterr().err
    assert main(words) == 2
    assert "has shards that are not merged: omm merge" in capsys.readouterr().err


def test_the_summary_of_a_shard_has_the_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_photos(tmp_path / "photos"), tmp_path / "out"
    (source / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    shard = shard_of(PurePosixPath("0.png"), 3)
    models = ["--authorized", MINE, "--surrogate", THEIRS, "--allow-python"]
    assert main(["protect", str(source), "--out", str(out), "--shard", str(shard), *models, *QUICK]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith(f"shard {shard}: ")
    assert f" photos protected, in {shard.folder(out)}\n1 failed:\n  0.png: " in printed
    assert f"when all shards are done: omm merge {out}" in printed
