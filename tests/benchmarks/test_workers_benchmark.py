"""The parts of `benchmarks/workers.py` on tiny sizes, and the tables from its results."""

import json
from argparse import Namespace
from pathlib import Path

import pytest
import worker_tables
import workers
from assets import RESULTS

from onlymymodel.protect import batches as batches_module


@pytest.mark.slow
def test_a_finished_run_is_resumed_without_computing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "IN_A_FOLDER", 2)
    workers.make_finished_run(tmp_path, 5)
    monkeypatch.setattr(batches_module, "protect_photos", lambda *_: pytest.fail("computed again"))
    before = (tmp_path / "out" / "manifest.jsonl").read_bytes()
    assert len(before.splitlines()) == 5
    for step in workers.STEPS:
        found = workers.measure(step, tmp_path)
        assert found.keys() == {"seconds", "cpu_seconds", "mib"}
    assert (tmp_path / "out" / "manifest.jsonl").read_bytes() == before


def test_the_exponent_is_that_of_a_power() -> None:
    cells = [
        {"step": "scan", "photos": count, "runs": [{"cpu_seconds": 0.5 + 1e-5 * (count**1.5 if count > 1 else 0)}]}
        for count in (1, 100, 1000, 10_000)
    ]
    assert workers.exponent(cells, "scan") == pytest.approx(1.5)
    assert workers.exponent(cells[:2], "scan") is None


def test_too_few_photos_for_all_workers_are_refused() -> None:
    with pytest.raises(SystemExit, match="must be a multiple of 4, and 12 at least"):
        workers.measure_throughput(workers.BUNDLED, Namespace(photos=10, workers=2, rounds=1, steps=1))


def test_tables_say_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [{"seconds": 2.0, "cpu_seconds": 1.0, "mib": 3.0}, {"seconds": 2.0, "cpu_seconds": 2.0, "mib": 5.0}]
    content: dict[str, object] = {
        "names": {
            "cells": [{"step": "scan", "photos": count, "runs": runs} for count in (1, 1000)],
            "exponents": {"scan": 0.987},
        }
    }
    monkeypatch.setattr(worker_tables, "RESULTS", tmp_path)
    (tmp_path / "workers.json").write_text(json.dumps(content))
    assert "| scan | 1.50 (1.00 to 2.00) s, 4 MiB | 0.99 |" in worker_tables.names()
    assert worker_tables.throughput() == "Not measured for this version.\n"
    content["throughput"] = {"photos_per_second": {"1": [0.1, 0.2], "2": [0.2, 0.4]}, "ratios": [2.0, 2.0]}
    (tmp_path / "workers.json").write_text(json.dumps(content))
    assert "| 2 | 18.00 (12.00 to 24.00) |" in worker_tables.throughput()
    assert "2 workers: 2.00 times as many (2.00 to 2.00, n = 2)." in worker_tables.throughput()


def test_the_cost_is_seconds_times_photos() -> None:
    # 38.35 s a photo, from results/recipe_cost.json, times 100,000 photos, in hours
    recorded = json.loads((RESULTS / "recipe_cost.json").read_text(encoding="utf-8"))
    first = recorded["cells"][0]["seconds"]["default"]
    hours = sum(first) / len(first) * 100_000 / 3600
    assert f"{hours:,.0f} P" in worker_tables.cost()
