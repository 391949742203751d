"""What every audit stands on: reports that cannot leave out controls, similarities, pictures parted by person."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.audit import AuditReport, Finding, Value, audit_release
from onlymymodel.evaluate.audits.pictures import Pictures, digit_pictures, folder_pictures, portrait_pictures
from onlymymodel.evaluate.audits.similarity import mse, psnr, ssim, to_picture


class Whisper:
    """A release of nothing."""

    name = "whisper"

    def describe(self) -> dict[str, Any]:
        return {"loudness": 0}


class Listener:
    """An adversary of whom each part can be taken away."""

    name = "listener"

    def __init__(self, missing: str = "") -> None:
        self.missing = missing
        self.order: list[str] = []

    def _said(self, part: str, found: list[Any]) -> list[Any]:
        self.order.append(part)
        return [] if part == self.missing else found

    def assumptions(self, release: Whisper) -> Sequence[str]:
        return self._said("assumptions", [f"It hears {release.name}."])

    def findings(self, release: Whisper, *, progress: bool) -> Sequence[Finding]:
        assert not progress
        picture = np.zeros((2, 2, 3), np.uint8)
        return self._said("rows", [Finding("a", {"ssim": 0.5, "auc": None}, {release.name: picture})])

    def controls(self, release: Whisper, *, progress: bool) -> Sequence[Finding]:
        assert not progress
        return self._said("controls", [Finding("a", {"ssim": 0.1}, {release.name: np.ones((2, 2, 3), np.uint8)})])

    def summary(self, rows: Sequence[Finding], controls: Sequence[Finding]) -> Mapping[str, Value]:
        return {"rows": len(rows), "controls": len(controls)}


def test_a_report_holds_everything_and_its_json_no_pictures() -> None:
    listener = Listener()
    found = audit_release(Whisper(), listener, progress=False).to_json()
    assert json.loads(json.dumps(found)) == {
        "release": "whisper",
        "adversary": "listener",
        "assumptions": ["It hears whisper."],
        "summary": {"rows": 1, "controls": 1},
        "rows": [{"name": "a", "ssim": 0.5, "auc": None}],
        "controls": [{"name": "a", "ssim": 0.1}],
        "settings": {"loudness": 0},
    }
    assert listener.order.index("rows") < listener.order.index("controls")


@pytest.mark.parametrize("missing", ["rows", "controls", "assumptions"])
def test_there_is_no_report_without_rows_controls_and_assumptions(missing: str) -> None:
    with pytest.raises(ValueError, match=f"whisper without {missing}"):
        audit_release(Whisper(), Listener(missing), progress=False)


@pytest.mark.parametrize("part", ["rows", "controls"])
def test_two_findings_of_one_name_are_refused(part: str) -> None:
    once = (Finding("a", {}),)
    rows, controls = (once * 2 if part == name else once for name in ("rows", "controls"))
    with pytest.raises(ValueError, match="two findings of one name"):
        AuditReport("r", "a", rows, controls, ("it sees",))


def some(count: int, channels: int, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(count, channels, size, size, generator=generator)
    return first, (first + 0.1 * torch.randn(first.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 16), (1, 11)])
def test_ssim_and_psnr_are_scikit_images(channels: int, size: int) -> None:
    first, second = some(3, channels, size)
    for index in range(3):
        a, b = (batch[index].double().numpy() for batch in (first, second))
        _, whole = structural_similarity(
            a, b, channel_axis=0, data_range=1, gaussian_weights=True, use_sample_covariance=False, full=True
        )
        inner = whole[:, 5 : size - 5, 5 : size - 5]
        assert ssim(first, second)[index].item() == pytest.approx(inner.mean(), abs=1e-5)
        assert psnr(first, second)[index].item() == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-4)


def test_on_small_pictures_ssim_takes_the_largest_odd_window() -> None:
    """8x8: four windows of 7x7 for each channel, written out."""
    first, second = some(1, 2, 8)
    bell = np.exp(-np.square(np.arange(-3, 4)) / (2 * 1.5**2))
    weights = np.outer(bell, bell) / bell.sum() ** 2
    values = []
    for channel, top, left in np.ndindex(2, 2, 2):
        a, b = (batch[0, channel, top : top + 7, left : left + 7].double().numpy() for batch in (first, second))
        mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
        spread_a, spread_b = (weights * a**2).sum() - mean_a**2, (weights * b**2).sum() - mean_b**2
        both = (weights * a * b).sum() - mean_a * mean_b
        luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        values.append(luminance * (2 * both + 0.03**2) / (spread_a + spread_b + 0.03**2))
    assert ssim(first, second).item() == pytest.approx(np.mean(values), abs=1e-5)


def test_equal_pictures_and_opposite_ones() -> None:
    first, _ = some(2, 3, 16)
    assert psnr(first, first).tolist() == [math.inf] * 2
    torch.testing.assert_close(ssim(first, first), torch.ones(2))
    black, white = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    assert mse(black, white).tolist() == [1.0]
    assert psnr(black, white).tolist() == [0.0]
    assert ssim(black, white).item() == pytest.approx(1e-4, rel=1e-2)  # C1 / (1 + C1)


def test_shown_pictures_are_enlarged_rounded_and_clipped() -> None:
    shown = to_picture(torch.tensor([[[0.0, 0.502], [1.7, -0.2]]], requires_grad=True), least_side=4)
    assert shown[..., 0].tolist() == [[0, 0, 128, 128]] * 2 + [[255, 255, 0, 0]] * 2
    assert to_picture(torch.rand(3, 200, 100)).shape == (200, 100, 3)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_nobody_is_on_both_sides(share: float, seed: int) -> None:
    pictures = portrait_pictures(50, 8)
    first, second = pictures.by_group(share, seed)
    assert not set(first.groups.tolist()) & set(second.groups.tolist())
    assert len(first) >= 1
    assert sorted(first.names + second.names) == sorted(pictures.names)


def test_a_split_loses_nothing_and_keeps_what_belongs_together() -> None:
    pictures = digit_pictures(8).take(range(30))
    first, second = pictures.split(12, seed=1)
    assert (len(first), len(second)) == (12, 18)
    assert sorted(first.names + second.names) == sorted(pictures.names)
    for part in (first, second):
        for row, name in enumerate(part.names):
            at = pictures.names.index(name)
            assert torch.equal(part.pixels[row], pictures.pixels[at])
            assert part.labels[row] == pictures.labels[at]
    assert len(pictures.take([])) == 0


def test_portraits_are_labelled_by_task_and_repeatable() -> None:
    by_person, by_emotion = (portrait_pictures(20, 16, task=task) for task in ("identity", "emotion"))
    assert torch.equal(by_person.pixels, by_emotion.pixels)
    assert torch.equal(by_person.labels, by_person.groups)
    assert torch.equal(by_person.groups, by_emotion.groups)
    assert by_emotion.labels.max() < by_emotion.classes
    assert by_person.pixels.shape == (20, 3, 16, 16)
    assert not torch.equal(portrait_pictures(20, 16, seed=1).pixels, by_person.pixels)


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    pictures = digit_pictures(8)
    assert len(pictures) == 1797
    np.testing.assert_allclose(pictures.pixels[:, 0].numpy() * 16, load_digits().images, atol=1e-5)
    assert pictures.labels.tolist() == load_digits().target.tolist()


def test_folders_are_people(tmp_path: Path) -> None:
    for number, name in enumerate(("zoe/1.png", "ann/1.png", "ann/deep/2.png", "loose.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20), (number * 60, 0, 0)).save(tmp_path / name)
    found: Pictures = folder_pictures(tmp_path, 8)
    people = dict(zip(found.names, found.groups.tolist(), strict=True))
    assert people["ann/1.png"] == people["ann/deep/2.png"]
    assert len({people["ann/1.png"], people["zoe/1.png"], people["loose.png"]}) == found.classes == 3
    assert found.pixels.shape == (4, 3, 8, 8)
    shade = found.pixels[found.names.index("ann/deep/2.png"), 0]
    torch.testing.assert_close(shade, torch.full((8, 8), 120 / 255))


def test_a_folder_without_photos_or_with_a_broken_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} is empty"):
        folder_pictures(tmp_path)
    (tmp_path / "letter.txt").write_text("no photo")
    with pytest.raises(UserError, match=f"{tmp_path} has no photo"):
        folder_pictures(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    with pytest.raises(UserError, match=r"broken\.png"):
        folder_pictures(tmp_path)
