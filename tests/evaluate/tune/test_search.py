"""Search for the least budget, on measurements whose optimum is known in closed form."""

import math
import random
from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement, pairwise
from typing import Any

import numpy as np
import pytest

from onlymymodel.errors import UserError
from onlymymodel.evaluate.tune.search import LEVELS, Measurement, Search, Target, first_levels, fit_nonincreasing

FIRST = first_levels(LEVELS[-1])
FEW = 12  # measurements that a measure without noise may take at most


def run(
    heldout: Callable[[int], float],
    kept: Callable[[int], float] = lambda _: 1.0,
    target: Target = Target(),  # noqa: B008 - frozen
    *,
    sampled: bool = True,
    first: tuple[int, ...] = FIRST,
) -> tuple[Search, list[int]]:
    """A finished search, and the levels in the order in which they were measured."""
    search, asked = Search(target, first, sampled=sampled), list[int]()
    while (level := search.next_level) is not None:
        asked.append(level)
        search.add(Measurement(level, heldout(level), kept(level)))
    assert len(set(asked)) == len(asked) <= len(LEVELS)
    return search, asked


def best(search: Search) -> int | None:
    return None if search.best is None else search.best.level


@pytest.mark.parametrize("least", LEVELS)
def test_step_is_found_exactly_with_few_measurements(least: int) -> None:
    search, asked = run(lambda level: 0.0 if level >= least else 1.0)
    assert best(search) == least
    assert len(asked) <= FEW
    # it is not accepted before the level above and two below were measured
    assert {least - 2, least - 1, least, least + 1} & set(LEVELS) <= set(asked)


@pytest.mark.parametrize("least", LEVELS)
def test_single_file_is_found_by_plain_bisection(least: int) -> None:
    search, asked = run(lambda level: 0.0 if level >= least else 1.0, sampled=False, first=(32, 16))
    assert best(search) == least
    assert len(asked) <= math.log2(len(LEVELS)) + 2
    assert least == 1 or least - 1 in asked


@pytest.mark.parametrize(("middle", "width"), [(4.0, 1.0), (9.0, 2.0), (16.0, 0.5), (20.0, 3.0)])
def test_logistic_curve_optimum_matches_closed_form(middle: float, width: float) -> None:
    search, asked = run(lambda level: 1 / (1 + math.exp((level - middle) / width)))
    assert best(search) == math.ceil(middle + width * math.log(9))  # where the curve is 0.1
    assert len(asked) <= FEW


@pytest.mark.parametrize("seed", range(25))
def test_binomial_noise_moves_the_optimum_little(seed: int) -> None:
    chance = random.Random(seed)
    curve = [1 / (1 + math.exp((level - 9) / 1.5)) for level in range(33)]
    drawn = [sum(chance.random() < share for _ in range(200)) / 200 for share in curve]
    search, _ = run(drawn.__getitem__)
    level = best(search)
    assert level is not None
    # with 200 photos the share at the answer is within three standard deviations of the target
    assert curve[level] <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 200)
    assert curve[level - 2] >= 0.1 - 3 * math.sqrt(0.1 * 0.9 / 200)


@pytest.mark.parametrize("least", LEVELS)
@pytest.mark.parametrize("wrong", LEVELS)
def test_one_wrong_measurement_does_not_end_the_search_early(least: int, wrong: int) -> None:
    """Whatever level is measured wrongly, the result is off only where that level is next to the true one."""

    def measured(level: int) -> float:
        true = 0.0 if level >= least else 1.0
        return 1 - true if level == wrong else true

    level = best(run(measured)[0])
    if abs(wrong - least) <= 1:  # the measurements are those of another step as much as of this one
        assert level is None or abs(level - least) <= 2
    elif least == LEVELS[-1]:  # one measurement in favor, at the edge
        assert level in (None, least)
    else:
        assert level == least


def test_ties_take_the_lowest_level_that_meets_the_target() -> None:
    assert best(run(lambda _: 0.1)[0]) == 1


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_where_models_read_as_much_at_every_level_the_highest_is_the_nearest(share: float) -> None:
    search, _ = run(lambda _: share)
    assert search.best is None
    assert search.nearest.level == LEVELS[-1]


def test_out_of_reach_because_models_still_read() -> None:
    search, asked = run(lambda level: 1 - level / 64)
    assert search.best is None
    assert search.nearest.level == 32
    assert set(asked) == {*FIRST, 31}


def test_out_of_reach_because_the_authorized_model_loses() -> None:
    """Every budget that misleads costs the authorized model; the least such change is the nearest."""
    search, _ = run(lambda level: 0.0 if level >= 12 else 1.0, lambda level: 1.0 if level < 6 else 0.9)
    assert search.best is None
    assert search.nearest.level == 12
    assert (search.nearest.heldout, search.nearest.kept) == (0.0, 0.9)


@pytest.mark.parametrize("least", [1, 3, 7, 13, 22])
@pytest.mark.parametrize("room", [0, 1, 4])
def test_kept_may_fall_with_large_budgets(least: int, room: int) -> None:
    search, _ = run(lambda level: 0.0 if level >= least else 1.0, lambda level: 1.0 if level <= least + room else 0.5)
    assert best(search) == least


@pytest.mark.parametrize("enough", [2, 9, 17, 31])
def test_kept_may_fall_with_small_budgets(enough: int) -> None:
    """A small budget that leaves no room for the margin: the least that meets both is asked for, not the first."""
    search, asked = run(lambda level: 0.0 if level >= 2 else 1.0, lambda level: 1.0 if level >= enough else 0.8)
    assert best(search) == enough
    assert len(asked) <= FEW


def test_result_itself_meets_the_target() -> None:
    """A smoothed value in reach is no reason to hand out a point that was measured out of reach."""
    values = {**dict.fromkeys(LEVELS, 0.0), **dict.fromkeys(range(1, 8), 1.0), 8: 0.15, 9: 0.0}
    measurement = run(values.__getitem__)[0].best
    assert measurement is not None
    assert measurement.level == 9


def test_interrupted_search_resumes() -> None:
    def heldout(level: int) -> float:
        return 0.0 if level >= 11 else 1.0

    _, asked = run(heldout)
    for stopped in range(len(asked)):
        again = Search(Target(), FIRST)
        for level in asked[:stopped]:
            again.add(Measurement(level, heldout(level), 1.0))
        assert again.next_level == asked[stopped]


def test_only_the_next_level_is_accepted() -> None:
    search = Search(Target(), (32, 16))
    with pytest.raises(ValueError, match="next level is 32"):
        search.add(Measurement(16, 0.0, 1.0))
    with pytest.raises(ValueError, match="outside"):
        search.add(Measurement(32, math.nan, 1.0))
    with pytest.raises(ValueError, match="cannot begin"):
        Search(Target(), (16, 8))


def test_search_with_one_level() -> None:
    search = Search(Target(), first_levels(1), range(1, 2))
    search.add(Measurement(1, 0.0, 1.0))
    assert search.next_level is None
    assert best(search) == 1


@pytest.mark.parametrize(
    "shares", [{"heldout": 1.0}, {"heldout": -0.1}, {"heldout": math.nan}, {"kept": 0.0}, {"kept": 1.01}]
)
def test_invalid_targets_are_refused(shares: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="--target"):
        Target(**shares)


@pytest.mark.parametrize("seed", range(10))
def test_isotonic_regression_is_optimal(seed: int) -> None:
    """Against all nonincreasing sequences of the values that occur."""
    values: list[float] = np.random.default_rng(seed).random(6).round(1).tolist()
    fitted = fit_nonincreasing(values)
    assert all(left >= right for left, right in pairwise(fitted))

    def loss(sequence: Sequence[float]) -> float:
        return sum(abs(fitted_value - value) for fitted_value, value in zip(sequence, values, strict=True))

    all_of_them = combinations_with_replacement(sorted(set(values), reverse=True), len(values))
    assert loss(fitted) == pytest.approx(min(map(loss, all_of_them)))


def test_isotonic_regression_on_small_examples() -> None:
    assert fit_nonincreasing([]) == []
    assert fit_nonincreasing([0.9, 0.5, 0.5, 0.1]) == [0.9, 0.5, 0.5, 0.1]
    assert fit_nonincreasing([1.0, 0.0, 0.0, 1.0, 0.0]) == [1.0, 0.0, 0.0, 0.0, 0.0]  # outvoted
    assert fit_nonincreasing([0.0, 1.0]) == [1.0, 1.0]  # even votes: the higher


@pytest.mark.parametrize(("highest", "levels"), [(32, (32, 16, 8, 4)), (3, (3, 2, 1)), (1, (1,))])
def test_first_levels_are_a_coarse_frontier(highest: int, levels: tuple[int, ...]) -> None:
    assert first_levels(highest) == levels
