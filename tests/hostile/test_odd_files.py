"""No name and no file ends a run: each is one line of the manifest, and the others are protected."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import CONTEXT, check_lines, files_of, lines_of, protect, save_photo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from toys import SIZE, classifier

from onlymymodel.data.image_io import PhotoError, probe
from onlymymodel.evaluate.folders import Evaluation, evaluate_folders
from onlymymodel.evaluate.judges import judges_for
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect import batches as batches_module
from onlymymodel.protect.context import Context
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest
from onlymymodel.surrogates.black_box import ClassifierBlackBox
from onlymymodel.surrogates.load import load_model

LATIN_1 = os.fsdecode("Zoë.png".encode("latin-1"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    source = tmp_path / "photos"
    for index in range(3):
        save_photo(source / f"{index}.png", index)
    return source


def statuses(out: Path) -> dict[str, str]:
    return {source: record.status for source, record in PhotoManifest(out).by_source().items()}


def test_a_name_that_is_not_utf_8_is_protected_verified_and_evaluated(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    save_photo(photos / LATIN_1, 3)
    save_photo(photos / os.fsdecode(b"\xfftrip") / os.fsdecode(b"\x80.png"), 4)
    summary = protect(photos, out)
    assert summary.counts == {"protected": 5}
    check_lines(photos, out)
    assert os.fsencode(out / LATIN_1) in [os.fsencode(path) for path in out.iterdir()]
    raw = (out / MANIFEST).read_bytes()
    assert rb'"source": "Zo\udceb.png"' in raw
    assert LATIN_1 in [json.loads(line)["source"] for line in raw.decode().splitlines()]
    before = files_of(out)
    protect(photos, out)
    assert files_of(out) == before
    assert verify_folder(out, authorized="python:toys:mine", allow_python=True, progress=False).faults == ()
    heldout = ClassifierBlackBox(load_model("python:toys:others", allow_python=True))
    results = evaluate_folders(
        Evaluation(photos, (out,), tuple(judges_for(CONTEXT, [heldout]))),
        out,
        command="omm",
        device=CONTEXT.device,
        progress=False,
    )
    assert LATIN_1 in results.photos
    assert LATIN_1 in json.loads((out / "results.json").read_bytes())["photos"]


def test_a_folder_whose_name_is_not_utf_8_is_protected_and_verified(photos: Path, tmp_path: Path) -> None:
    source, out = tmp_path / os.fsdecode(b"\xff"), tmp_path / os.fsdecode(b"out \x80")
    photos.rename(source)
    assert protect(source, out).counts == {"protected": 3}
    check_lines(source, out)
    report = verify_folder(out, authorized="python:toys:mine", allow_python=True, progress=False)
    assert (report.faults, report.without_source) == ((), 0)


def test_a_file_larger_than_any_photo_is_not_read(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (photos / "0.png").open("r+b") as file:
        file.truncate(1 << 40)  # sparse: a terabyte that takes no room
    summary = protect(photos, out, masks=None)
    assert summary.counts == {"protected": 2, "failed": 1}
    check_lines(photos, out)
    assert PhotoManifest(out).by_source()["0.png"].reason == (
        "cannot be read: 1,099,511,627,776 bytes, the limit is 867,108,864"
    )
    protect(photos, out)
    check_lines(photos, out)


def test_a_photo_that_becomes_a_pipe_after_the_scan_does_not_block(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = probe

    def swapped(path: Path, max_pixels: int, *, first_frame: bool) -> Any:
        header = real(path, max_pixels, first_frame=first_frame)
        if path.name == "1.png":
            path.unlink()
            os.mkfifo(path)
        return header

    monkeypatch.setattr(batches_module, "probe", swapped)
    assert protect(photos, tmp_path / "out").counts == {"protected": 2, "failed": 1}
    assert PhotoManifest(tmp_path / "out").by_source()["1.png"].reason == "cannot be read: not a regular file"
    # before the header is read, too
    (photos / "2.png").unlink()
    os.mkfifo(photos / "2.png")
    with pytest.raises(PhotoError, match="not a regular file"):
        real(photos / "2.png", 1000)


class _Picky(nn.Module):
    """Fails on a photo whose first pixel has the value of `bad`, and gives NaN for `nan`."""

    def __init__(self, bad: float = -1.0, nan: float = -1.0) -> None:
        super().__init__()
        self.bad, self.nan = bad, nan
        self.net = nn.Linear(3 * SIZE * SIZE, 3)
        nn.init.normal_(self.net.weight, std=0.1, generator=torch.Generator().manual_seed(1))

    def forward(self, pixels: Tensor) -> Tensor:
        first = pixels[:, 0].mean((1, 2))
        if bool((first - self.bad).abs().min() < 0.02):
            raise RuntimeError("shape mismatch in a layer\nof this model")
        logits: Tensor = self.net(pixels.flatten(1))
        return torch.where(((first - self.nan).abs() < 0.02)[:, None], float("nan"), logits)


def picky(**values: float) -> Context:
    return replace(CONTEXT, surrogates=(classifier(_Picky(**values), 3, "picky"),))


def save_flat(path: Path, value: int) -> None:
    Image.new("RGB", (24, 24), (value, value, value)).save(path)


def test_an_unexpected_error_is_that_of_one_photo(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_flat(photos / "bad.png", 250)
    summary = protect(photos, tmp_path / "out", context=picky(bad=250 / 255), batch_size=4)
    assert summary.counts["failed"] == 1
    assert summary.counts.total() == 4
    check_lines(photos, tmp_path / "out")
    assert PhotoManifest(tmp_path / "out").by_source()["bad.png"].reason == (
        "an error of this program: RuntimeError: shape mismatch in a layer"
    )
    assert "shape mismatch in a layer" in caplog.text
    protect(photos, tmp_path / "out", context=picky(bad=250 / 255), batch_size=4)
    check_lines(photos, tmp_path / "out")


def test_a_photo_without_a_finite_answer_fails_alone(photos: Path, tmp_path: Path) -> None:
    save_flat(photos / "nan.png", 250)
    context = picky(nan=250 / 255)
    context = replace(context, authorized=context.surrogates[0], surrogates=CONTEXT.surrogates)
    summary = protect(photos, tmp_path / "out", context=context, batch_size=4)
    assert statuses(tmp_path / "out")["nan.png"] == "failed"
    assert summary.counts.total() == 4
    check_lines(photos, tmp_path / "out")


def test_an_error_that_every_photo_causes_ends_the_run(photos: Path, tmp_path: Path) -> None:
    class Broken(_Picky):
        def forward(self, pixels: Tensor) -> Tensor:
            raise RuntimeError(f"a bug, whatever the {len(pixels)} photos")

    context = replace(CONTEXT, surrogates=(classifier(Broken(), 3, "broken"),))
    with pytest.raises(RuntimeError, match="a bug"):
        protect(photos, tmp_path / "out", context=context)


def test_a_superseded_line_is_dropped(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect(photos, out)
    order = [line["source"] for line in lines_of(out)]
    save_photo(photos / "1.png", 9)
    protect(photos, out)
    check_lines(photos, out)
    assert [line["source"] for line in lines_of(out)] == order


names = st.binary(min_size=1, max_size=60).filter(
    lambda name: b"/" not in name and b"\0" not in name and not name.startswith(b".") and name.strip(b".")
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(names, min_size=1, max_size=3, unique_by=lambda name: os.fsdecode(name).casefold()), st.data())
def test_every_file_ends_in_one_line_whatever_its_name(
    tmp_path_factory: pytest.TempPathFactory, stems: list[bytes], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("names")
    source, out = root / "photos", root / "out"
    save_photo(source / "plain" / "photo.png", 0)
    for index, stem in enumerate(stems):
        path = source / f"folder{index}" / os.fsdecode(stem + b".png")
        content = data.draw(st.sampled_from(["photo", "photo", "text", "cut", "pipe", "link", "folder"]))
        save_photo(path, index + 1)
        if content == "text":
            path.write_bytes(b"no photo")
        elif content == "cut":
            path.write_bytes(path.read_bytes()[:200])
        elif content != "photo":
            path.unlink()
            if content == "pipe":
                os.mkfifo(path)
            elif content == "link":
                path.symlink_to(source / "plain" / "photo.png")
            else:
                path.mkdir()
    protect(source, out)
    check_lines(source, out)
    before = files_of(out)
    protect(source, out)
    assert files_of(out) == before
