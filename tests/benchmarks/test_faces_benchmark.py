"""The photos of the face tables are separate from those of the gallery and of the choice of settings."""

import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from paths import BENCHMARKS


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, assets: Path) -> ModuleType:  # noqa: ARG001 - it skips without them
    """benchmarks/faces.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("faces")


def test_probes_are_of_people_and_photos_that_were_not_seen(benchmark: ModuleType) -> None:
    probes = list(benchmark.probes())
    everybody = benchmark.people()
    enrolled = {photo for person in everybody for photo in benchmark.photos_of(person)[:5]}
    assert len(enrolled) == 250
    assert not enrolled & {path for path, _ in probes}
    assert {person for _, person in probes} == {path.name for path in everybody[10:]}
    assert len({person for _, person in probes[:40]}) == 40  # one photo of each first
    assert len(probes) == len(set(probes)) == 200


def test_expressions_are_balanced_and_were_not_seen(benchmark: ModuleType) -> None:
    expressions = [path for path, _ in benchmark.expressions()]
    listed = (benchmark.LFW / "lfw_emotion" / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]
    spent = {benchmark.LFW / "lfw_emotion" / line.split(",")[0] for line in listed[::10]}
    assert not spent & set(expressions)
    assert len(expressions) == len(listed) - len(spent)
    counts = Counter(label for _, label in list(benchmark.expressions())[:48])
    assert sorted(counts.values()) == [9, 9, 10, 10, 10]


def test_no_heldout_model_shares_its_parent_with_one_that_takes_part(
    benchmark: ModuleType, real_records: dict[str, dict[str, Any]]
) -> None:
    for name, team in benchmark.TEAMS.items():
        used = [real_records[model] for model in (team.authorized, *team.surrogates)]
        for model in team.heldout:
            held = real_records[model]
            assert held["parent"] not in {record["parent"] for record in used}
            marked = held["family"] in {record["family"] for record in used}
            assert marked == (name == "identity" and model != benchmark.JUDGING_ALONE)
