"""Records are read back as written, also those of earlier versions; errors name invalid lines."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from onlymymodel.data.manifest import Manifest
from onlymymodel.errors import UserError
from onlymymodel.protect.answer_records import ModelAnswers, SurrogateAnswers
from onlymymodel.protect.photo_record import MANIFEST, FaceRecord, PhotoManifest, PhotoRecord
from onlymymodel.protect.region import RegionRecord

OWN = ModelAnswers(model="zoo:a", answer_before=1, margin_before=2.5, answer_after=1, margin_after=2.0)
LOST = ModelAnswers(answer_before=0, margin_before=1.0, answer_after=None, margin_after=None)
SURROGATE = SurrogateAnswers(model="zoo:b", pushed_from=1, answer_before=1, answer_after=0)
FACE = FaceRecord(
    box=(1.0, 2.5, 30.0, 40.1), label=0, label_name="ann", authorized=LOST, surrogates=(), area="put back"
)
FULL = PhotoRecord(
    source="trip/ä.png",
    output="trip/ä.png",
    output_sha256="1" * 64,
    source_sha256="2" * 64,
    status="protected",
    reason="1 of 1 stand-ins misread it",
    label=1,
    label_source="given",
    authorized=OWN,
    surrogates=(SURROGATE,),
    faces=(FACE,),
    linf=16,
    psnr=30.0,
    ssim=0.95,
    flip=0.05,
    luma=3.5,
    l2=2.0,
    steps=4,
    seconds=1.25,
    region=RegionRecord("face", boxes=((0, 1, 31, 42),)),
    recipe_sha256="3" * 64,
    notes=("a note",),
)
# as the first version wrote it
OLD: dict[str, Any] = {
    "source": "a.png", "output": "a.png", "output_sha256": "1" * 64, "source_sha256": "2" * 64, "status": "protected",
    "reason": "1 of 1 stand-ins misread it", "label": 1, "label_source": "authorized model's clean answer",
    "authorized": {"model": "zoo:a", "answer_before": 1, "margin_before": 2.5, "answer_after": 1, "margin_after": 2},
    "surrogates": [{"model": "zoo:b", "pushed_from": 1, "answer_before": 1, "answer_after": 0}],
    "linf": 16, "psnr": 30.0, "ssim": 0.95, "steps": 4, "seconds": 1.25, "recipe_sha256": "3" * 64, "notes": [],
}  # fmt: skip


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = PhotoManifest(tmp_path)
    blank = PhotoRecord(
        source="b.png", source_sha256=None, status="skipped", reason="", label=None, label_source="given", lpips=None
    )
    for record in (FULL, blank):
        manifest.append(record)
    assert manifest.load() == [FULL, blank]
    assert PhotoManifest(tmp_path / "nowhere").load() == []


def test_the_line_has_the_keys_of_every_version_in_their_order(tmp_path: Path) -> None:
    PhotoManifest(tmp_path).append(FULL)
    (line,) = Manifest(tmp_path / MANIFEST).load()
    assert list(line) == [
        "source", "output", "output_sha256", "source_sha256", "status", "reason", "label", "label_source", "authorized",
        "surrogates", "faces", "linf", "psnr", "ssim", "flip", "luma", "l2", "steps", "seconds", "region",
        "recipe_sha256", "notes",
    ]  # fmt: skip
    assert line["region"] == {"kind": "face", "boxes": [[0, 1, 31, 42]]}
    assert list(line["authorized"]) == ["model", "answer_before", "margin_before", "answer_after", "margin_after"]
    assert list(line["surrogates"][0]) == ["model", "pushed_from", "pushed_toward", "answer_before", "answer_after"]
    assert list(line["faces"][0]) == ["box", "label", "label_name", "authorized", "surrogates", "area"]
    assert "model" not in line["faces"][0]["authorized"]
    assert (type(line["linf"]), type(line["psnr"])) == (int, float)


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        (RegionRecord("image", reason="no face was found"), {"kind": "image", "reason": "no face was found"}),
        (RegionRecord("mask", sha256=None), {"kind": "mask", "sha256": None}),
        (RegionRecord("mask", sha256="4" * 64), {"kind": "mask", "sha256": "4" * 64}),
        (None, None),
    ],
)
def test_a_region_has_the_keys_of_its_kind(region: RegionRecord | None, expected: dict[str, Any] | None) -> None:
    fields = {**FULL.to_json(), "region": expected}
    record = PhotoRecord.from_json(fields)
    assert record.region == region
    assert record.to_json() == fields


def test_a_line_of_an_earlier_or_a_later_version_is_read() -> None:
    record = PhotoRecord.from_json(OLD)
    assert (record.faces, record.region, record.luma) == (None, None, UNSET)
    assert record.surrogates == (SURROGATE,)
    assert PhotoRecord.from_json({**OLD, "a key of tomorrow": {"x": 1}}) == record


def test_the_last_line_of_a_source_counts_and_a_line_without_one_does_not(tmp_path: Path) -> None:
    lines = [OLD, {"environment": "no source"}, {**OLD, "source": "b.png"}, {**OLD, "status": "failed"}]
    (tmp_path / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"source": "torn')
    records = PhotoManifest(tmp_path).by_source()
    assert {source: record.status for source, record in records.items()} == {"a.png": "failed", "b.png": "protected"}
    assert list(records) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"status": "done"}, "Invalid enum value 'done' - at `$.status`"),
        ({"label": "ann"}, "Expected `int | null`, got `str` - at `$.label`"),
        ({"region": {"boxes": []}}, "missing required field `kind` - at `$.region`"),
        ({"source": 3}, "Expected `str`, got `int` - at `$.source`"),
    ],
)
def test_an_invalid_line_is_named(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in (OLD, {**OLD, **change})))
    with pytest.raises(UserError, match=r"manifest\.jsonl, line 2 is not the record of a photo: ") as caught:
        PhotoManifest(tmp_path).load()
    assert problem in str(caught.value)
