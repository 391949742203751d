"""The likelihood ratio attack against distributions whose ratio is known."""

import pytest
import torch
from torch import Tensor, nn

from onlymymodel.evaluate.audits.layers.membership import membership_auc, tpr_at_fpr
from onlymymodel.evaluate.audits.layers.shadow_membership import confidence, likelihood_ratio, shadow_membership
from onlymymodel.evaluate.audits.pictures import Pictures


def test_confidence_is_the_log_odds_of_the_true_label() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0, 1])
    pictures = Pictures(logits.view(5, 3, 1, 1), labels, labels, tuple("abcde"), 3)
    p = logits.double().softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(confidence(nn.Flatten(), pictures), (p / (1 - p)).log())
    with pytest.raises(ValueError, match="logits"):
        confidence(nn.Identity(), pictures)


def test_ratio_is_that_of_the_two_normal_distributions() -> None:
    """Many shadows, means 2 and 0 by candidate offset, deviations 1 and 3: scores equal the analytic log ratio."""
    generator = torch.Generator().manual_seed(1)
    offset = 10 * torch.randn(6, generator=generator).double()
    trained_on = torch.arange(4000)[:, None] % 2 == torch.arange(6) % 2
    noise = torch.randn(4000, 6, generator=generator).double()
    shadows = offset + torch.where(trained_on, 2 + noise, 3 * noise)
    observed = offset + torch.linspace(-3, 3, 6).double()
    inside, outside = torch.distributions.Normal(offset + 2, 1.0), torch.distributions.Normal(offset, 3.0)
    expected = Tensor(inside.log_prob(observed) - outside.log_prob(observed))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(likelihood_ratio(observed, shadows, trained_on), expected, rtol=0.1, atol=0.2)
    with pytest.raises(ValueError, match="every candidate"):
        likelihood_ratio(observed, shadows, torch.ones_like(trained_on))


def test_tpr_at_fpr_counts_members_above_all_but_the_allowed_others() -> None:
    others = torch.arange(100.0)
    members = torch.tensor([99.5, 98.5, 98.0, 50.0])
    assert tpr_at_fpr(members, others, 0.0) == 0.25
    assert tpr_at_fpr(members, others, 0.01) == 0.5
    assert tpr_at_fpr(others, others, 0.01) == 0.01


class Memory(nn.Module):
    """Answers its training pictures with a confidence of their own difficulty plus 1, others without the 1."""

    def __init__(self, seen: Tensor) -> None:
        super().__init__()
        self.seen = seen.flatten(1)

    def forward(self, pixels: Tensor) -> Tensor:
        flat = pixels.flatten(1)
        member = (flat[:, None] == self.seen).all(2).any(1).float()
        logit = 40 * (flat.mean(1) - 0.5) + member
        return torch.stack([logit, torch.zeros_like(logit)], 1)


def test_shadows_find_members_that_differ_less_than_pictures_do() -> None:
    pixels = torch.rand(80, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    labels = torch.zeros(80, dtype=torch.long)
    pool = Pictures(pixels, labels, torch.arange(80), tuple(map(str, range(80))), 2)
    members, others = pool.take(range(40)), pool.take(range(40, 80))
    network = Memory(members.pixels)
    found = shadow_membership(network, members, others, lambda part, _: Memory(part.pixels), shadows=4, progress=False)
    assert found == {"auc": 1, "tpr": 1}
    assert membership_auc(confidence(network, members), confidence(network, others)) < 0.8
