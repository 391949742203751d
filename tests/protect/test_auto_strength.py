"""Strength `auto` against the runs at each strength by itself."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluating import QUICK, write_photos
from records import surrogates_of
from test_photo import CONTEXT, coded
from toys import linear, others, theirs

from onlymymodel.cli.main import main
from onlymymodel.data.image_io import decode
from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect.auto_strength import budget_at, protect_at_weakest
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.strengths import AUTO, DEFAULT, STRENGTHS
from onlymymodel.protect.context import Context, PhotoSource
from onlymymodel.protect.photo import protect_bytes, protect_photos
from onlymymodel.protect.photo_record import PhotoManifest, PhotoRecord
from onlymymodel.settings_file import read_run_file
from onlymymodel.settings_partial import PartialSettings
from onlymymodel.settings_transfer import specification

STRONGEST = Budget.from_json(STRENGTHS["high"].bounds)
# a stand-in with larger weights needs a larger change
HARD = linear(seed=14, classes=3, scale=0.4, name="hard")
ALONE = replace(CONTEXT, surrogates=(theirs(), others(), HARD), budget=STRONGEST)
SEVERAL = [coded(render(identity, identity % 7, 70 + identity, 48)) for identity in range(10)]


def auto(context: Context) -> Context:
    return replace(context, auto_strength=True)


def misled(record: PhotoRecord) -> int:
    return sum(row.answer_before == row.pushed_from != row.answer_after for row in surrogates_of(record))


def test_it_is_the_weakest_strength_that_misleads_whom_any_strength_misleads() -> None:
    """The bytes and the record are those of a run at that strength, and no other strength is better."""
    chosen = protect_photos([PhotoSource(data) for data in SEVERAL], auto(ALONE))
    seen = set()
    for source, (data, record) in zip(SEVERAL, chosen, strict=True):
        by_strength = {
            name: protect_bytes(source, label=None, context=replace(ALONE, budget=budget_at(STRONGEST, name)))
            for name in STRENGTHS
        }
        counts = {
            name: misled(record) if record.status == "protected" else -1 for name, (_, record) in by_strength.items()
        }
        if record.status == "protected":
            weakest = next(name for name in STRENGTHS if counts[name] == max(counts.values()))
            assert record.strength == weakest
            seen.add(weakest)
        elif record.status == "already-misread":
            assert record.strength == DEFAULT
        else:
            assert max(counts.values()) == -1
        expected, alone = by_strength[str(record.strength)]
        assert data == expected
        assert replace(record, seconds=None) == replace(alone, seconds=None, strength=record.strength)
    assert len(seen) >= 2, "the photos do not tell strengths apart"


def test_the_same_bytes_come_out_alone_and_in_any_batch() -> None:
    context = auto(ALONE)
    together = protect_photos([PhotoSource(data) for data in SEVERAL], context, batch_size=8)
    backwards = protect_photos([PhotoSource(data) for data in reversed(SEVERAL)], context, batch_size=3)
    for source, (data, record), (other, _) in zip(SEVERAL, together, reversed(backwards), strict=True):
        alone, own = protect_bytes(source, label=None, context=context)
        assert data == other == alone
        assert replace(record, seconds=None) == replace(own, seconds=None)


def test_a_photo_that_cannot_be_read_is_tried_once_and_others_go_on() -> None:
    tried: list[list[bytes]] = []

    def protect(sources: list[PhotoSource], context: Context) -> list[tuple[bytes | None, PhotoRecord]]:
        tried.append([source.data for source in sources])
        return protect_photos(sources, context)

    sources = [PhotoSource(b"no photo"), PhotoSource(SEVERAL[0])]
    (data, broken), (_, record) = protect_at_weakest(sources, auto(ALONE), protect)  # type: ignore[arg-type]
    assert data is None
    assert broken.status == "failed"
    assert record.status != "failed"
    assert sum(b"no photo" in part for part in tried) == 1
    assert broken == protect_bytes(b"no photo", label=None, context=ALONE)[1]


def run(photos: Path, out: Path, *flags: str) -> int:
    words = ["--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "python:toys:others"]
    return main(
        ["protect", str(photos), "--out", str(out), *words, "--allow-python", *QUICK, "--strength", AUTO, *flags]
    )


def lines(out: Path) -> list[PhotoRecord]:
    return [replace(record, seconds=None) for record in PhotoManifest(out).by_source().values()]


@pytest.mark.slow
def test_a_folder_is_the_same_by_any_number_of_workers_and_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_photos(tmp_path / "photos")
    outs = [tmp_path / name for name in ("one", "two", "stopped")]
    assert run(photos, outs[0]) in (0, 1)
    assert run(photos, outs[1], "--workers", "2") in (0, 1)
    from onlymymodel.protect import batches

    calls = 0

    def stop(*given: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return protect_photos(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(batches, "protect_photos", stop)
    assert run(photos, outs[2], "--batch-size", "1") == 130
    monkeypatch.undo()
    assert run(photos, outs[2], "--batch-size", "1") in (0, 1)
    for out in outs[1:]:
        assert lines(out) == lines(outs[0])
        for record in lines(out):
            assert record.output is None or (out / record.output).read_bytes() == (outs[0] / record.output).read_bytes()
    assert all(record.strength in STRENGTHS for record in lines(outs[0]))
    assert json.loads((outs[0] / "run.json").read_text())["settings"]["auto_strength"] is True


@pytest.mark.slow
def test_each_file_is_verified_by_the_budget_of_its_own_strength(tmp_path: Path) -> None:
    photos, out = write_photos(tmp_path / "photos"), tmp_path / "out"
    assert run(photos, out) in (0, 1)
    assert verify_folder(out, allow_python=True, progress=False).faults == ()
    records = [record for record in PhotoManifest(out).by_source().values() if record.output]
    for record in records:
        original, written = (
            to_tensor(decode(path.read_bytes()).pixels) for path in (photos / record.source, out / str(record.output))
        )
        own = budget_at(STRONGEST, str(record.strength))
        assert own.admits(written[None], original[None]).all()
    manifest = out / "manifest.jsonl"
    claimed = [json.loads(line) for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps({**line, "strength": "lowest"}) + "\n" for line in claimed))
    report = verify_folder(out, allow_python=True, progress=False)
    assert "'lowest' is no strength" in report.faults[-1].reason


@pytest.mark.slow
def test_a_dry_run_says_that_up_to_three_strengths_are_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write_photos(tmp_path / "photos"), tmp_path / "out", "--dry-run") == 0
    assert "for each of 1 to 3 strengths" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_settings_carry_it_to_workers_and_run_files(tmp_path: Path) -> None:
    given = PartialSettings(
        authorized="zoo:identity-residual", surrogates=("zoo:identity-plain",), strength=AUTO, budget={"luma": 8.0}
    )
    settings = given.complete()
    assert settings.auto_strength
    assert settings.budget == replace(STRONGEST, luma=8 / 255)
    written = tmp_path / "run.toml"
    written.write_text(settings.to_toml(tmp_path))
    assert read_run_file(written).complete() == settings
    assert tomllib.loads(json.loads(specification(settings, allow_python=False))["run"])["strength"] == AUTO


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"budget": {"ssim": 0.9}}, "leave out --ssim"),
        ({"budget": {"flip": 0.1}}, "leave out --flip"),
        ({"epsilon": 8.0}, "give one"),
        ({"recipe": {"name": "fmd"}}, "needs a recipe that misleads stand-ins, which fmd does not"),
    ],
)
def test_what_contradicts_it_is_refused(changes: dict[str, object], sentence: str) -> None:
    given = {"authorized": "zoo:identity-residual", "surrogates": ("zoo:identity-plain",), "strength": AUTO}
    with pytest.raises(UserError, match=sentence):
        PartialSettings(**(given | changes)).check()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("statuses", "chosen"),
    [
        (("already-misread", "unchanged", "unchanged"), "low"),
        (("unchanged", "already-misread", "already-misread"), "medium"),
        (("unchanged", "unchanged", "already-misread"), "high"),
        (("unchanged", "unchanged", "unchanged"), "high"),
    ],
)
def test_a_photo_that_no_stand_in_reads_gets_the_weakest_strength_at_which_it_is_written(
    statuses: tuple[str, ...], chosen: str
) -> None:
    """The records are real ones whose status is set: real photos rarely come to these."""
    by_budget = dict(zip((budget_at(STRONGEST, name).ssim for name in STRENGTHS), statuses, strict=True))
    _, sound = protect_bytes(SEVERAL[0], label=None, context=ALONE)

    def protect(sources: list[PhotoSource], context: Context) -> list[tuple[bytes | None, PhotoRecord]]:
        status: Any = by_budget[context.budget.ssim]
        return [(None if status == "unchanged" else b"file", replace(sound, status=status)) for _ in sources]

    ((data, record),) = protect_at_weakest([PhotoSource(SEVERAL[0])], auto(ALONE), protect)  # type: ignore[arg-type]
    assert (record.status, record.strength) == (statuses[list(STRENGTHS).index(chosen)], chosen)
    assert (data is None) == (record.status == "unchanged")
