"""Attack-free measures of a layer: closed forms."""

import math

import pytest
import torch

from onlymymodel.evaluate.audits.layers.figures import degrees_of_freedom, jacobian_measures, variation


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("features", [3, 400])
def test_degrees_of_freedom_count_directions_of_equal_variance(features: int) -> None:
    """Columns of an orthonormal basis, orthogonal to the constant: three equal eigenvalues."""
    basis = torch.linalg.qr(torch.cat([torch.ones(50, 1), torch.randn(50, 3, generator=stream())], 1).double())[0][
        :, 1:
    ]
    outputs = basis @ torch.linalg.qr(torch.randn(features, 3, generator=stream()).double())[0].T
    assert degrees_of_freedom(outputs) == pytest.approx(3)
    assert degrees_of_freedom(100 * outputs - 7) == pytest.approx(3)
    spectrum = torch.tensor([3.0, 1.0, 1.0]).double()
    assert degrees_of_freedom(basis * spectrum.sqrt()) == pytest.approx(25 / 11)


def test_constant_outputs_are_reported_as_no_signal() -> None:
    constant = torch.full((6, 4, 3), 0.3)
    assert degrees_of_freedom(constant) is None
    assert variation(torch.zeros(5, 3)) is None
    assert variation(constant) == pytest.approx(0, abs=1e-9)
    dead = jacobian_measures(lambda x: 0 * x, [torch.rand(3, 4, 4).double()], tau=0.1, generator=stream())
    assert dead == {"jacobian_rank": None, "stable_rank": None, "jacobian": "no signal"}


def test_variation_in_closed_form() -> None:
    outputs = torch.tensor([[3.0, 5.0], [5.0, 3.0]])  # mean (4,4), tr C = 2
    assert variation(outputs) == pytest.approx(math.sqrt(2) / math.sqrt(32))
    assert variation(7 * outputs) == pytest.approx(variation(outputs))


def test_jacobian_rank_of_a_linear_encoder_is_that_of_its_matrix() -> None:
    weights = torch.randn(20, 4, generator=stream()).double() @ torch.randn(4, 48, generator=stream(1)).double()
    pictures = list(torch.rand(2, 3, 4, 4, generator=stream()).double())
    moved = jacobian_measures(lambda x: weights @ x.flatten(), pictures, tau=1e-9, generator=stream())
    assert (moved["jacobian_rank"], moved["jacobian"]) == (4, "exact")
