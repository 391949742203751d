"""`omm doctor` finds what is broken."""

import json
import re
import tempfile
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from paths import ROOT

from onlymymodel.cli import diagnosis
from onlymymodel.cli.diagnosis import EXTRAS, LIBRARIES
from onlymymodel.cli.main import main


def test_extras_and_libraries_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert EXTRAS.keys() == project["optional-dependencies"].keys()
    needed = " ".join(requires("onlymymodel") or [])
    assert all(name in needed for name in LIBRARIES)


@pytest.mark.slow
def test_this_installation_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--device", "cpu"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["healthy"]
    states = {finding["name"]: finding["state"] for finding in content["findings"]}
    assert states["one photo"] == "ok"
    assert states["device"] == "ok"
    assert not any(re.search(r"\b1 (cores|threads)\b", finding["text"]) for finding in content["findings"])
    assert {f"extra {name}" for name in EXTRAS} <= states.keys()


def test_what_is_broken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_library.py").write_text("raise RuntimeError('built for another machine')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(diagnosis, "LIBRARIES", {"numpy": "numpy", "odd": "no_such_module"})
    monkeypatch.setattr(
        diagnosis, "EXTRAS", {"gone": ("no_such_module",), "half": ("broken_library",), "whole": ("json",)}
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert main(["doctor", "--device", "cuda:99"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "BROKEN  odd: not installed: pip install odd" in lines
    assert any(line.startswith("BROKEN  device: device 'cuda:99' cannot be used here") for line in lines)
    assert "absent  extra gone: pip install 'onlymymodel[gone]'" in lines
    assert "BROKEN  extra half: broken_library cannot be imported: built for another machine" in lines
    assert "ok      extra whole: json 2.0.9" in lines
    assert any(line.startswith("BROKEN  temporary folder: ") for line in lines)
    assert lines[-1] == "odd, device, temporary folder, extra half, one photo: broken"
