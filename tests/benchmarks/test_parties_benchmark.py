"""The teams of benchmarks/parties.py: judges are independent of what takes part, and the page has the results."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from paths import BENCHMARKS, ROOT

from onlymymodel.surrogates.uri import parse_uri


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, assets: Path) -> ModuleType:  # noqa: ARG001 - it skips without them
    """benchmarks/parties.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("parties")


def test_no_heldout_model_shares_its_parent_or_family_with_one_that_takes_part(
    benchmark: ModuleType, real_records: dict[str, dict[str, Any]]
) -> None:
    for team in benchmark.CELLS.values():
        used = [real_records[name] for name in (team.authorized, *team.surrogates) if name != benchmark.DETECTOR]
        for held in (real_records[name] for name in team.heldout if name != "mtcnn"):
            assert held["parent"] not in {record["parent"] for record in used}
            assert held["family"] not in {record["family"] for record in used}


def test_identity_networks_are_embedders_at_their_recorded_thresholds(benchmark: ModuleType) -> None:
    uri = parse_uri(benchmark.party_uri("edgeface_xs"))
    assert (uri.options["task"], uri.options["threshold"], uri.options["fit"]) == ("embedding", "0.275", "align")
    assert "gallery" not in uri.options
    assert benchmark.party_uri("mtcnn") == "mtcnn:faces"
    assert parse_uri(benchmark.party_uri(benchmark.DETECTOR)).options == {"size": "250"}
    assert parse_uri(benchmark.party_uri("fischer_raf")).options["task"] == "emotion"


def test_the_page_has_the_table_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    made = importlib.import_module("party_tables").parties()
    assert made in (ROOT / "docs" / "parties.md").read_text(encoding="utf-8")
