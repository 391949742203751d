"""The leaderboard of methods, on measured cells that stand in for those of its budgets."""

import importlib
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from paths import BENCHMARKS, ROOT

CELLS = {  # of the leaderboard, and the measured ones that are copied
    "mobilenet_v2-default-ssim-0.95-even": "mobilenet_v2-default-8",
    "mobilenet_v2-default-ssim-0.95": "mobilenet_v2-default-ssim-0.95",
    "mobilenet_v2-ens-ssim-0.95-even": "mobilenet_v2-ens-8",
    "mobilenet_v2-default-ssim-0.98": "mobilenet_v2-default-4",  # alone: no other method has this bound
    "resnet50-default-ssim-0.95-even": "resnet50-default-8",  # another team
}


@pytest.fixture
def leaderboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/leaderboard_tables.py with these cells."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    tables = importlib.import_module("deployment_tables")
    for folder in ("nips2017", "authorized/nips2017"):
        (tmp_path / folder).mkdir(parents=True)
        for name, measured in CELLS.items():
            copied = ROOT / "results" / "deployments" / folder / f"{measured}.json"
            shutil.copy(copied, tmp_path / folder / f"{name}.json")
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    return importlib.import_module("leaderboard_tables")


def test_methods_of_a_bound_are_ranked_and_compared_with_default(leaderboard: ModuleType) -> None:
    cells = {(cell.method, cell.budget): cell for cell in leaderboard.all_cells() if cell.team == "mobilenet_v2"}
    default, ens = cells["default", "ssim-0.95-even"], cells["ens", "ssim-0.95-even"]
    head, _, *lines = leaderboard.leaderboard().strip().splitlines()
    rows = [dict(zip(_cells(head), _cells(line), strict=True)) for line in lines]
    assert {row["SSIM at least"] for row in rows} == {"0.95"}
    assert sorted(row["method"] for row in rows) == ["`default`", "`default`, beside texture", "`ens`"]
    shares = [float(row["judges read: mean"].removesuffix(" %")) for row in rows]
    assert shares == sorted(shares)
    by_method = {row["method"]: row for row in rows}
    assert by_method["`default`"]["less `default`"] == "-"
    assert by_method["`ens`"]["less `default`"] == leaderboard.paired_difference(ens, default).describe()
    name, least = ens.least_of(ens.measured)
    assert by_method["`ens`"]["kept: least"] == f"{100 * least.hits / least.total:.0f} % ({name})"
    assert least.hits / least.total == min(kept.hits / kept.total for kept in ens.kept(ens.measured).values())


def test_the_figure_has_the_same_bytes_again(leaderboard: ModuleType, tmp_path: Path) -> None:
    leaderboard.draw(tmp_path / "first.svg")
    leaderboard.draw(tmp_path / "second.svg")
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
