"""Attack-free predictors of what a gradient reveals, beside explicit Jacobians."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.evaluate.audits.gradients.client_gradient import flatten_gradient, loss_gradient
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
    risk = gradient_risk(net, x, 3)
    assert risk is not None
    assert risk.largest == pytest.approx(torch.linalg.matrix_norm(jacobian, 2).item(), rel=1e-6)
    assert risk.frobenius == pytest.approx(jacobian.norm().item(), rel=0.2)
    assert risk.cosine_smallest == pytest.approx(torch.linalg.svdvals(turned)[-1].item(), rel=1e-6)
    deviation = 0.01 * by_hand(x).norm().item() / 65**0.5
    bound = deviation**2 * torch.linalg.inv(jacobian.T @ jacobian).trace().item() / 12
    assert risk.noise_bound == pytest.approx(bound, rel=1e-6)
    torch.testing.assert_close(by_hand(x), flatten_gradient(loss_gradient(net, x[None], torch.tensor([3]))))


def test_large_picture_has_only_the_estimated_predictors() -> None:
    net, x = network(), portraits(1).pixels[0]
    whole, part = gradient_risk(net, x, 0), gradient_risk(net, x, 0, max_exact=100)
    assert whole is not None
    assert part is not None
    assert part.largest == pytest.approx(whole.largest, rel=1e-6)
    assert part.frobenius == whole.frobenius
    assert part.cosine_smallest is part.noise_bound is None


def test_noise_bound_is_the_error_of_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(30, 8, generator=generator, dtype=torch.float64)
    noise = 0.3 * torch.randn(20_000, 30, generator=generator, dtype=torch.float64)
    errors = noise @ torch.linalg.pinv(jacobian).T
    bound = noise_bound(torch.linalg.svdvals(jacobian), 0.3, 8)
    assert bound == pytest.approx(errors.square().mean().item(), rel=0.03)
    assert 1e10 < noise_bound(torch.tensor([1.0, 0.0]), 0.3, 2) < float("inf")
