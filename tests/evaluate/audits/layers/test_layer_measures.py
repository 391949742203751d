"""Attack-free measures of a layer: closed forms."""

import math

import pytest
import torch

from onlymymodel.evaluate.audits.layers.figures import degrees_of_freedom, jacobian_measures, variation


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("pictures", [30, 60, 150, 600])
def test_degrees_of_freedom_are_those_of_the_truth_with_few_pictures_too(pictures: int) -> None:
    """400 directions of equal variance; the plug-in ratio reads 27, 51, 109 and 240."""
    repeats = 4 + 3000 // pictures
    outputs = torch.randn(repeats, pictures, 400, generator=stream(), dtype=torch.float64)
    found = [degrees_of_freedom(drawn) for drawn in outputs]
    harmonic = len(found) / sum(1 / number for number in found if number is not None)
    assert None not in found
    assert harmonic == pytest.approx(400, rel=0.02)


def test_degrees_of_freedom_of_unequal_variances_whatever_the_mean_scale_and_basis() -> None:
    spectrum = torch.tensor([3.0, 1.0, 1.0]).double()
    drawn = torch.randn(100_000, 3, generator=stream(), dtype=torch.float64) * spectrum.sqrt()
    basis = torch.linalg.qr(torch.randn(5, 3, generator=stream()).double())[0]
    found = degrees_of_freedom(drawn)
    assert found == pytest.approx(25 / 11, rel=0.02)
    assert degrees_of_freedom(100 * drawn @ basis.T - 7) == pytest.approx(found)
    few = drawn[:40]  # by the Gram matrix of the pictures, and by that of the features
    assert degrees_of_freedom(few) == pytest.approx(degrees_of_freedom(few @ torch.eye(3, 400).double()))


def test_degrees_of_freedom_need_three_pictures() -> None:
    assert degrees_of_freedom(torch.rand(2, 5, generator=stream())) is None


def test_constant_outputs_are_reported_as_no_signal() -> None:
    constant = torch.full((6, 4, 3), 0.3)
    assert degrees_of_freedom(constant) is None
    assert variation(torch.zeros(5, 3)) is None
    assert variation(constant) == pytest.approx(0, abs=1e-9)
    dead = jacobian_measures(lambda x: 0 * x, [torch.rand(3, 4, 4).double()], tau=0.1, generator=stream())
    missing = dict.fromkeys(("jacobian_rank", "stable_rank", "jacobian_square"))
    assert dead == {**missing, "jacobian": "no signal"}


def test_variation_in_closed_form() -> None:
    outputs = torch.tensor([[3.0, 5.0], [5.0, 3.0]])  # mean (4,4), tr C = 2
    assert variation(outputs) == pytest.approx(math.sqrt(2) / math.sqrt(32))
    assert variation(7 * outputs) == pytest.approx(variation(outputs))


def test_jacobian_rank_of_a_linear_encoder_is_that_of_its_matrix() -> None:
    weights = torch.randn(20, 4, generator=stream()).double() @ torch.randn(4, 48, generator=stream(1)).double()
    pictures = list(torch.rand(2, 3, 4, 4, generator=stream()).double())
    moved = jacobian_measures(lambda x: weights @ x.flatten(), pictures, tau=1e-9, generator=stream())
    assert (moved["jacobian_rank"], moved["jacobian"]) == (4, "exact")
