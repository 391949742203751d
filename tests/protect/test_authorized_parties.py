"""Authorized models of other kinds than classifiers: detectors keep their objects, towers of CLIP their word."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_clip
import torch
from batches import rows
from detectors import quarter_photo, quarters
from evaluating import QUICK
from toys import Linear, classifier, generators

from onlymymodel.cli.main import main
from onlymymodel.data.pixels import to_image
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.deployed_margins import DeployedMargins
from onlymymodel.protect.attack.guard_looks import GuardLooks
from onlymymodel.protect.attack.recipe import RECIPES
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.kept_objects import crop_margins, kept_answer, kept_objects

DETECTOR = "python:detectors:quarters"
FLAGS = ["--allow-python", "--quiet", "--device", "cpu"]
RED, NOTHING = 0, 2


def scenes(size: int = 16) -> torch.Tensor:
    """(2,3,size,size) uint8: a red and a green object, and a red one alone."""
    photos = torch.cat([quarter_photo(0.62, 0.6, size), quarter_photo(0.7, 0.2, size)])
    return (photos * 255).round().to(torch.uint8)


@pytest.mark.parametrize("recipe", ["default", "exact"])
def test_every_object_is_kept_by_kappa(recipe: str) -> None:
    """The stand-in is against everything that is bright, so that without a guard the objects would fade."""
    pixels, authorized = scenes(), quarters()
    weights = torch.tensor([[0.01], [-0.01]]).expand(2, 3 * 16 * 16).clone()
    stand_in = classifier(Linear(weights, -weights.sum(1) / 2), 2, "brightness")
    settings = replace(RECIPES[recipe], steps=8, views=("center",), kappa=0.3)
    result = protect_batch(
        pixels, torch.tensor([RED, RED]), authorized=authorized, surrogates=[stand_in],
        budget=Budget(16 / 255), recipe=settings, generators=generators(2),
    )  # fmt: skip
    assert result.admissible.all()
    assert not torch.equal(result.pixels, pixels)
    for row in range(2):
        objects = kept_objects(authorized, pixels[row])
        assert objects is not None
        found = crop_margins(authorized, result.pixels[row : row + 1].float() / 255, torch.tensor([RED]), [objects])
        assert float(found) >= 0.3
        assert float(found) == pytest.approx(float(result.margins[row]), abs=1e-4)
        assert kept_answer(authorized, result.pixels[row : row + 1], objects) == RED


def test_random_looks_move_the_boxes_with_the_photo() -> None:
    photos = scenes(32).float() / 255
    objects = [kept_objects(quarters(), photo) for photo in photos]
    looks = GuardLooks(quarters(), torch.tensor([RED, RED]), kappa=5.0, count=24, objects=objects)  # type: ignore[arg-type]
    least, gradient = looks.margins(photos, rows(0, 1), generators(2))
    exact = crop_margins(quarters(), torch.nn.functional.avg_pool2d(photos, 2), torch.tensor([RED, RED]), objects)  # type: ignore[arg-type]
    # JPEG and blur change a quarter's mean a little; a mirror without its boxes would find nothing at all
    assert ((exact - least).abs() < 0.2).all()
    of_red = gradient[1, 0].abs()
    assert float(of_red[:, 16:].sum()) < 0.05 * float(of_red[:, :16].sum())  # but for the blocks of JPEG at the edge


def test_deployments_that_move_boxes_are_not_promised() -> None:
    model = quarters()
    objects = kept_objects(model, scenes()[0])
    names = ("pillow", "resize+1", "crop-0.875", "shift-right", "mirror", "bfloat16", "jpeg-90", "half")
    assert [*DeployedMargins(model, names, objects).deployments] == ["pillow", "mirror", "bfloat16", "jpeg-90", "half"]
    card = replace(model.card, preprocess=replace(model.card.preprocess, fit="letterbox"))
    letterboxed = DeployedMargins(Classifier(model.net, card), names, objects)
    assert [*letterboxed.deployments] == ["mirror", "bfloat16", "jpeg-90", "half"]
    margins = letterboxed.measure(scenes()[0], RED)
    assert all(value == pytest.approx(margins["bfloat16"], abs=0.15) for value in margins.values())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, photo in enumerate(scenes(32)):
        to_image(photo.permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
    return folder


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def protect(source: Path, out: Path, authorized: str, *flags: str) -> list[dict[str, Any]]:
    words = ["protect", str(source), "--out", str(out), "--authorized", authorized, "--surrogate", "python:toys:theirs"]
    assert main([*words, *QUICK[:-3], "--kappa", "0.2", "--epsilon", "24", *FLAGS, *flags]) in (0, 1)
    return lines_of(out)


def test_a_detector_is_authorized_from_protection_to_evaluation(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    lines = protect(source, out, DETECTOR, "--keep-through", "mirror", "jpeg-90", "shift-right")
    assert "not promised, since they move the boxes of what a detector finds: shift-right" in caplog.text
    written = [line for line in lines if line["output"]]
    assert len(written) == 2, [line["reason"] for line in lines]
    assert [[each["name"] for each in line["objects"]] for line in written] == [["red", "green"], ["red"]]
    for line in written:
        assert line["label"] == line["authorized"]["answer_after"] == RED
        assert line["authorized"]["margin_after"] >= 0.2
        assert set(line["deployments"]) == {"mirror", "jpeg-90"}
        assert all(margins["after"] > 0 for margins in line["deployments"].values())
    assert main(["verify", str(out), *FLAGS]) == 0
    assert main(["verify", str(out), "--without-originals", *FLAGS]) == 0  # the objects are in the manifest
    evaluation = ["--original", str(source), "--protected", str(out), "--out", str(tmp_path / "evaluation")]
    assert main(["evaluate", *evaluation, "--heldout", "python:toys:others", *FLAGS]) == 0
    authorized = read_results(tmp_path / "evaluation" / "results.json").authorized
    assert authorized.kind == "detector"
    assert authorized.score("out").kept == 1
    assert authorized.objects is not None
    assert authorized.objects["out"]["png"].found == 3


def test_a_lost_object_is_a_fault(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second photo's record gets the objects of the first one, of which its file has only one."""
    out = tmp_path / "out"
    first, second = protect(source, out, DETECTOR)
    second["objects"] = first["objects"]
    (out / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (first, second)))
    assert main(["verify", str(out), *FLAGS]) == 1
    fault = f"FAULT  {second['output']}: the authorized model reads {NOTHING}, not {RED}"
    assert fault in capsys.readouterr().err.splitlines()


def test_an_object_that_is_left_out_of_the_record_is_a_fault(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    first, second = protect(source, out, DETECTOR)
    first["objects"] = first["objects"][:1]
    (out / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (first, second)))
    assert main(["verify", str(out), *FLAGS]) == 1
    fault = f"FAULT  {first['output']}: 1 object that the authorized model finds in its original is not in its line"
    assert fault in capsys.readouterr().err.splitlines()


def test_only_the_named_classes_are_kept(tmp_path: Path, source: Path) -> None:
    lines = protect(source, tmp_path / "out", f"{DETECTOR}?keep=red")
    assert [[each["name"] for each in line["objects"]] for line in lines] == [["red"], ["red"]]
    assert main(["verify", str(tmp_path / "out"), *FLAGS]) == 0


def test_the_word_of_a_tower_is_kept(tmp_path: Path, source: Path) -> None:
    """The margin is that of open_clip's zero-shot logits; deployments and verification are those of a classifier."""
    tower = tiny_clip.make(tmp_path)
    (tmp_path / "names.txt").write_text("tabby cat\ndog\ntench\nkit fox")
    weights = tiny_clip.save(tower, tmp_path / "tower.safetensors")
    uri = f"checkpoint:{weights}?arch=clip:{tiny_clip.NAME}&labels={tmp_path / 'names.txt'}"
    lines = protect(source, tmp_path / "out", uri, "--keep-through", "mirror", "jpeg-90", "shift-right")
    written = [line for line in lines if line["output"]]
    assert written, [line["reason"] for line in lines]
    for line in written:
        assert line["authorized"]["answer_after"] == line["label"] == line["authorized"]["answer_before"]
        assert line["authorized"]["margin_after"] >= 0.2
        assert all(margins["after"] > 0 for margins in line["deployments"].values() if margins["before"] > 0)
    assert main(["verify", str(tmp_path / "out"), *FLAGS]) == 0
