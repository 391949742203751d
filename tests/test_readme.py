"""The statements of the README and the guide are true."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import ROOT
from PIL import Image

from onlymymodel.data.portraits import render
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.strengths import CAP, STRENGTHS
from onlymymodel.surrogates.schemes import SCHEMES

README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = ROOT / "docs" / "guide"


@pytest.mark.slow
def test_the_tables_are_what_results_say() -> None:
    completed = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_the_strengths_are_those_of_the_program() -> None:
    page = (GUIDE / "budgets.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`(?: \(default\))? \| ([\d.]+) \| ([\d.]+) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(name, f"{row.ssim:.2f}", f"{row.flip:.2f}", row.meaning) for name, row in STRENGTHS.items()]
    assert f"epsilon {CAP}/255" in page


def test_every_kind_of_model_is_named() -> None:
    page = (GUIDE / "models.md").read_text(encoding="utf-8")
    for scheme in SCHEMES:
        assert f"`{scheme}:" in page


def test_the_readme_is_short() -> None:
    assert len(README.split()) < 850


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With bundled models in the place of the preset's, which would be downloaded, and fewer steps."""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 10
    models = 'authorized="zoo:identity-residual", surrogates=["zoo:identity-plain"], heldout=["zoo:identity-vit"]'
    quick = 'strength="high", recipe=make_recipe("exact", steps=20), device="cpu"'
    assert 'preset="photos"' in example
    portrait = render(3, 1, 1, 96)
    (tmp_path / "photos").mkdir()
    for path in (tmp_path / "photo.png", tmp_path / "photos" / "1.png"):
        Image.fromarray(portrait).save(path)
    monkeypatch.chdir(tmp_path)
    tensor = torch.from_numpy(portrait).permute(2, 0, 1)[None]
    names: dict[str, Any] = {"make_recipe": make_recipe, "tensor": tensor, "labels": None}
    exec(compile(example.replace('preset="photos"', f"{models}, {quick}"), "README.md", "exec"), names)
    photo, batch = names["photo"], names["batch"]
    assert photo.record.status == "protected"
    assert (tmp_path / "protected.png").read_bytes() == photo.data
    assert batch.written.all()
    assert batch.records[0].status == "protected"
    results = read_results(tmp_path / "evaluation" / "results.json")
    assert [row.role for row in results.rows] == ["authorized", "surrogate", "held-out"]
