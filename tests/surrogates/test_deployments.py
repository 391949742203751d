"""Deployments: the inputs are those of other libraries' pipelines, and the summary counts what it says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2
from toys import classifier, small_cnn

from onlymymodel.cli.main import main
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.evaluate.deployment_summary import summarize_deployments
from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.judges import Judge
from onlymymodel.evaluate.results_file import read_results, results_to_json
from onlymymodel.evaluate.score import Proportion
from onlymymodel.surrogates.alignment import arcface_template
from onlymymodel.surrogates.black_box import CallableBlackBox, ClassifierBlackBox
from onlymymodel.surrogates.cache_key import cache_key
from onlymymodel.surrogates.classifier import Preprocess
from onlymymodel.surrogates.deployments import DEPLOYMENTS, PLATFORMS, Reading, get_deployments
from onlymymodel.surrogates.readings import DeployedClassifier, deployed, read_input

WIDE = Preprocess(height=64, width=64, crop_pct=0.875, interpolation="bicubic")


def portrait(width: int = 120, height: int = 100, seed: int = 3) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(render(seed, 1, seed, 128)).resize((width, height)))


def pillow_pipeline(image: NDArray[np.uint8], resize: int, crop: int, filter_: v2.InterpolationMode) -> torch.Tensor:
    """torchvision's transforms on a PIL image: what most users of ImageNet models run."""
    pipeline = v2.Compose([v2.Resize(resize, filter_), v2.CenterCrop(crop), v2.PILToTensor()])
    pixels: torch.Tensor = pipeline(Image.fromarray(image))
    return pixels[None].float() / 255


def test_no_reading_is_the_models_own_preprocessing() -> None:
    image = portrait()
    own = WIDE.center(WIDE.canvas(torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255))
    assert torch.equal(read_input(image, WIDE, Reading()), own)


@pytest.mark.parametrize(
    ("reading", "resize", "mode"),
    [
        (Reading(library="pillow"), 73, v2.InterpolationMode.BICUBIC),
        (Reading(library="pillow", interpolation="bilinear"), 73, v2.InterpolationMode.BILINEAR),
        (Reading(library="pillow", crop_pct=1.0), 64, v2.InterpolationMode.BICUBIC),
        (Reading(library="pillow", crop_pct=0.8), 80, v2.InterpolationMode.BICUBIC),
        (Reading(library="pillow", resize_offset=1), 74, v2.InterpolationMode.BICUBIC),
    ],
)
def test_pillow_readings_are_torchvisions_pipeline_on_pil_images(
    reading: Reading, resize: int, mode: v2.InterpolationMode
) -> None:
    image = portrait(120, 120)
    assert torch.equal(read_input(image, WIDE, reading), pillow_pipeline(image, resize, 64, mode))


def test_a_shift_moves_the_crop_and_a_mirror_flips_it() -> None:
    image = portrait()
    plain = read_input(image, WIDE, Reading())
    shifted = read_input(image, WIDE, Reading(shift=(3, -2)))
    assert torch.equal(shifted[..., 2:, :-3], plain[..., :-2, 3:])
    canvas = WIDE.canvas(torch.from_numpy(image[:, ::-1].copy()).permute(2, 0, 1)[None].float() / 255)
    assert torch.equal(read_input(image, WIDE, Reading(mirror=True)), WIDE.center(canvas))


def test_the_landmarks_of_a_mirrored_face_are_those_that_its_detector_finds() -> None:
    """An aligned face that is mirrored with its landmarks is the flipped aligned face, as the template is symmetric."""
    aligned = Preprocess(height=112, width=112, fit="align", crop_pct=1.0)
    image = portrait()
    template = torch.tensor(arcface_template(112, 112)).float()
    symmetric = template.clone()  # ArcFace's points are symmetric to about a pixel
    symmetric[:, 0] = (template[:, 0] + 112 - template[[1, 0, 2, 4, 3], 0]) / 2
    symmetric[:, 1] = (template[:, 1] + template[[1, 0, 2, 4, 3], 1]) / 2
    landmarks = (symmetric * 0.7 + torch.tensor([20.0, 8.0]))[None]
    plain = read_input(image, aligned, Reading(), landmarks)
    mirrored = read_input(image, aligned, Reading(mirror=True), landmarks)
    assert (mirrored - plain.flip(-1)).abs().mean() < 0.02
    wrong = read_input(image[:, ::-1].copy(), aligned, Reading(), landmarks)
    assert (wrong - plain.flip(-1)).abs().mean() > 0.04


def test_beyond_the_photo_a_shifted_crop_is_black() -> None:
    whole = Preprocess(height=64, width=64, fit="squash")
    image = np.full((64, 64, 3), 200, np.uint8)
    crop = read_input(image, whole, Reading(shift=(6, 0)))
    assert (crop[..., -6:] == 0).all()
    assert (crop[..., :-6] == crop[0, 0, 0, 0]).all()


@pytest.mark.parametrize("name", DEPLOYMENTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_deployment_is_repeatable_and_leaves_the_photo_alone(name: str, channels: int) -> None:
    image = np.ascontiguousarray(portrait()[..., :channels])
    before, deployment = image.copy(), DEPLOYMENTS[name]
    first, second = deployment.apply(image), deployment.apply(image)
    assert np.array_equal(image, before)
    assert np.array_equal(first, second)
    assert first.dtype == np.uint8
    assert first.shape[2] == channels
    crop = read_input(first, WIDE, deployment.reading)
    assert crop.shape == (1, 3, 64, 64)
    assert 0 <= float(crop.min()) <= float(crop.max()) <= 1


@pytest.mark.parametrize("name", ["jpeg-90", "webp-80", "avif-75", "x-2021"])
def test_pictures_that_a_codec_cannot_hold_are_reported(name: str) -> None:
    """A platform reduces the picture first; the others would fail inside Pillow."""
    if name not in DEPLOYMENTS:
        pytest.skip(f"this Pillow has no codec for {name}")
    pixels = np.zeros((1, 70_000, 3), np.uint8)
    if name in PLATFORMS:
        assert DEPLOYMENTS[name].apply(pixels).shape == (1, PLATFORMS[name].longest, 3)
    else:
        with pytest.raises(UserError, match="70000 x 1 pixels cannot be written"):
            DEPLOYMENTS[name].apply(pixels)


@pytest.mark.parametrize("name", PLATFORMS)
def test_platforms_limit_the_longer_side(name: str) -> None:
    longest = PLATFORMS[name].longest
    image = np.zeros((longest // 4, longest + 400, 3), np.uint8)
    assert max(DEPLOYMENTS[name].apply(image).shape[:2]) == longest
    small = portrait()
    assert DEPLOYMENTS[name].apply(small).shape == small.shape


def test_black_boxes_read_photos_in_their_own_way() -> None:
    box = CallableBlackBox(lambda _: 0, small_cnn(seed=1).card)
    assert deployed(box, Reading(mirror=True)) is box
    own = ClassifierBlackBox(small_cnn(seed=1))
    assert deployed(own, Reading()) is own
    assert isinstance(deployed(own, Reading(mirror=True)), DeployedClassifier)


def test_answers_of_another_reading_are_cached_apart() -> None:
    own = ClassifierBlackBox(small_cnn(seed=1))
    readings = [Reading(), Reading(mirror=True), Reading(shift=(1, 0)), Reading(precision="bfloat16")]
    assert len({cache_key(deployed(own, reading)) for reading in readings}) == len(readings)


class _LeftIsBrighter(torch.nn.Module):
    """Class 1 where the left half of the picture is brighter."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        left, right = pixels[..., :8].mean((1, 2, 3)), pixels[..., 8:].mean((1, 2, 3))
        return torch.stack([right, left], dim=1)


def test_the_summary_counts_what_each_deployment_keeps_of_what_it_reads_clean() -> None:
    """The mirror reads nothing right when clean, so it counts for nothing; after JPEG one of two photos is lost."""
    bright_left = np.zeros((16, 16, 3), np.uint8)
    bright_left[:, :8] = 200
    flat = np.full((16, 16, 3), 90, np.uint8)
    flat[:, :8] = 91  # less than what the 5-bit deployment tells apart
    model = ClassifierBlackBox(classifier(_LeftIsBrighter(), 2, "left"))
    pairs = [Pair("a", bright_left, {"run": bright_left}, 1), Pair("b", bright_left, {"run": flat}, 1)]
    names = ["as-written", "mirror", "bits-5"]
    results = evaluate_models([Judge("authorized", model)], pairs, channels=get_deployments(names), progress=False)
    row = results.authorized
    kept = [row.score("run", name).kept_of_readable for name in names]
    assert kept == [Proportion(2, 2), Proportion(0, 0), Proportion(1, 2)]
    (summary,) = summarize_deployments(results)
    assert (summary.deployments, summary.mean, summary.least_name, summary.heldout) == (2, 0.75, "bits-5", None)
    assert "50.0% at least (bits-5: 1 of 2" in summary.describe()
    content = json.loads(json.dumps(results_to_json(results)))
    assert content["deployments"][0]["least"] == {"hits": 1, "total": 2, "share": 0.5}


def test_unknown_deployments_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'mirror'"):
        get_deployments(["miror"])
    with pytest.raises(UserError, match="listed twice"):
        get_deployments(["mirror", "mirror"])


def test_listing_deployments_imports_no_torch() -> None:
    code = "import sys, onlymymodel.surrogates.deployments; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, seed in (("photos", 1), ("protected", 2)):
        (tmp_path / folder).mkdir()
        Image.fromarray(portrait(seed=seed)).save(tmp_path / folder / "0.png")
    words: list[Any] = ["evaluate", "--original", tmp_path / "photos", "--protected", tmp_path / "protected"]
    words += ["--authorized", "zoo:identity-plain", "--out", tmp_path / "out", "--quiet", "--device", "cpu"]
    assert main([*map(str, words), "--deployments", "as-written", "mirror", "jpeg-75"]) == 0
    assert "over 3 deployments" in capsys.readouterr().out
    results = read_results(tmp_path / "out" / "results.json")
    assert results.channels == ("png", "as-written", "mirror", "jpeg-75")
    assert "as deployed" in (tmp_path / "out" / "results.md").read_text()
    assert "over 3 deployments" in (tmp_path / "out" / "report.html").read_text().replace("Over", "over")
