"""Evaluations of different photos combined to one."""

import importlib
from dataclasses import replace
from types import ModuleType

import pytest
from paths import BENCHMARKS, ROOT
from records import record_with_margins

from onlymymodel.evaluate.recorded_margins import recorded_margins
from onlymymodel.evaluate.results import Results
from onlymymodel.evaluate.results_file import read_results

CELL = ROOT / "results" / "deployments" / "nips2017" / "mobilenet_v2-default-ssim-0.95-even.json"


@pytest.fixture
def combine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/combine.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("combine")


@pytest.fixture
def measured() -> Results:
    """A measured cell, as if measured at once, without what is not recorded for each photo."""
    results = read_results(CELL)
    header = {name: value for name, value in results.header.items() if name != "parts"}
    runs = tuple(replace(run, margins={}, statuses={}) for run in results.runs)
    return replace(results, header=header, runs=runs)


def photos(results: Results, chosen: slice) -> Results:
    """Return the part of the results over some photos."""
    return replace(
        results,
        photos=results.photos[chosen],
        labels=results.labels[chosen],
        runs=tuple(replace(run, distortion=run.distortion[chosen]) for run in results.runs),
        rows=tuple(
            replace(
                row,
                truths=row.truths[chosen],
                answers={
                    version: {channel: given[chosen] for channel, given in channels.items()}
                    for version, channels in row.answers.items()
                },
            )
            for row in results.rows
        ),
    )


def test_parts_give_the_results_of_the_whole(combine: ModuleType, measured: Results) -> None:
    first, second, third = (photos(measured, part) for part in (slice(16), slice(16, 20), slice(20, None)))
    combined = combine.combine(combine.combine(first, second), third)
    parts = combined.header["parts"]
    assert [part["photos"] for part in parts] == [16, 4, len(measured.photos) - 20]
    assert all(part["environment"] == measured.header["environment"] for part in parts)
    assert replace(combined, header=measured.header) == measured


def test_statuses_add_up(combine: ModuleType, measured: Results) -> None:
    def with_statuses(results: Results, **statuses: int) -> Results:
        return replace(results, runs=(replace(results.runs[0], statuses=statuses),))

    first = with_statuses(photos(measured, slice(4)), protected=3, unchanged=1)
    second = with_statuses(photos(measured, slice(4, 7)), protected=2, failed=1)
    (run,) = combine.combine(first, second).runs
    assert run.statuses == {"protected": 5, "unchanged": 1, "failed": 1}


def test_margins_are_those_of_all_records(combine: ModuleType) -> None:
    records = [
        record_with_margins("a.png", "protected", half=(2.0, 1.0), mirror=(1.0, -1.0)),
        record_with_margins("b.png", "protected", half=(4.0, 0.5)),
        record_with_margins("c.png", "already-misread", half=(3.5, 0.25), mirror=(5.0, 3.0)),
    ]
    whole = recorded_margins(records)
    parts = [recorded_margins(records[:2]), recorded_margins(records[2:])]
    for name, margins in whole.items():
        combined = combine.combine_margins([part[name] for part in parts])
        assert (combined.photos, combined.kept) == (margins.photos, margins.kept)
        assert (combined.least, combined.least_photo) == (margins.least, margins.least_photo)
        assert (combined.before, combined.after) == pytest.approx((margins.before, margins.after))


def test_parts_that_differ_are_refused(combine: ModuleType, measured: Results) -> None:
    first, second = photos(measured, slice(16)), photos(measured, slice(16, None))
    with pytest.raises(ValueError, match=f"both have {measured.photos[15]}"):
        combine.combine(first, photos(measured, slice(15, None)))
    with pytest.raises(ValueError, match="differ in settings"):
        combine.combine(first, replace(second, header={**second.header, "settings": {}}))
    with pytest.raises(ValueError, match="differ in models"):
        combine.combine(first, replace(second, rows=second.rows[:-1]))
    with pytest.raises(ValueError, match="differ in the budget"):
        combine.combine(first, replace(second, runs=(replace(second.runs[0], epsilon=4.0),)))


@pytest.mark.parametrize(("method", "same"), [("default", True), ("bsr", False)])
def test_only_a_cell_of_the_same_settings_is_extended(
    method: str, same: bool, monkeypatch: pytest.MonkeyPatch, measured: Results
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    deployments = importlib.import_module("deployments")
    command = ["protect", "photos", "--authorized", "zoo:identity-plain", "--recipe", method, "--ssim", "0.95"]
    if same:
        deployments.check_recipe("cell", command, measured)
    else:
        with pytest.raises(SystemExit, match="cell was measured with other settings"):
            deployments.check_recipe("cell", command, measured)
