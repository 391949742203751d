"""benchmarks/bench.py: the recorded cells are those of its commands, and other models and images take their place."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from paths import BENCHMARKS, ROOT
from PIL import Image

from onlymymodel.data.portraits import render
from onlymymodel.surrogates.uri import parse_uri

MODULES = ("bench", "assets", "public_assets", "nips2017", "deployments", "runs", "measured")
IDS = ("0c7ac4a8c9dfa802", "f43fbfe8a9ea876c", "ffff")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/bench.py as a module, with the folders that it has without any setting."""
    monkeypatch.delenv("OMM_ASSETS", raising=False)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("bench")


@pytest.fixture
def downloaded(tmp_path: Path) -> Path:
    """Three images in the layout of the competition."""
    folder = tmp_path / "downloaded"
    (folder / "images").mkdir(parents=True)
    rows = ["ImageId,URL,TrueLabel,TargetClass"]
    for index, name in enumerate(IDS):
        Image.fromarray(render(index, index, index, 299)).save(folder / "images" / f"{name}.png")
        rows.append(f"{name},,{index + 1},5")
    (folder / "images.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_the_commands_of_a_benchmark_give_the_cells_that_are_recorded(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, cells = importlib.import_module("deployments"), dict[str, int]()

    def record(cell: str, *others: Any) -> None:
        cells[cell] = others[-1].limit

    for function in ("draw_headline", "draw_leaderboard"):  # they would write to docs/
        monkeypatch.setattr(module, function, lambda: None)
    monkeypatch.setattr(module, "run_cell", record)
    for flags in bench.BENCHMARKS["deployments"].runs:
        monkeypatch.setattr(sys, "argv", ["deployments", *flags.split()])
        module.main()
    recorded = (ROOT / "results" / "deployments" / "nips2017").glob("*.json")
    assert cells == {path.stem: len(json.loads(path.read_text(encoding="utf-8"))["photos"]) for path in recorded}


def test_the_list_names_every_script_with_what_it_needs_and_its_time(bench: ModuleType) -> None:
    text = bench.listing()
    for name, benchmark in bench.BENCHMARKS.items():
        assert (BENCHMARKS / f"{name}.py").is_file()
        assert benchmark.measures in text
        assert set(benchmark.needs) <= set(bench.INSTRUCTIONS)
    for name in ("deployments", "peers", "recipes", "audits", "train_zoo", "train_purifier"):
        assert bench.hours(name) > 0
    assert max(len(line) for line in text.splitlines()) <= 88
    readme = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert "bench.py prepare ASSETS --nips2017 DOWNLOADED" in readme


def test_public_images_are_laid_out_as_the_benchmarks_read_them(
    bench: ModuleType, downloaded: Path, tmp_path: Path
) -> None:
    assets = tmp_path / "assets"
    words = bench.prepare(assets, downloaded)
    assert words == f"3 images are in {assets / 'imagenet'}, and {assets / 'models.json'} names the models"
    folder = assets / "imagenet" / "nips2017"
    assert (folder / "labels.csv").read_text().splitlines() == [
        "file,label",
        *(f"{n}.png,{i}" for i, n in enumerate(IDS)),
    ]
    assert (folder / "ffff.png").read_bytes() == (downloaded / "images" / "ffff.png").read_bytes()
    records = json.loads((assets / "models.json").read_text())
    teams = importlib.import_module("nips2017").TEAMS.values()
    used = {name for team in teams for name in (team.authorized, *team.surrogates, *team.heldout)}
    assert used <= {record["id"] for record in records}
    for record in records:
        assert parse_uri(record["uri"]).scheme in ("timm", "torchvision")
    (downloaded / "images.csv").write_text("ImageId,TrueLabel\nffff,3\n")
    assert "these are not the images of results/" in bench.prepare(tmp_path / "others", downloaded)


def test_without_models_it_says_what_to_download(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run("deployments", tmp_path, "cpu") == 2
    message = capsys.readouterr().err
    assert message.startswith("deployments needs images and models, and there is no")
    assert "google-brain/nips-2017-adversarial-learning-development-set" in message


@pytest.mark.slow
def test_other_models_are_measured_and_set_beside_the_recorded_results(
    bench: ModuleType, downloaded: Path, tmp_path: Path
) -> None:
    """A real cell of the real script, with random networks of a third of a million parameters."""
    assets = tmp_path / "assets"
    bench.prepare(assets, downloaded)
    records = json.loads((assets / "models.json").read_text())
    for index, record in enumerate(records):
        torch.manual_seed(index)
        path = tmp_path / f"{record['id']}.safetensors"
        safetensors.torch.save_file(timm.create_model("test_vit", num_classes=1000).state_dict(), path)
        record["uri"] = f"checkpoint:{path}?arch=timm:test_vit&size=160"
    (assets / "models.json").write_text(json.dumps(records))
    flags = ["--limit", "1", "--teams", "resnet50", "--recipes", "ens", "--budgets", "8", "--device", "cpu"]
    before = sorted((ROOT / "results").rglob("*"))
    completed = subprocess.run(
        [sys.executable, "benchmarks/deployments.py", *flags],
        cwd=ROOT,
        env={**os.environ, "OMM_ASSETS": str(assets)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert sorted((ROOT / "results").rglob("*")) == before
    (line,) = bench.comparison(assets / "results").splitlines()[1:]
    assert line.startswith("deployments/nips2017/resnet50-ens-8 ")
    recorded = importlib.import_module("measured").MeasuredRun(
        ROOT / "results" / "deployments" / "nips2017" / "resnet50-ens-8.json"
    )
    assert line.endswith(f"{recorded.ssim:6.3f}")
