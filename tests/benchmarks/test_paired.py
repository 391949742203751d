"""Differences between runs on the same photos."""

import importlib
from statistics import mean
from types import ModuleType
from typing import Any

import pytest
from paths import BENCHMARKS, ROOT

DEPLOYED = ROOT / "results" / "deployments" / "nips2017"


@pytest.fixture
def paired(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/paired.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("paired")


def cell(paired: ModuleType, name: str) -> Any:
    return paired.MeasuredRun(DEPLOYED / f"{name}.json")


def test_the_mean_is_the_difference_of_the_means_of_the_tables(paired: ModuleType) -> None:
    ens, exact = cell(paired, "resnet50-ens-8"), cell(paired, "resnet50-exact-8")
    assert ens.results.photos == exact.results.photos
    shares = paired.read_shares(ens)
    assert sum(shares.values()) / len(shares) == pytest.approx(ens.heldout_mean())
    difference = paired.paired_difference(ens, exact)
    assert difference.mean == pytest.approx(ens.heldout_mean() - exact.heldout_mean())
    assert difference.photos == len(ens.results.photos)
    assert difference.low < difference.mean < difference.high


def test_the_other_way_round_the_interval_is_mirrored(paired: ModuleType) -> None:
    fmd, exact = cell(paired, "resnet50-fmd-8"), cell(paired, "resnet50-exact-8")
    forward, backward = paired.paired_difference(fmd, exact), paired.paired_difference(exact, fmd)
    assert (forward.mean, forward.low, forward.high) == pytest.approx((-backward.mean, -backward.high, -backward.low))
    assert forward.low > 0
    assert forward.describe().endswith("*")


def test_a_run_does_not_differ_from_itself(paired: ModuleType) -> None:
    same = cell(paired, "resnet50-default-8")
    assert paired.paired_difference(same, same)[:3] == (0, 0, 0)
    assert paired.paired_difference(same, same).describe() == "+0.0 [+0.0, +0.0]"


def test_at_its_own_flip_a_level_is_compared_with_itself(paired: ModuleType) -> None:
    levels = [paired.MeasuredRun(DEPLOYED / f"mobilenet_v2-default-{budget}.json") for budget in ("4", "8")]
    for level in levels:
        assert paired.difference_at_flip(level, levels)[:3] == pytest.approx((0, 0, 0))
    assert paired.difference_at_flip(levels[1], levels[:1]) is None


def test_between_two_levels_both_are_mixed_to_the_same_flip(paired: ModuleType) -> None:
    between, *levels = (
        paired.MeasuredRun(DEPLOYED / f"mobilenet_v2-default-{budget}.json") for budget in ("ssim-0.95", "4", "8")
    )
    weak, strong = levels
    flip, less, more = (mean(entry.flip for entry in run.run.distortion) for run in (between, weak, strong))
    assert less < flip < more
    share = (flip - less) / (more - less)
    expected = between.heldout_mean() - share * strong.heldout_mean() - (1 - share) * weak.heldout_mean()
    assert paired.difference_at_flip(between, levels).mean == pytest.approx(expected)
    assert paired.difference_at_flip(between, levels[::-1]) == paired.difference_at_flip(between, levels)


def test_below_the_weakest_level_originals_are_mixed_in(paired: ModuleType) -> None:
    weak, strong = (paired.MeasuredRun(DEPLOYED / f"mobilenet_v2-default-{budget}.json") for budget in ("4", "8"))
    less, more = (mean(entry.flip for entry in run.run.distortion) for run in (weak, strong))
    mixed = less / more * strong.heldout_mean() + (1 - less / more) * strong.heldout_mean("clean")
    assert paired.difference_at_flip(weak, [strong]).mean == pytest.approx(weak.heldout_mean() - mixed)
