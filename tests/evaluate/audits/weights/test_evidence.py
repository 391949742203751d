"""Evidence for training pictures in weights: constructed networks, and one that memorized."""

import numpy as np
import pytest
import torch
from audit_toys import pictures, stream
from torch import nn

from onlymymodel.evaluate.audits.networks import small_network, train_network
from onlymymodel.evaluate.audits.pictures import Pictures, digit_pictures
from onlymymodel.evaluate.audits.weights.evidence import best_combination, margin_gradients, training_evidence


def constructed(of: Pictures, multipliers: torch.Tensor) -> nn.Module:
    """A linear classifier of two classes whose weights are sum_i l_i grad margin_i."""
    inputs = of.pixels[0].numel()
    net = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 2, bias=False))
    signed = multipliers * (1 - 2 * of.labels)
    row = (signed[:, None] * of.pixels.flatten(1)).sum(0)
    net.get_parameter("1.weight").data = torch.stack([row, -row])
    return net


def test_a_constructed_network_is_a_combination_of_its_pictures_and_of_no_others() -> None:
    made_of, others = (pictures([0, 1] * 6, 2, 6, seed) for seed in (0, 1))
    multipliers = torch.rand(12, generator=stream()) + 0.1
    net = constructed(made_of, multipliers)
    gradients = margin_gradients(net, made_of)
    everything = np.arange(12)
    assert gradients.cosine(everything) == pytest.approx(1, abs=1e-5)
    found = best_combination(gradients.gram, gradients.with_weights)
    np.testing.assert_allclose(found, multipliers.numpy(), rtol=1e-2)
    assert margin_gradients(net, others).cosine(everything) < 0.9
    values = training_evidence(net, made_of, others, right_only=False)
    assert values["cosine_training"] == pytest.approx(1, abs=1e-5)
    assert float(values["difference_low"] or 0) > 0
    assert float(values["p"] or 1) <= 0.01


def test_multipliers_are_never_negative() -> None:
    made_of = pictures([0, 1] * 4, 2, 6)
    net = constructed(made_of, torch.tensor([1.0, 1, 1, 1, 1, 1, 1, -3]))
    gradients = margin_gradients(net, made_of)
    assert (best_combination(gradients.gram, gradients.with_weights) >= 0).all()
    assert gradients.cosine(np.arange(8)) < 0.99


def test_without_right_answers_there_is_no_figure() -> None:
    training, others = pictures([0, 0, 0, 0], 2, 6, 0), pictures([0, 0, 0, 0], 2, 6, 1)
    always_one = constructed(pictures([1, 1], 2, 6), torch.ones(2))
    assert training_evidence(always_one, training, others, right_only=True)["cosine_training"] is None


def test_weights_without_any_picture_say_nothing() -> None:
    silent = constructed(pictures([0, 1], 2, 6), torch.zeros(2))
    assert margin_gradients(silent, pictures([0, 1], 2, 6)).cosine(np.arange(2)) == 0


@pytest.mark.slow
def test_a_network_that_memorized_betrays_its_training_pictures_and_an_untrained_one_does_not() -> None:
    members, others = digit_pictures(8).take(range(600)).split(40, 0)
    net = small_network("mlp", 1, 8, 10, activation="relu")
    untrained = training_evidence(net, members, others, right_only=False)
    assert float(untrained["difference_low"] or 0) < 0 < float(untrained["difference_high"] or 0)
    train_network(net, members, epochs=150, rate=2e-3, weight_decay=1e-3, batch=64, progress=False)
    for right_only in (False, True):
        values = training_evidence(net, members, others, right_only=right_only)
        assert float(values["cosine_training"] or 0) > 0.6
        assert float(values["difference_low"] or 0) > 0
