"""Gradient matching beside the library breaching: the same objectives and the same gradients of the pixels."""

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from audit_toys import tiny
from torch import Tensor, nn

from onlymymodel.evaluate.audits.gradients.client_gradient import loss_gradient, record_statistics, running_statistics
from onlymymodel.evaluate.audits.gradients.matching import DISTANCES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # breaching scripts its losses, which torch advises against now
    from breaching.attacks.auxiliaries.objectives import CosineSimilarity, Euclidean
    from breaching.attacks.auxiliaries.regularizers import DeepInversion

LABELS = torch.tensor([3, 1])
NO_MIXED_PRECISION = SimpleNamespace(mixed_precision=False)


def batches() -> tuple[Tensor, Tensor]:
    """Return a batch to reconstruct and a candidate, (2,1,6,6) float64 in [0,1]."""
    return tuple(torch.rand(2, 2, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


@pytest.mark.parametrize(("name", "objective"), [("cosine", CosineSimilarity), ("l2", Euclidean)])
def test_distances_of_gradients_are_those_of_breaching(name: str, objective: Any) -> None:
    network, (pictures, candidate) = tiny(), batches()
    target = [part.detach() for part in loss_gradient(network, pictures, LABELS)]
    candidate.requires_grad_()
    ours = DISTANCES[name](loss_gradient(network, candidate, LABELS, differentiable=True), target)
    breaching = objective()
    breaching.initialize(F.cross_entropy, NO_MIXED_PRECISION)
    theirs = breaching(network.requires_grad_(), target, candidate, LABELS)[0].squeeze()
    if name == "l2":  # they take half of the square, and we divide by that of the target
        theirs = 2 * theirs / sum(part.square().sum() for part in target)
    assert ours > 0.001
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0)
    slopes = [torch.autograd.grad(value, candidate)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=1e-8, atol=1e-12)


def test_statistics_of_batch_norms_are_those_of_breaching() -> None:
    """GradInversion's prior on them: they add norms, we add means of squares, of the same distances."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3))
    network.double().train()
    network(batches()[0])
    network.eval()
    theirs = DeepInversion({"device": torch.device("cpu"), "dtype": torch.float64}, scale=1.0, first_bn_multiplier=1.0)
    theirs.initialize([network])
    with record_statistics(network) as recorded:
        network(batches()[1])
    distances = [
        (own - goal.to(own)).norm()
        for pair in zip(recorded.values(), running_statistics(network), strict=True)
        for own, goal in zip(*pair, strict=True)
    ]
    torch.testing.assert_close(sum(distances), theirs(batches()[1]).detach())
    assert sum(distances) > 0.1
