"""The spectrum of a Jacobian: closed forms, torch's own Jacobian, estimates beside the exact values."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.jacobian import (
    Linearized,
    frobenius_norm,
    largest_singular_values,
    numerical_rank,
    singular_values,
    smallest_singular_values,
    stable_rank,
)
from onlymymodel.evaluate.audits.networks import small_network
from onlymymodel.evaluate.audits.spectral_density import spectral_density

DOUBLE = torch.float64


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def matrix(rows: int, columns: int, rank: int | None = None) -> Tensor:
    """A random matrix, of full rank if none is given."""
    if rank is None:
        return torch.randn(rows, columns, generator=stream(), dtype=DOUBLE)
    return torch.randn(rows, rank, generator=stream(1), dtype=DOUBLE) @ matrix(rank, columns)


def with_singular_values(values: Tensor, columns: int) -> Tensor:
    left = torch.linalg.qr(matrix(len(values), len(values)))[0]
    right = torch.linalg.qr(matrix(columns, len(values)))[0]
    weights: Tensor = left * values @ right.T
    return weights


def encoder(weights: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: weights @ x.flatten()


@pytest.mark.parametrize("shape", [(40, 30), (30, 30), (12, 30)])
def test_singular_values_of_a_linear_encoder_are_those_of_its_matrix(shape: tuple[int, int]) -> None:
    weights = matrix(*shape)
    computed = singular_values(encoder(weights), torch.rand(2, 3, 5, dtype=DOUBLE))
    torch.testing.assert_close(computed, torch.linalg.svdvals(weights), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 7])
def test_rank_and_null_space_of_a_linear_encoder_are_those_of_its_matrix(rank: int) -> None:
    weights, x = matrix(20, 30, rank), torch.rand(2, 3, 5, dtype=DOUBLE)
    assert numerical_rank(singular_values(encoder(weights), x), 1e-9) == rank
    null = torch.linalg.svd(weights)[2][rank:]
    moved = Linearized(encoder(weights), x).forward(null)
    assert moved.abs().max() < 1e-12


def test_products_equal_those_with_torchs_jacobian() -> None:
    net, x = small_network("vit", 1, 16, 5).double(), torch.rand(1, 16, 16, dtype=DOUBLE, generator=stream())
    function = lambda picture: net(picture[None])  # noqa: E731
    whole = torch.func.jacrev(function)(x).reshape(5, -1)
    linear, pushed, pulled = Linearized(function, x), matrix(3, 256), matrix(3, 5)
    torch.testing.assert_close(linear.forward(pushed), pushed @ whole.T)
    torch.testing.assert_close(linear.transposed(pulled), pulled @ whole)
    torch.testing.assert_close(linear.matrix(), whole)


@pytest.mark.slow
def test_function_without_a_second_derivative_is_differentiated_forward() -> None:
    x = 4 * torch.randn(6, dtype=DOUBLE, generator=stream())
    weights = matrix(9, 6)
    function = lambda x: F.hardsigmoid(weights @ x)  # noqa: E731
    whole = ((weights @ x).abs() < 3)[:, None] * weights / 6
    torch.testing.assert_close(Linearized(function, x).matrix(), whole.T)
    torch.testing.assert_close(Linearized(function, x).gram(torch.eye(6)), whole.T @ whole)


def test_jacobian_of_a_gradient_equals_a_hand_computed_one() -> None:
    """Linear layer, squared error: dL/dW = 2 (Wx - y) x^T, differentiated by hand."""
    weights, y, x = matrix(3, 4).requires_grad_(), torch.ones(3, dtype=DOUBLE), torch.rand(4, dtype=DOUBLE)

    def gradient(picture: Tensor) -> Tensor:
        loss = (weights @ picture - y).square().sum()
        return torch.autograd.grad(loss, weights, create_graph=True)[0]

    with torch.no_grad():
        error = weights @ x - y
        by_hand = 2 * (torch.einsum("ik,j->ijk", weights, x) + torch.einsum("i,jk->ijk", error, torch.eye(4)))
        expected = torch.linalg.svdvals(by_hand.reshape(12, 4))
    torch.testing.assert_close(singular_values(gradient, x), expected)


@pytest.mark.parametrize("function", [lambda _x: torch.ones(6, dtype=DOUBLE), lambda x: 0 * x[:6]])
def test_singular_values_of_a_constant_function_are_zero(function: Callable[[Tensor], Tensor]) -> None:
    x = torch.rand(30, dtype=DOUBLE)
    computed = singular_values(function, x)
    assert computed.shape == (6,)
    assert not computed.any()
    assert numerical_rank(computed, 0.01) == 0
    assert stable_rank(computed) == 0
    assert frobenius_norm(function, x, generator=stream()) == 0
    assert not largest_singular_values(function, x, count=2, generator=stream()).any()
    density = spectral_density(function, x, generator=stream())
    assert density.rank(0.01) == density.stable_rank() == 0


def test_singular_value_of_a_scalar_function() -> None:
    assert singular_values(lambda x: x.square().sum(), torch.tensor([3.0], dtype=DOUBLE)).tolist() == [6.0]


def test_estimates_agree_with_the_exact_singular_values() -> None:
    weights, x = with_singular_values(torch.linspace(10, 1, 60, dtype=DOUBLE), 80), torch.rand(80, dtype=DOUBLE)
    exact = singular_values(encoder(weights), x)
    torch.testing.assert_close(largest_singular_values(encoder(weights), x, count=4, generator=stream()), exact[:4])
    torch.testing.assert_close(smallest_singular_values(encoder(weights), x, count=2, generator=stream()), exact[-2:])
    assert frobenius_norm(encoder(weights), x, probes=2000, generator=stream()) == pytest.approx(
        exact.norm().item(), rel=0.02
    )


def test_smallest_singular_value_is_an_upper_bound_before_convergence() -> None:
    weights, x = with_singular_values(torch.logspace(0, -6, 60, dtype=DOUBLE), 80), torch.rand(80, dtype=DOUBLE)
    computed = smallest_singular_values(encoder(weights), x, count=1, iterations=3, generator=stream())
    assert computed >= singular_values(encoder(weights), x)[-1]


def test_spectral_density_counts_singular_values_above_a_threshold() -> None:
    values = torch.cat([torch.linspace(10, 5, 150, dtype=DOUBLE), torch.linspace(0.02, 0.01, 250, dtype=DOUBLE)])
    weights, x = with_singular_values(values, 500), torch.rand(500, dtype=DOUBLE)
    density = spectral_density(encoder(weights), x, probes=8, generator=stream())
    assert density.count == 400
    assert density.rank(0.1) == pytest.approx(150, rel=0.1)
    assert density.rank(0.0) == pytest.approx(400)
    assert density.stable_rank() == pytest.approx(stable_rank(values), rel=0.1)
    assert density.singular.max() == pytest.approx(10, rel=0.01)


def test_spectral_density_of_the_identity_is_exact() -> None:
    density = spectral_density(lambda x: x, torch.rand(3, 20, 20, dtype=DOUBLE), generator=stream())
    assert density.rank(0.5) == pytest.approx(1200)
    assert density.stable_rank() == pytest.approx(1200)


def test_numerical_and_stable_rank_in_closed_form() -> None:
    values = torch.tensor([2.0, 1.0, 1e-3], dtype=DOUBLE)
    assert numerical_rank(values, 0.4) == 2
    assert numerical_rank(values, 1e-4) == 3
    assert stable_rank(values) == pytest.approx((4 + 1 + 1e-6) / 4)


def test_errors_for_too_large_and_too_small_jacobians_give_advice() -> None:
    x = torch.rand(30, dtype=DOUBLE)
    with pytest.raises(UserError, match=r"30 x 30 .* spectral_density"):
        singular_values(lambda x: x, x, max_exact=29)
    with pytest.raises(UserError, match="use singular_values"):
        largest_singular_values(lambda x: x[:2], x, count=2, generator=stream())


def test_attention_with_a_fused_kernel_and_batch_norm_can_be_differentiated_twice() -> None:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = timm.create_model("test_vit", num_classes=3).eval().double()
    linear = Linearized(lambda x: net(x[None]), torch.rand(3, 160, 160, dtype=DOUBLE, generator=stream()))
    pushed, pulled = matrix(1, linear.inputs), matrix(1, 3)
    torch.testing.assert_close((linear.forward(pushed) * pulled).sum(), (linear.transposed(pulled) * pushed).sum())
