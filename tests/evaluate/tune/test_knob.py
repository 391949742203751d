"""A search over SSIM, with deployments as a target, checked against the written files."""

import csv
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tuning import JUDGE, MINE, TEAM, answer, content_of, omm

from onlymymodel.data.pixels import to_tensor
from onlymymodel.evaluate.tune.knob import OVER, Knob, highest_level
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.measure import measure
from onlymymodel.surrogates.black_box import ClassifierBlackBox
from onlymymodel.surrogates.deployments import DEPLOYMENTS
from onlymymodel.surrogates.load import load_model
from onlymymodel.surrogates.readings import deployed


@pytest.mark.slow
def test_a_search_over_ssim_bounds_it_and_counts_what_the_least_deployment_keeps(
    two_portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, through = tmp_path / "out", ["mirror", "facebook-2021"]
    words = ["tune", str(two_portraits), "--out", str(out), *TEAM, "--heldout", JUDGE, "--steps", "2"]
    words += ["--views", "center", "--recipe", "exact", "--device", "cpu", "--quiet"]
    words += ["--over", "ssim", "--lowest-ssim", "0.98"]
    omm(*words, "--through", *through, "--per-image")
    output, content = capsys.readouterr().out, content_of(out)
    assert content["over"] == "ssim"
    assert content["highest"] == 0.98
    assert content["target"]["through"] == through
    right = {name: answer(MINE, two_portraits / name) for name in content["sample"]}
    model = ClassifierBlackBox(load_model(MINE))
    assert [point["ssim_bound"] for point in content["points"]][:1] == [1.0]
    for point in content["points"][1:]:
        bound = point["ssim_bound"]
        folder = out / f"ssim-{bound:.3f}"
        assert json.loads((folder / "run.json").read_text())["settings"]["budget"] | {"shape": ""} == {
            "linf": 16.0, "ssim": bound, "shape": "",
        }  # fmt: skip
        assert point["ssim"]["min"] >= bound
        kept = {}
        for name in through:
            reads = deployed(model, DEPLOYMENTS[name].reading)
            read = [
                tuple(
                    int(reads.predict([DEPLOYMENTS[name].apply(np.asarray(Image.open(path)))])[0].argmax()) == label
                    for path in (
                        two_portraits / photo,
                        folder / photo if (folder / photo).exists() else two_portraits / photo,
                    )
                )
                for photo, label in right.items()
            ]
            kept[name] = sum(before and after for before, after in read) / sum(before for before, _ in read)
        assert point["through"]["share"] == min(kept.values()) == kept[point["least_deployment"]]
    nearest = content["nearest"]
    assert tomllib.loads((out / "run.toml").read_text())["budget"]["ssim"] == nearest
    chosen = next(point for point in content["points"] if point["ssim_bound"] == nearest)
    assert content["seen"] == chosen["seen"]
    changes = [
        measure(*(to_tensor(np.asarray(Image.open(path))) for path in (folder / name, two_portraits / name)))
        for folder in [out / f"ssim-{nearest:.3f}"]
        for name in right
        if (folder / name).exists()
    ]
    assert chosen["changed"] == len(changes) > 0
    assert chosen["seen"]["ssim"]["median"] == pytest.approx(np.median([change.ssim for change in changes]), abs=1e-6)
    assert chosen["seen"]["flip"]["max"] == pytest.approx(max(change.flip or 0 for change in changes), abs=1e-6)
    assert f"{len(changes)} of 2 photos that changed: SSIM {chosen['seen']['ssim']['median']:.3f} in" in output
    assert "through the least deployment, " in output
    with (out / "ssim_bound.csv").open(encoding="utf-8", newline="") as file:
        assert [row["photo"] for row in csv.DictReader(file)] == ["0.png", "1.png"]
    assert verify_folder(out / "protected", progress=False).faults == ()


@pytest.mark.parametrize("level", [1, 7, 32])
def test_levels_are_the_bounds_that_they_stand_for(level: int) -> None:
    budget = Budget(16 / 255, ssim=0.9, shape="texture")
    epsilon, ssim = (Knob(over).budget(budget, level) for over in OVER)
    assert epsilon == replace(budget, linf=level / 255)
    assert ssim == replace(budget, ssim=round(1 - level / 200, 6))
    assert [Knob("epsilon").level_of(epsilon), Knob("ssim").level_of(ssim)] == [level, level]


def test_the_lowest_bound_on_ssim_is_never_passed() -> None:
    for lowest in (0.5, 0.843, 0.84, 0.995):
        level = highest_level("ssim", None, lowest)
        assert Knob("ssim").value(level) >= lowest > Knob("ssim").value(level + 1)
