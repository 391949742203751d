"""The frontier's cells match their names, and its images are not those on which the shape was chosen."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from paths import BENCHMARKS

from onlymymodel.cli.main import build_parser


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/frontier.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("frontier")


def test_a_cells_flags_are_its_budget(benchmark: ModuleType) -> None:
    parser = build_parser()
    for bound in (*benchmark.BOUNDS, "lpips=0.05", "epsilon=8"):
        for mode in benchmark.MODES:
            cell = benchmark.Cell("photos", bound, mode)
            arguments = parser.parse_args(["protect", "SRC", "--out", "DST", *cell.flags])
            name, value = bound.split("=")
            assert getattr(arguments, name) == float(value)
            assert (arguments.shape == "texture") == (mode == "texture")
            assert (arguments.luma is not None) == (mode == "color")
            assert (arguments.recipe_smooth is not None) == (mode == "smooth")
            assert cell.name == f"photos/{name}-{value}-{mode}"


def test_no_image_on_which_the_shape_was_chosen_is_used(benchmark: ModuleType, tmp_path: Path, assets: Path) -> None:
    assert (assets / "imagenet" / "nips2017").is_dir()
    folder = benchmark.photos("nips2017", 1000, tmp_path / "originals")
    rows = {int(path.name[:3]) for path in folder.glob("*-*")}
    assert len(rows) == 144
    assert not rows & set(range(128, 144))
    assert "mobilenet_v2" not in benchmark.TEAM.heldout


def test_a_run_with_fewer_images_does_not_take_those_of_an_earlier_one(
    benchmark: ModuleType, tmp_path: Path, assets: Path
) -> None:
    assert (assets / "imagenet" / "nips2017").is_dir()
    first, fewer, more = (
        sorted(path.name for path in benchmark.photos("nips2017", limit, tmp_path / "originals").iterdir())
        for limit in (5, 2, 3)
    )
    assert (fewer, more) == ([*first[:2], "labels.csv"], [*first[:3], "labels.csv"])


def test_without_measurements_there_is_no_table_and_no_figure(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark.frontier_tables, "RESULTS", tmp_path)
    assert benchmark.frontier_tables.frontier("photos") == ""
    benchmark.frontier_tables.draw(tmp_path / "figure.svg")
    assert not (tmp_path / "figure.svg").exists()
