"""A run into the folder of an earlier one, after photos, labels or masks have changed."""

import errno
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import files_of
from numpy.typing import NDArray
from PIL import Image
from toys import choosy, others, theirs

from onlymymodel.data.folder import scan
from onlymymodel.data.manifest import Manifest, sha256
from onlymymodel.data.portraits import render
from onlymymodel.data.regular_file import read_regular
from onlymymodel.data.stores.stamps import RESULTS, SOURCES
from onlymymodel.errors import UserError
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect import batches as batches_module
from onlymymodel.protect import folder_run as folder_run_module
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.folder import Job, protect_folder
from onlymymodel.protect.merge import merge_shards
from onlymymodel.protect.photo import Context
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest, PhotoRecord
from onlymymodel.protect.plan import plan_folder
from onlymymodel.protect.region import Region, RegionRecord
from onlymymodel.protect.shards import Shard
from onlymymodel.surrogates.load import load_model

SIDE, NOBODY = 40, 3  # `toys.choosy` gives no photo the class NOBODY
RECIPE = make_recipe("default", steps=2, step_share=1.0, views=("center",), kappa=0.0)
CONTEXT = Context(choosy(), (theirs(), others()), Budget(16 / 255), RECIPE)
MASKED = replace(CONTEXT, region=Region("mask"))
URIS = {"authorized": "python:toys:choosy", "surrogates": ["python:toys:theirs", "python:toys:others"]}
OPEN = np.full((SIDE, SIDE), 255, np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos that can be protected."""
    source = tmp_path / "photos"
    (source / "trip").mkdir(parents=True)
    for index, name in enumerate(("0.png", "1.png", "trip/2.png")):
        (source / name).write_bytes(png(render(index, index, index, SIDE)))
    return source


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """A folder with a mask for the first photo."""
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "0.png").write_bytes(png(OPEN))
    return folder


def run(source: Path, out: Path, **changes: Any) -> Mapping[str, PhotoRecord]:
    """Protect a folder and return each photo's record."""
    job = Job(source, out, **{"context": CONTEXT, "uris": URIS, "batch_size": 2, **changes})
    protect_folder(job, progress=False)
    return PhotoManifest(out).by_source()


def statuses(records: Mapping[str, PhotoRecord]) -> dict[str, str]:
    return {source: record.status for source, record in records.items()}


def pictures(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*.png")}


def nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "protect_photos", lambda *_: pytest.fail("computed again"))


def test_a_photo_that_got_its_mask_is_protected(
    photos: Path, masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, job = tmp_path / "out", {"context": MASKED, "masks": masks}
    first = run(photos, out, **job)
    assert statuses(first) == {"0.png": "protected", "1.png": "failed", "trip/2.png": "failed"}
    assert first["1.png"].region == RegionRecord("mask", sha256=None)
    (masks / "1.png").write_bytes(png(OPEN))
    second = run(photos, out, **job)
    assert statuses(second) == {"0.png": "protected", "1.png": "protected", "trip/2.png": "failed"}
    nothing_is_computed(monkeypatch)
    assert run(photos, out, **job) == second


@pytest.mark.parametrize(("bad", "status"), [(OPEN[:, 1:], "failed"), (OPEN // 2, "skipped")])
def test_a_mask_that_was_mended_is_tried_and_one_that_was_not_is_not(
    bad: NDArray[np.uint8], status: str, photos: Path, masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (masks / "0.png").write_bytes(png(bad))
    job = {"context": MASKED, "masks": masks, "only": {"0.png"}}
    first = run(photos, tmp_path / "out", **job)
    assert statuses(first) == {"0.png": status}
    assert first["0.png"].region == RegionRecord("mask", sha256=sha256(png(bad)))
    with monkeypatch.context() as patch:
        nothing_is_computed(patch)
        assert run(photos, tmp_path / "out", **job) == first
    (masks / "0.png").write_bytes(png(OPEN))
    assert statuses(run(photos, tmp_path / "out", **job)) == {"0.png": "protected"}


def test_a_line_that_names_no_mask_is_of_a_photo_without_one(
    photos: Path, masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions wrote such a record for every photo that was not protected."""
    out, job = tmp_path / "out", {"context": MASKED, "masks": masks}
    lines = [record.to_json() for record in run(photos, out, **job).values()]
    lines = [{**line, "region": line["output"] and line["region"]} for line in lines]
    assert [line["region"] is None for line in lines] == [False, True, True]
    (out / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with monkeypatch.context() as patch:
        nothing_is_computed(patch)
        run(photos, out, **job)
    (masks / "1.png").write_bytes(png(OPEN))
    assert statuses(run(photos, out, **job))["1.png"] == "protected"


@pytest.mark.parametrize("suffix", [".PNG", ".Png"])
def test_the_suffix_of_a_mask_may_be_spelled_as_that_of_a_photo(
    suffix: str, photos: Path, masks: Path, tmp_path: Path
) -> None:
    (photos / "0.png").rename(photos / f"0{suffix}")
    (masks / "0.png").rename(masks / f"0{suffix}")
    name = f"0{suffix}"
    assert statuses(run(photos, tmp_path / "out", context=MASKED, masks=masks, only={name})) == {name: "protected"}


def test_a_photo_that_is_no_longer_protected_leaves_no_old_file(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = {"context": replace(CONTEXT, authorized=load_model(str(URIS["authorized"]), allow_python=True))}
    assert set(statuses(run(photos, out, **job)).values()) == {"protected"}
    assert pictures(out) == {"0.png", "1.png", "trip/2.png"}
    (photos / "1.png").write_bytes(b"no photo any more")
    summary = run(photos, out, **job, labels={"0.png": NOBODY})
    assert statuses(summary) == {"0.png": "unchanged", "1.png": "failed", "trip/2.png": "protected"}
    assert pictures(out) == {"trip/2.png"}
    (photos / "trip" / "2.png").rename(photos / "away.png")
    (photos / "trip" / "2.png").symlink_to(photos / "away.png")
    (photos / "0.png").rename(photos / "back.png")
    (photos / "0.png").mkdir()
    summary = run(photos, out, **job)
    assert statuses(summary) == {
        "0.png": "skipped",
        "1.png": "failed",
        "trip/2.png": "skipped",
        "away.png": "protected",
        "back.png": "protected",
    }
    assert summary["trip/2.png"].output is None
    assert summary["trip/2.png"].reason == "a symbolic link"
    assert pictures(out) == {"away.png", "back.png"}
    assert verify_folder(out, allow_python=True, progress=False).faults == ()
    lines = len(Manifest(out / MANIFEST).load())
    run(photos, out, **job)
    assert len(Manifest(out / MANIFEST).load()) == lines


def test_other_photos_are_refused(photos: Path, tmp_path: Path) -> None:
    """Those of the same names would replace the results of the first, whose lines would be lost."""
    out, others = tmp_path / "out", tmp_path / "others"
    run(photos, out)
    before = files_of(out)
    shutil.copytree(photos / "trip", others)
    for source in (others, others / "2.png", photos / "trip"):
        with pytest.raises(UserError, match=r"was made from other photos \(.*photos there, .*\); give another --out"):
            run(source, out)
        with pytest.raises(UserError, match="was made from other photos"):
            plan_folder(Job(source, out, CONTEXT, URIS))
    assert files_of(out) == before
    photos.rename(tmp_path / "moved")
    assert set(statuses(run(tmp_path / "moved", out)).values()) == {"protected"}
    assert files_of(out) == before


def test_photos_of_one_folder_are_protected_one_after_the_other(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = {"context": replace(CONTEXT, authorized=load_model(str(URIS["authorized"]), allow_python=True))}
    for source in (photos / "0.png", photos / "1.png", photos):
        run(source, out, **job)
        assert verify_folder(out, allow_python=True, progress=False).faults == ()
    assert pictures(out) == {"0.png", "1.png", "trip/2.png"}


@pytest.mark.parametrize("renamed", ["0.PNG", "0.jpg"])
@pytest.mark.parametrize("shards", [0, 5])
def test_a_file_is_that_of_one_photo(renamed: str, shards: int, photos: Path, tmp_path: Path) -> None:
    """A photo that is renamed, or replaced by one of another format, leaves its file to the new one."""
    out = tmp_path / "out"
    job = {"context": replace(CONTEXT, authorized=load_model(str(URIS["authorized"]), allow_python=True))}

    def run_all() -> Mapping[str, PhotoRecord]:
        for number in range(1, shards + 1):
            run(photos, out, **job, shard=Shard(number, shards))
        if shards:
            merge_shards(out)
            return PhotoManifest(out).by_source()
        return run(photos, out, **job)

    run_all()
    (photos / "0.png").rename(photos / renamed)
    (photos / renamed).write_bytes(png(render(5, 5, 5, SIDE)))
    records = run_all()
    assert statuses(records) == {
        "0.png": "skipped",
        "1.png": "protected",
        "trip/2.png": "protected",
        renamed: "protected",
    }
    assert (records["0.png"].reason, records["0.png"].output) == (f"its file is now that of {renamed!r}", None)
    assert verify_folder(out, allow_python=True, progress=False).faults == ()
    assert run_all() == records
    (photos / renamed).rename(photos / "0.png")
    records = run_all()
    assert (records["0.png"].status, records[renamed].status) == ("protected", "skipped")
    assert verify_folder(out, allow_python=True, progress=False).faults == ()


@pytest.mark.parametrize("shards", [0, 1])
def test_a_photo_that_cannot_be_read_now_keeps_its_file(
    shards: int, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is injected, since root may read any file; it is that of a mount that has gone away, say."""
    out, job = tmp_path / "out", {"context": CONTEXT}
    run(photos, out, **job)
    before = files_of(out)
    for stamps in (out / RESULTS, out / SOURCES):
        stamps.unlink(missing_ok=True)

    def broken(path: Any, *rest: Any, **named: Any) -> bytes:
        if path.name == "1.png":
            raise OSError(errno.EIO, "Input/output error")
        return read_regular(path, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(folder_run_module, "read_regular", broken)
        part = Shard(1, 1) if shards else None
        summary = protect_folder(Job(photos, out, CONTEXT, URIS, batch_size=2, shard=part), progress=False)
    (failed,) = [outcome for outcome in summary.outcomes if outcome.status == "failed"]
    assert (failed.source, failed.reason) == (
        "1.png", "cannot be read: Input/output error; the file of an earlier run stays",
    )  # fmt: skip
    if shards:
        merge_shards(out)
    assert pictures(out) == {"0.png", "1.png", "trip/2.png"}
    assert {name: files_of(out)[name] for name in pictures(out)} == {name: before[name] for name in pictures(out)}
    assert set(statuses(run(photos, out, **job)).values()) == {"protected"}


def test_a_photo_of_a_format_that_is_not_read_here_keeps_its_file(photos: Path, tmp_path: Path) -> None:
    """As HEIC on a machine without the extra `heif`."""
    out = tmp_path / "out"
    run(photos, out)
    before = files_of(out)
    entries = [replace(entry, status="refused", reason="not read here", output=None) for entry in scan(photos)]
    (photos / "1.png").write_bytes(b"another picture")
    job = Job(photos, out, CONTEXT, URIS, batch_size=2, scanned=entries)
    assert {outcome.reason for outcome in protect_folder(job, progress=False).outcomes} == {
        "not read here", "not read here; the file of an earlier run stays",
    }  # fmt: skip
    assert pictures(out) == {"0.png", "trip/2.png"}
    assert all(files_of(out)[name] == before[name] for name in pictures(out))
    assert statuses(PhotoManifest(out).by_source())["0.png"] == "protected"


def test_files_outside_the_manifest_are_left_alone(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos, out, only={"0.png"})
    (out / "1.png").write_bytes(b"a stranger's")
    (photos / "1.png").write_bytes(b"no photo")
    assert statuses(run(photos, out, only={"0.png", "1.png"})) == {"0.png": "protected", "1.png": "failed"}
    assert (out / "1.png").read_bytes() == b"a stranger's"


def test_an_old_picture_that_cannot_be_removed_is_one_failure_and_is_tried_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is injected, since root may remove any file."""
    out = tmp_path / "out"
    first = run(photos, out)
    (photos / "0.png").write_bytes(b"no photo")

    real = Path.unlink

    def denied(path: Path, *rest: Any, **named: Any) -> None:
        if path.name == "0.png":
            raise PermissionError(13, "Permission denied")
        real(path, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", denied)
        record = run(photos, out)["0.png"]
    assert record.status == "failed"
    assert record.reason.startswith("the file of an earlier run cannot be removed: Permission denied (not a picture")
    assert (record.output, record.output_sha256) == (first["0.png"].output, first["0.png"].output_sha256)
    assert statuses(run(photos, out))["0.png"] == "failed"
    assert pictures(out) == {"1.png", "trip/2.png"}
