"""One-to-one matching of pictures, and the interval of the gap."""

import itertools

import numpy as np
import pytest
import torch
from audit_toys import noise, pictures

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.picture_matching import (
    balance_classes,
    gap_interval,
    match_one_to_one,
    measure_gap,
    pairwise_ssim,
)
from onlymymodel.evaluate.audits.weights.audit import weights_report


def test_matching_equals_brute_force() -> None:
    for seed in range(20):
        table = np.random.default_rng(seed).normal(size=(4, 4))
        best = max(itertools.permutations(range(4)), key=lambda columns: sum(table[range(4), columns]))
        assert tuple(match_one_to_one(table)) == best


def test_gap_is_antisymmetric_and_independent_of_the_order() -> None:
    made, near, far = (noise(6, 1, 8, 8, seed=seed) for seed in range(3))
    gap = gap_interval([measure_gap(made, near, far)])[0]
    assert gap_interval([measure_gap(made, far, near)])[0] == pytest.approx(-gap)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert gap_interval([measure_gap(made[order], near, far[order.flip(0)])])[0] == pytest.approx(gap)


def test_matches_are_the_rows_of_the_scores() -> None:
    near, far = noise(5, 3, 9, 9, seed=1), noise(5, 3, 9, 9, seed=2)
    order = torch.tensor([4, 2, 0, 1, 3])
    gap = measure_gap(near[order], near, far)
    assert gap.training_match.tolist() == order.tolist()
    assert gap.training == pytest.approx(1)
    table = pairwise_ssim(near[order], far)
    assert gap.held_out == pytest.approx(table[range(5), gap.held_out_match])


@pytest.mark.slow
def test_interval_of_the_gap_has_its_nominal_coverage() -> None:
    """100 sets from one source, all matched to one and the same picture, which misleads a bootstrap: 95 % of the
    intervals have 0 in them, give or take 3 standard errors."""
    made = noise(1, 1, 8, 8).expand(6, 1, 8, 8)
    covered = []
    for seed in range(100):
        drawn = noise(12, 1, 8, 8, seed=1000 + seed)
        _, low, high = gap_interval([measure_gap(made, drawn[:6], drawn[6:], seed)])
        covered.append(low <= 0 <= high)
    assert 0.885 <= np.mean(covered) <= 1


def test_copies_of_training_pictures_have_a_significant_gap_unless_there_is_only_one() -> None:
    near, far = noise(6, 1, 8, 8, seed=1), noise(6, 1, 8, 8, seed=2)
    gap, low, high = gap_interval([measure_gap(near, near, far)])
    assert gap == pytest.approx(1 - measure_gap(near, near, far).held_out.mean())
    assert 0.3 < low < gap < high
    gap, low, _ = gap_interval([measure_gap(near[:1], near[:1], far[:1])])
    assert low <= 0 < gap


def test_balancing_takes_equally_many_pictures_of_each_class() -> None:
    members, others = balance_classes(pictures([2, 0, 2, 2, 1], 4), pictures([2, 2, 0, 0, 3], 4, seed=1))
    assert members.names == ("0-1", "0-0", "0-2")
    assert others.names == ("1-2", "1-0", "1-1")
    assert torch.equal(members.labels, others.labels)


def test_sets_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(UserError, match="no class has both"):
        balance_classes(pictures([0, 0], 2), pictures([1], 2))
    with pytest.raises(UserError, match="one size"):
        balance_classes(pictures([0], 2), pictures([0], 2, size=9))
    with pytest.raises(UserError, match="the same classes"):
        weights_report("mlp", pictures([0], 2), pictures([0], 3))
