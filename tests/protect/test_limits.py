"""Photos that would take too much memory or time end alone, with a reason, and the run goes on."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hostile import CONTEXT, check_lines, files_of, lines_of, protect, save_photo
from PIL import Image
from torch import Tensor
from toys import Linear, classifier, theirs

from onlymymodel.cli.main import main
from onlymymodel.data.folder import scan
from onlymymodel.data.image_io import Header, probe
from onlymymodel.data.time_limit import TimeUp
from onlymymodel.errors import UserError
from onlymymodel.protect.batches import plan_batches, protect_batch
from onlymymodel.protect.context import PhotoSource
from onlymymodel.protect.limits import PURIFIER, UNLIMITED, Limits, gib
from onlymymodel.protect.memory_limit import MemorySize, resident_bytes
from onlymymodel.protect.photo_record import PhotoManifest

MODELS = ["--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "--allow-python"]
QUICK = ["--recipe", "exact", "--steps", "1", "--epsilon", "16", "--shape", "even", "--device", "cpu", "--quiet"]
BRIGHT = 250


def claims(width: int, height: int) -> bytes:
    """A JPEG of a few hundred bytes whose header claims another size; the decoder fills in what is missing."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 120, 150)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    frame = data.index(b"\xff\xc0") + 5
    data[frame : frame + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(3):
        save_photo(tmp_path / "photos" / f"{index}.png", index)
    return tmp_path / "photos"


def test_a_small_file_that_claims_to_be_huge_is_skipped_by_its_header(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "huge.jpg").write_bytes(claims(9000, 9000))
    assert (photos / "huge.jpg").stat().st_size < 1000
    assert (probe(photos / "huge.jpg").width, probe(photos / "huge.jpg").height) == (9000, 9000)
    limit = resident_bytes() // 2**20 + 600
    command = ["protect", str(photos), "--out", str(tmp_path / "out"), *MODELS, *QUICK, "--memory", f"{limit}MiB"]
    decoded, load = list[tuple[int, int]](), Image.Image.load

    def count(image: Image.Image) -> object:
        decoded.append(image.size)
        return load(image)

    monkeypatch.setattr(Image.Image, "load", count)
    assert main([*command, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["memory_limit"] == limit << 20
    assert plan["peak_bytes"] < plan["memory_limit"]
    assert [row["photo"] for row in plan["too_large"]] == ["huge.jpg"]
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["counts"]["skipped"] == 1
    assert max(decoded) < (9000, 9000)
    check_lines(photos, tmp_path / "out")
    record = PhotoManifest(tmp_path / "out").by_source()["huge.jpg"]
    assert record.status == "skipped"
    assert plan["too_large"][0]["reason"].startswith("needs about ")
    assert record.reason.startswith("needs about ")
    assert record.reason.endswith(f" of memory for its 9000x9000 pixels, the limit is {gib(limit << 20)} (--memory)")


def test_tune_skips_a_photo_that_is_too_large_for_the_memory(photos: Path, tmp_path: Path) -> None:
    (photos / "huge.jpg").write_bytes(claims(2000, 2000))
    models = [*MODELS[:4], "--heldout", "python:toys:others", "--allow-python"]
    quick = ["--recipe", "exact", "--steps", "1", "--shape", "even", "--device", "cpu", "--quiet", "--highest", "2"]
    limit = f"{resident_bytes() // 2**20 + 300}MiB"
    assert main(["tune", str(photos), "--out", str(tmp_path / "out"), *models, *quick, "--memory", limit]) in (0, 1)
    records = PhotoManifest(tmp_path / "out" / "epsilon-2").by_source()
    assert records["huge.jpg"].status == "skipped"
    assert records["huge.jpg"].reason.endswith("(--memory)")
    assert {record.status for name, record in records.items() if name != "huge.jpg"}.isdisjoint({"skipped", "failed"})


def test_a_photo_is_tried_again_with_more_memory(photos: Path, tmp_path: Path) -> None:
    header = probe(photos / "0.png")
    tight = Limits(memory=UNLIMITED.need(header, CONTEXT) - 1)
    assert protect(photos, tmp_path / "out", limits=tight).counts == {"skipped": 3}
    again = protect(photos, tmp_path / "out", limits=Limits(memory=UNLIMITED.need(header, CONTEXT)))
    assert again.counts == protect(photos, tmp_path / "other").counts
    assert "skipped" not in again.counts


def test_batches_are_whole_where_they_fit_and_a_larger_photo_is_alone(tmp_path: Path) -> None:
    context = replace(CONTEXT, recipe=replace(CONTEXT.recipe, working_size=64))
    for index, side in enumerate((128, 1024, 128, 128, 128, 128)):
        save_photo(tmp_path / f"{index}.png", index, side)
    small, large = Header(128, 128, 3), Header(1024, 1024, 3)
    limits = Limits(memory=UNLIMITED.need(large, context, 1))
    assert limits.fits(small, context, 2)
    assert not limits.fits(large, context, 2)

    def plan(limits: Limits) -> list[list[str]]:
        batches = plan_batches(scan(tmp_path), context, 2, limits)
        return [[str(entry.relative) for entry in batch] for batch in batches]

    assert plan(UNLIMITED) == [["0.png", "1.png"], ["2.png", "3.png"], ["4.png", "5.png"]]
    assert plan(limits) == [["0.png", "2.png"], ["3.png", "4.png"], ["5.png"], ["1.png"]]


def test_the_need_grows_with_the_photo_the_batch_and_lpips() -> None:
    def need(side: int, photos: int = 1, lpips: float | None = None) -> int:
        context = replace(CONTEXT, budget=replace(CONTEXT.budget, lpips=lpips))
        return Limits(resident=1000, networks=10).need(Header(side, side, 3), context, photos)

    assert 1000 < need(100) < need(200) < need(2000) < need(2000, 8) < need(2000, 8, lpips=0.1)
    assert need(4900) - need(4899) > 3 * (4900**2 - 4899**2)


def test_processes_share_the_memory() -> None:
    resident = resident_bytes()
    one = Limits.of(CONTEXT, MemorySize(resident + (8 << 30)))
    four = Limits.of(CONTEXT, MemorySize(resident + (8 << 30) + 4 * resident), workers=4)
    assert one.memory is not None
    assert four.memory is not None
    assert one.memory - one.resident == pytest.approx(8 << 30, rel=0.01)
    assert four.memory - four.resident == pytest.approx(2 << 30, rel=0.05)
    with pytest.raises(UserError, match=r"leaves nothing for photos: give more by --memory$"):
        Limits.of(CONTEXT, MemorySize(1 << 20))
    with pytest.raises(UserError, match=r"in each of 9 processes.*or fewer --workers"):
        Limits.of(CONTEXT, MemorySize(3 * resident), workers=9)


class _TakesLong(Linear):
    """A network that has no time for a bright photo."""

    def forward(self, pixels: Tensor) -> Tensor:
        if bool((pixels.amin((1, 2, 3)) > 0.9).any()):
            raise TimeUp
        return super().forward(pixels)


def test_a_photo_that_takes_too_long_fails_alone(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (24, 24), (BRIGHT,) * 3).save(photos / "bright.png")
    net = theirs().net
    assert isinstance(net, Linear)
    surrogate = classifier(_TakesLong(net.weights.data, net.bias.data), 3, "slow")
    context = replace(CONTEXT, surrogates=(surrogate,))
    out = tmp_path / "out"
    protect(photos, out, context=context, limits=Limits(seconds=1000), batch_size=4)
    record = PhotoManifest(out).by_source()["bright.png"]
    assert (record.status, record.reason) == ("failed", "took longer than the limit of 1000 s (--time-limit)")
    assert {line["status"] for line in lines_of(out) if line["source"] != "bright.png"} == {"protected"}
    check_lines(photos, out)


def test_nothing_partial_is_written_and_another_run_tries_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert protect(photos, out, limits=Limits(seconds=1e-9)).counts == {"failed": 3}
    assert not [name for name in files_of(out) if name.endswith((".png", ".partial"))]
    assert "failed" not in protect(photos, out).counts


def test_bytes_in_memory_have_the_same_limits() -> None:
    tight = Limits(memory=1 << 30)
    ((data, record),) = protect_batch([PhotoSource(claims(9000, 9000))], CONTEXT, None, 1, tight)
    assert (data, record.status) == (None, "skipped")
    ((data, record),) = protect_batch([PhotoSource(b"no photo")], CONTEXT, None, 1, tight)
    assert (data, record.status) == (None, "failed")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--memory", "much"], "--memory must be a size such as 8GiB, or a share of what is free such as 60%, not 'm"),
        (["--memory", "1MiB"], "leaves nothing for photos: give more by --memory"),
        (["--time-limit", "0"], "--time-limit must be above 0, not 0"),
    ],
)
def test_mistakes(
    flags: list[str], message: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["protect", str(photos), "--out", str(tmp_path / "out"), *MODELS, *QUICK, *flags]) == 2
    assert message in capsys.readouterr().err


def test_networks_are_asked_how_much_they_take() -> None:
    assert Limits.of(CONTEXT).networks >= 2 * torch.zeros(3).numel() * 4


def test_the_purifier_in_the_way_of_the_attack_counts_for_each_photo_of_a_batch() -> None:
    header = Header(400, 300, 3)
    against = replace(CONTEXT, recipe=replace(CONTEXT.recipe, against=("jpeg", "purifier")))
    without = replace(CONTEXT, recipe=replace(CONTEXT.recipe, against=("jpeg",)))
    for photos in (1, 4):
        more = UNLIMITED.need(header, against, photos) - UNLIMITED.need(header, without, photos)
        assert more == photos * PURIFIER * 400 * 300 * 3
