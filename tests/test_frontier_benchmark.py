"""The frontier's cells ask for what their names say, and its images are not those on which the shape was chosen."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from onlymymodel.cli import build_parser

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/frontier.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("frontier")


def test_a_cells_flags_are_its_budget(benchmark: ModuleType) -> None:
    parser = build_parser()
    for bound in (*benchmark.BOUNDS, "lpips=0.05", "epsilon=8"):
        for way in benchmark.WAYS:
            cell = benchmark.Cell("photos", bound, way)
            arguments = parser.parse_args(["protect", "SRC", "--out", "DST", *cell.flags])
            name, value = bound.split("=")
            assert getattr(arguments, name) == float(value)
            assert (arguments.shape == "texture") == (way == "texture")
            assert (arguments.luma is not None) == (way == "color")
            assert (arguments.recipe_smooth is not None) == (way == "smooth")
            assert cell.name == f"photos/{name}-{value}-{way}"


def test_no_image_on_which_the_shape_was_chosen_is_used(benchmark: ModuleType, tmp_path: Path, assets: Path) -> None:
    assert (assets / "imagenet" / "nips2017").is_dir()
    folder = benchmark.photos("nips2017", 1000, tmp_path / "originals")
    rows = {int(path.name[:3]) for path in folder.glob("*-*")}
    assert len(rows) == 144
    assert not rows & set(range(128, 144))
    assert "mobilenet_v2" not in benchmark.TEAM.heldout


def test_nothing_measured_is_no_table_and_no_figure(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark.frontier_tables, "RESULTS", tmp_path)
    assert benchmark.frontier_tables.frontier("photos") == ""
    benchmark.frontier_tables.draw(tmp_path / "figure.svg")
    assert not (tmp_path / "figure.svg").exists()
