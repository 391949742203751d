"""Reconstruction of training pictures from weights."""

import pytest
import torch
from audit_toys import noise, pictures
from torch import nn

from onlymymodel.evaluate.audits.networks import small_network
from onlymymodel.evaluate.audits.weights.reconstruction import (
    ReconstructionSettings,
    RelaxedReLU,
    best_scores,
    correlations,
    reconstruct_pictures,
    relaxed_copy,
)


def test_a_relaxed_network_answers_as_before_and_its_gradients_have_a_derivative() -> None:
    net, pixels = small_network("cnn", 1, 8, 3, activation="relu"), noise(2, 1, 8, 8)
    relaxed = relaxed_copy(net, 4.0)
    torch.testing.assert_close(relaxed(pixels), net(pixels))
    assert not [module for module in relaxed.modules() if isinstance(module, nn.ReLU)]
    x = torch.tensor([-1.0, 0.5], requires_grad=True)
    (slope,) = torch.autograd.grad(RelaxedReLU(4.0)(x).sum(), x, create_graph=True)
    torch.testing.assert_close(slope, torch.sigmoid(4 * x))
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    assert (curvature > 0).all()
    (plain,) = torch.autograd.grad(x.relu().sum(), x, create_graph=True)
    assert not torch.autograd.grad(plain.sum(), x)[0].any()


def test_homogeneous_networks_have_one_bias_and_scale_with_the_weights() -> None:
    for kind in ("mlp", "cnn"):
        net = small_network("mlp" if kind == "mlp" else "cnn", 1, 8, 3, activation="relu", homogeneous=True)
        assert len([name for name, _ in net.named_parameters() if name.endswith("bias")]) == 1
        pixels = noise(2, 1, 8, 8)
        before = net(pixels)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(2)
        degree = len([m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)])
        torch.testing.assert_close(net(pixels), 2**degree * before)


def test_the_mean_of_the_class_scores_as_nothing() -> None:
    known = pictures([0, 0, 0, 1], 2)
    means = torch.stack([known.pixels[known.labels == label].mean(0) for label in (0, 1)])
    candidates = torch.stack([2 * means[0] + 0.3, 3 * known.pixels[1] - 1, known.pixels[0]])
    table = correlations(candidates, torch.tensor([0, 0, 1]), known, means)
    assert table[0, :3].abs().max() < 1e-4
    assert table[1, 1] == pytest.approx(1)
    assert (table[2, :3] == -1).all()
    (score, candidate, picture), *_ = best_scores(table)
    assert (round(score, 4), candidate, picture) == (1, 1, 1)


def test_candidates_are_twice_as_many_as_the_pictures_and_the_network_does_not_change() -> None:
    net = small_network("mlp", 1, 8, 2, activation="relu", homogeneous=True)
    before = [parameter.clone() for parameter in net.parameters()]
    settings = ReconstructionSettings(steps=2)
    candidates, labels = reconstruct_pictures(net, torch.tensor([0, 1, 1]), (1, 8, 8), settings, progress=False)
    assert candidates.shape == (6, 1, 8, 8)
    assert labels.tolist() == [0, 1, 1, 0, 1, 1]
    assert all(torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True))
