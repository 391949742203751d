"""Every loss of network inversion beside its closed form."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from onlymymodel.evaluate.audits.priors import total_variation
from onlymymodel.evaluate.audits.weights import losses


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=stream(seed))


def test_divergence_in_closed_form() -> None:
    soft = torch.tensor([[0.5, 0.25, 0.25], [0.9, 0.05, 0.05]])
    assert losses.divergence(soft.log() + 3, soft).item() == pytest.approx(0, abs=1e-6)
    expected = (soft * (soft * 3).log()).sum(1).mean()  # to the uniform distribution
    assert losses.divergence(torch.zeros(2, 3), soft).item() == pytest.approx(expected.item())
    assert losses.divergence(torch.zeros(1, 3), torch.tensor([[1.0, 0, 0]])).item() == pytest.approx(np.log(3))


def test_cosine_and_orthogonality_in_closed_form() -> None:
    orthogonal, equal = torch.diag(torch.tensor([1.0, 2, 3])), torch.ones(3, 3)
    assert losses.cosine_diversity(orthogonal).item() == 0
    assert losses.feature_orthogonality(orthogonal).item() == 0
    assert losses.cosine_diversity(equal).item() == pytest.approx(1)
    assert losses.feature_orthogonality(equal).item() == pytest.approx(6 / 9)
    assert losses.cosine_diversity(torch.tensor([[1.0, 0], [-2, 0]])).item() == pytest.approx(-1)
    assert losses.cosine_diversity(torch.ones(1, 3)).item() == pytest.approx(0, abs=1e-6)
    assert losses.cosine_diversity(torch.zeros(2, 3)).item() == 0


def test_total_variation_of_a_ramp_is_its_slopes() -> None:
    down, across = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    ramp = (0.1 * down - 0.03 * across).expand(2, 3, 5, 7)
    assert total_variation(ramp).item() == pytest.approx(0.13, rel=1e-5)
    assert total_variation(torch.full((1, 1, 4, 4), 0.7)).item() == 0


def test_pixel_range_is_zero_inside_the_range() -> None:
    assert losses.pixel_range(torch.tensor([[[[0, 0.5, 1]]]])).item() == 0
    assert losses.pixel_range(torch.tensor([[[[-0.2, 0.5, 1.4, 1]]]])).item() == pytest.approx((0.04 + 0.16) / 4)


def test_gradient_norm_of_a_linear_loss_is_the_norm_of_the_mean_picture() -> None:
    weight, pixels = noise(3).requires_grad_(), torch.tensor([[3.0, 0, 4], [3.0, 0, 4]])
    assert losses.gradient_norm((weight * pixels).sum(1), [weight]).item() == pytest.approx(5)


def test_gradient_norm_is_differentiable_at_zero() -> None:
    pixels = noise(1, 1, 2, 2).requires_grad_()
    norm = losses.gradient_norm((pixels * 0).square().sum((1, 2, 3)), [pixels])
    torch.autograd.backward(norm)
    assert norm.item() == pytest.approx(0, abs=1e-5)
    assert pixels.grad is not None
    assert pixels.grad.isfinite().all()


def test_margins_equal_hand_computed_values() -> None:
    logits = torch.tensor([[1.0, 5, 2], [1, 5, 2], [-3, -4, -4]])
    assert losses.margins(logits, torch.tensor([1, 2, 0])).tolist() == [3, -3, 1]


def test_gradient_of_a_soft_margin_is_that_of_the_cross_entropy_up_to_a_factor() -> None:
    logits, labels = noise(3, 4).requires_grad_(), torch.tensor([1, 3, 0])
    (of_margin,) = torch.autograd.grad(losses.soft_margins(logits, labels).sum(), logits)
    (of_loss,) = torch.autograd.grad(losses.cross_entropy_by_picture(logits, labels).sum(), logits)
    unsure = 1 - logits.softmax(1).gather(1, labels[:, None])
    torch.testing.assert_close(-of_loss, unsure * of_margin)
    two = noise(3, 2)
    torch.testing.assert_close(
        losses.soft_margins(two, torch.tensor([0, 1, 1])), losses.margins(two, torch.tensor([0, 1, 1]))
    )


def test_max_margin_classifier_is_stationary() -> None:
    """min |W|^2 with margins of 1 or more at x = a and -a: W = (w, -w), w = a / 2|a|^2, both multipliers 1 / 4|a|^2."""
    a = torch.tensor([0.3, -0.4, 1.2])
    points, labels = torch.stack([a, -a]), torch.tensor([0, 1])
    half = a / (2 * a.square().sum())
    weight = torch.stack([half, -half]).requires_grad_()
    margin = losses.margins(points @ weight.T, labels)
    assert margin.tolist() == pytest.approx([1, 1])
    for multipliers, expected in ((torch.ones(2), 0), (torch.tensor([0.0, 5]), 0), (-torch.ones(2), 2)):
        distance = losses.stationarity(margin, multipliers, [weight]).item()
        assert distance == pytest.approx(expected, abs=1e-6)
        margin = losses.margins(points @ weight.T, labels)


def test_logistic_regression_is_stationary_only_at_its_training_data() -> None:
    """Two classes: the gradient of a cross-entropy is -(1 - p_label) times that of the margin, so that at the optimum
    the weights are the combination with multipliers (1 - p_label) / (n decay)."""
    points, labels = torch.randn(12, 5, generator=stream(1), dtype=torch.float64), torch.arange(12) % 2
    weight = torch.zeros(2, 5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=500, tolerance_grad=1e-12, tolerance_change=0, history_size=20)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(points @ weight.T, labels) + 0.05 * weight.square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    logits = points @ weight.T
    unsure = 1 - logits.softmax(1)[torch.arange(12), labels].detach()
    assert losses.stationarity(losses.margins(logits, labels), unsure, [weight]).item() < 1e-9
    others = torch.randn(12, 5, generator=stream(2), dtype=torch.float64) @ weight.T
    assert losses.stationarity(losses.margins(others, labels), unsure, [weight]).item() > 0.1


def test_stationarity_without_signal_is_one() -> None:
    weight, unused = torch.zeros(2, 3, requires_grad=True), torch.zeros(4, requires_grad=True)
    margin = losses.margins(noise(2, 3) @ weight.T, torch.tensor([0, 1]))
    assert losses.stationarity(margin, torch.ones(2), [weight, unused]).item() == 1
