"""A researcher runs the attack of the guide under the package's constraint, and compares it with a recipe."""

import re
from pathlib import Path

import pytest
from journeys import JUDGE, MODELS, QUICK, omm, write_portraits
from paths import ROOT

from onlymymodel.evaluate.results_file import read_results


@pytest.mark.slow
def test_an_attack_from_outside_is_compared(tmp_path: Path) -> None:
    write_portraits(tmp_path / "photos", 2)
    guide = (ROOT / "docs" / "guide" / "attacks.md").read_text(encoding="utf-8")
    (attack,) = re.findall(r"```python\n# my_attack.py\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "my_attack.py").write_text(attack)

    budget = ["--epsilon", "12", "--recipe", "exact", "--device", "cpu"]
    named = ["--attack", "python:my_attack:Fgsm", "--allow-python"]
    omm("protect", "photos", "--out", "mine", *MODELS, *budget, *named, cwd=tmp_path)
    omm("protect", "photos", "--out", "ours", *MODELS, *budget, *QUICK[4:6], cwd=tmp_path)
    folders = ["--original", "photos", "--protected", "mine", "ours", "--out", "comparison"]
    shown = omm("evaluate", *folders, "--heldout", JUDGE, cwd=tmp_path)

    results = read_results(tmp_path / "comparison" / "results.json")
    assert [run.name for run in results.runs] == ["mine", "ours"]
    assert all(measured.linf <= 12 for run in results.runs for measured in run.distortion)
    assert "mean of judges" in shown.stdout
    omm("verify", "mine", "--allow-python", cwd=tmp_path)
