"""Random operators of OPS on the input of a network."""

import pytest
import torch
from torch import Generator

from onlymymodel.protect.attack.operators import DEGREES, OPERATORS, operators, place, shift, turn


def stream(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_quarter_turns_of_a_square_are_exact(degrees: float, turns: int) -> None:
    crop = torch.rand(3, 12, 12)
    torch.testing.assert_close(turn(crop, degrees), crop.rot90(turns, dims=(1, 2)), atol=1e-5, rtol=0)


def test_a_rotation_keeps_circles_in_a_crop_that_is_not_square() -> None:
    y, x = torch.meshgrid(torch.arange(41) - 20.0, torch.arange(61) - 30.0, indexing="ij")
    disc = (15 - (x.square() + y.square()).sqrt()).clamp(0, 1).expand(3, 41, 61)
    for degrees in DEGREES:
        assert (turn(disc, degrees) - disc).abs().max() < 0.3
        assert (turn(disc, degrees) - disc).abs().mean() < 0.01


def test_a_shift_goes_around() -> None:
    crop = torch.arange(3 * 4 * 5.0).reshape(3, 4, 5)
    shifted = shift(crop, stream(1), 2)
    steps = int(torch.randint(5, (1,), generator=stream(1)))
    assert torch.equal(shifted, torch.cat([crop[:, :, 5 - steps :], crop[:, :, : 5 - steps]], dim=2))


@pytest.mark.parametrize("seed", range(5))
def test_a_smaller_photo_is_whole_and_on_black(seed: int) -> None:
    """The sum of a white photo is its share of the canvas, which lies between 1 / enlargement squared and 1."""
    size, _, _ = torch.rand(3, generator=stream(seed)).tolist()
    placed = place(torch.ones(3, 60, 80), stream(seed), 2.0)
    assert float(placed.mean()) == pytest.approx(((1 + size) / 2) ** 2, abs=0.01)
    assert float(placed.max()) == pytest.approx(1)


@pytest.mark.parametrize("number", range(len(OPERATORS)))
def test_an_operator_is_linear_and_keeps_the_shape(number: int) -> None:
    first, second = torch.rand(2, 3, 12, 16)
    of_sum, of_first, of_second = (OPERATORS[number](crop, stream()) for crop in (first + second, first, second))
    assert of_sum.shape == first.shape
    torch.testing.assert_close(of_sum, of_first + of_second)


def test_two_to_four_are_applied() -> None:
    crop, numbers = torch.rand(3, 12, 16), stream(4)
    for _ in range(8):
        before = numbers.get_state()
        found = operators(crop, numbers, 0)
        again = Generator()
        again.set_state(before)
        expected = crop
        for _ in range(2 + int(torch.randint(3, (1,), generator=again))):
            expected = OPERATORS[int(torch.randint(31, (1,), generator=again))](expected, again)
        assert torch.equal(found, expected)
