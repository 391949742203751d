"""Membership inference: the AUC and a simple attacker."""

import pytest
import torch

from onlymymodel.evaluate.audits.layers.membership import membership_auc, train_attacker


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_auc_equals_the_share_of_ordered_pairs() -> None:
    members, others = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.5, 0.2])
    wins = sum((a > b) + 0.5 * (a == b) for a in members.tolist() for b in others.tolist())
    assert membership_auc(members, others) == pytest.approx(wins / 6)
    assert membership_auc(members, members) == 0.5
    assert membership_auc(others + 1, others) == 1
    with pytest.raises(ValueError, match="members and of nonmembers"):
        membership_auc(members, others[:0])


def test_attacker_detects_shift_and_spread_and_guesses_without_either() -> None:
    first, second = torch.split(torch.randn(4, 200, 30, generator=stream()), 2)
    for members, apart in ((first + 0.5, True), (first * 1.5, True), (first, False)):
        score = train_attacker(members[0], second[0])
        auc = membership_auc(score(members[1]), score(second[1]))
        assert auc > 0.8 if apart else 0.4 < auc < 0.6
