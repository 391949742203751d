"""The points of a tuning's frontier, and their plot."""

from dataclasses import replace
from typing import Any

import pytest
from results_toys import toy_results

from onlymymodel.evaluate.tune.frontier import FRONTIER_CHANNELS, clean_point, protected_point
from onlymymodel.evaluate.tune.frontier_plot import frontier_plot
from onlymymodel.evaluate.tune.search import Target


def test_frontier_shares_and_intervals() -> None:
    toy = toy_results()
    results = replace(toy, runs=toy.runs[:1], channels=FRONTIER_CHANNELS)
    point, clean = protected_point(results, 8), clean_point(results)
    judge, far = results.independent()  # the cousin does not count
    assert clean.level == 0
    for channel in FRONTIER_CHANNELS:
        shares = [row.score("eps8", channel).unprotected for row in (judge, far)]
        assert point.heldout[channel].share == pytest.approx(sum(shares) / 2)
        assert point.heldout[channel].share == results.heldout_mean("eps8", channel)
        assert point.heldout[channel].low <= point.heldout[channel].share <= point.heldout[channel].high
        assert point.kept[channel].share == results.authorized.score("eps8", channel).kept
    alone = replace(results, rows=tuple(row for row in results.rows if row.role == "authorized"))
    assert protected_point(alone, 8).heldout == {}
    assert len(point.models) == len(results.rows) * len(FRONTIER_CHANNELS)


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["epsilon", "ssim"])
def test_frontier_plot_is_reproducible_and_marks_the_choice(axis: Any) -> None:
    toy = toy_results()
    points = [
        clean_point(toy),
        protected_point(replace(toy, runs=toy.runs[:1]), 8),
        protected_point(replace(toy, runs=toy.runs[1:]), 16),
    ]
    drawn = [frontier_plot(points, Target(), 8, met=met, axis=axis) for met in (True, True, False)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0].count("<svg") == 1
