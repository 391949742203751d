"""Fisher-information bounds against constructed linear releases."""

import pytest
import torch

from onlymymodel.evaluate.audits.layers.fisher import fisher_leakage, least_error, noise_for_error


def linear(seed: int, *, equal: bool) -> torch.Tensor:
    """A (12,8) linear release; with `equal` all its singular values are 2."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(12, 8, generator=generator, dtype=torch.float64)
    return 2 * torch.linalg.qr(matrix)[0] if equal else matrix


@pytest.mark.parametrize("equal", [True, False])
def test_bounds_hold_for_the_best_linear_estimates_and_are_met_by_equal_singular_values(*, equal: bool) -> None:
    matrix, noise, variance = linear(0, equal=equal), 0.3, 0.7
    gram = matrix.T @ matrix
    unbiased = noise**2 * torch.linalg.inv(gram).trace().item() / 8  # least squares
    prior = torch.eye(8, dtype=torch.float64) / variance
    posterior = torch.linalg.inv(gram / noise**2 + prior).trace().item() / 8  # the best of all, for a Gaussian prior
    leakage = fisher_leakage(matrix.square().sum().item(), noise, 8)
    if equal:
        assert least_error(leakage) == pytest.approx(unbiased)
        assert least_error(leakage, variance) == pytest.approx(posterior)
    else:
        assert least_error(leakage) < unbiased
        assert least_error(leakage, variance) < posterior


def test_noise_for_an_error_gives_that_error() -> None:
    square = linear(1, equal=False).square().sum().item()
    for error, variance in ((0.2, 0.5), (0.2, float("inf"))):
        noise = noise_for_error(square, 8, error, variance)
        assert least_error(fisher_leakage(square, noise, 8), variance) == pytest.approx(error)
    with pytest.raises(ValueError, match="not below"):
        noise_for_error(square, 8, 0.5, 0.5)


def test_monte_carlo_error_of_least_squares_is_the_unbiased_bound() -> None:
    matrix, noise = linear(2, equal=True), 0.5
    generator = torch.Generator().manual_seed(3)
    pictures = torch.rand(4000, 8, generator=generator, dtype=torch.float64)
    released = pictures @ matrix.T + noise * torch.randn(4000, 12, generator=generator, dtype=torch.float64)
    estimates = torch.linalg.lstsq(matrix, released.T).solution.T
    error = (estimates - pictures).square().mean().item()
    assert error == pytest.approx(least_error(fisher_leakage(matrix.square().sum().item(), noise, 8)), rel=0.03)
