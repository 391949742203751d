"""What the README says is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from onlymymodel.data.portraits import render
from onlymymodel.protect.recipe import STRENGTHS
from onlymymodel.surrogates.uri import SCHEMES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tables_are_what_results_say() -> None:
    found = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_strengths_are_those_of_the_program() -> None:
    rows = re.findall(r"^\| `(\w+)`(?: \(default\))? \| (\d+)/255 \| (.+) \|$", README, re.MULTILINE)
    assert rows == [(name, f"{strength.epsilon:g}", strength.meaning) for name, strength in STRENGTHS.items()]


def test_every_kind_of_model_is_named() -> None:
    for scheme in SCHEMES:
        assert f"`{scheme}:" in README


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    Image.fromarray(render(3, 1, 1, 96)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    record = names["record"]
    assert isinstance(record, dict)
    assert record["status"] in ("protected", "unchanged")
