"""Attack-free predictors of what a gradient reveals, beside explicit Jacobians."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.evaluate.audits.gradients.client_gradient import flatten_gradient, loss_gradient
from onlymymodel.evaluate.audits.gradients.defenses import parse_defense
from onlymymodel.evaluate.audits.gradients.risk import gradient_risk, noise_bound
from onlymymodel.evaluate.audits.networks import small_network
from onlymymodel.evaluate.audits.pictures import Pictures, portrait_pictures


def portraits(count: int) -> Pictures:
    """8 x 8."""
    return portrait_pictures(count, 8)


def network() -> nn.Module:
    return small_network("cnn", 3, 8, 6, width=8)


def test_predictors_equal_those_of_an_explicit_jacobian() -> None:
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).double(), torch.rand(3, 2, 2, dtype=torch.float64)
    linear = net[1]
    assert isinstance(linear, nn.Linear)

    def by_hand(picture: Tensor) -> Tensor:
        pixels = picture.flatten()
        off: Tensor = (linear.weight @ pixels + linear.bias).softmax(0) - F.one_hot(torch.tensor(3), 5)
        return torch.cat([torch.outer(off, pixels).flatten(), off])

    def direction(picture: Tensor) -> Tensor:
        return F.normalize(by_hand(picture), dim=0)

    jacobian, turned = (torch.func.jacrev(function)(x).reshape(65, 12) for function in (by_hand, direction))
    risk = gradient_risk(net, x, 3, variance=0.1)
    assert risk is not None
    assert risk.largest == pytest.approx(torch.linalg.matrix_norm(jacobian, 2).item(), rel=1e-6)
    assert risk.frobenius == pytest.approx(jacobian.norm().item(), rel=0.2)
    assert risk.cosine_smallest == pytest.approx(torch.linalg.svdvals(turned)[-1].item(), rel=1e-6)
    noise = (0.01 * by_hand(x).norm().item()) ** 2 / 65
    posterior = torch.linalg.inv(torch.eye(12) / 0.1 + jacobian.T @ jacobian / noise)
    for defense in ("noise:0.01", "clip:0.001+noise:0.01"):
        bound = risk.values(parse_defense(defense))["noise_bound"]
        assert bound == pytest.approx(posterior.trace().item() / 12, rel=1e-6)
    assert risk.values(parse_defense("none"))["noise_bound"] is None
    assert risk.values(parse_defense("topk:0.5+noise:0.1"))["noise_bound"] is None
    torch.testing.assert_close(by_hand(x), flatten_gradient(loss_gradient(net, x[None], torch.tensor([3]))))


@pytest.mark.slow
def test_predictors_of_a_large_picture_are_estimated_near_the_exact_ones() -> None:
    net, x = network(), portraits(1).pixels[0]
    whole, part = (gradient_risk(net, x, 0, variance=0.05, max_exact=limit) for limit in (1000, 100))
    assert whole is not None
    assert part is not None
    assert part.largest == pytest.approx(whole.largest, rel=1e-6)
    assert part.frobenius == whole.frobenius
    assert whole.cosine_smallest <= part.cosine_smallest < 3 * whole.cosine_smallest
    for share in ("noise:0.01", "noise:0.1", "noise:1"):
        bounds = [risk.values(parse_defense(share))["noise_bound"] for risk in (whole, part)]
        assert bounds[1] == pytest.approx(bounds[0], rel=0.05)


def test_noise_bound_is_the_error_of_the_best_linear_estimate_and_at_most_the_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(30, 8, generator=generator, dtype=torch.float64)
    pictures = 0.5 * torch.randn(20_000, 8, generator=generator, dtype=torch.float64)
    sent = pictures @ jacobian.T + 3 * torch.randn(20_000, 30, generator=generator, dtype=torch.float64)
    estimator = torch.linalg.solve(jacobian.T @ jacobian + torch.eye(8) * 9 / 0.25, jacobian.T)
    errors = sent @ estimator.T - pictures
    equal = torch.full((8,), 1 / 8, dtype=torch.float64)
    bound = noise_bound(torch.linalg.svdvals(jacobian), 3, 0.25, equal)
    assert bound == pytest.approx(errors.square().mean().item(), rel=0.03)
    assert noise_bound(torch.zeros(1), 3, 0.25, torch.ones(1)) == pytest.approx(0.25)
    assert noise_bound(torch.ones(1), 1e9, 0.25, torch.ones(1)) == pytest.approx(0.25)
