from itertools import pairwise

import torch

from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.texture import MIN_FRACTION, texture_mask


def checkerboard(low: float = 0.0, high: float = 1.0, size: int = 32) -> torch.Tensor:
    """(1,3,size,size)."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.where((rows + columns) % 2 == 0, low, high).expand(1, 3, size, size)


def test_a_uniform_photo_has_the_smallest_fraction_everywhere() -> None:
    for value in (0.0, 0.3, 1.0):
        assert torch.equal(texture_mask(torch.full((1, 3, 20, 24), value)), torch.full((1, 1, 20, 24), MIN_FRACTION))


def test_a_checkerboard_has_the_full_fraction() -> None:
    assert torch.equal(texture_mask(checkerboard()), torch.ones(1, 1, 32, 32))


def test_fraction_grows_with_contrast() -> None:
    shares = [texture_mask(checkerboard(0.5 - contrast, 0.5 + contrast)) for contrast in (0.0, 0.005, 0.02, 0.04, 0.3)]
    for less, more in pairwise(shares):
        assert (more >= less).all()
    assert (shares[2] > shares[1]).any()


def test_texture_is_local_and_independent_of_the_batch() -> None:
    photo = torch.full((1, 3, 32, 64), 0.5)
    photo[..., 32:] = checkerboard()
    share = texture_mask(photo)
    assert (share[..., :26] == MIN_FRACTION).all()
    assert (share[..., 38:] == 1).all()
    both = Budget(shape="texture").max_change(torch.cat([photo, photo * 0.1]))
    assert torch.equal(both[:1], Budget(shape="texture").max_change(photo))


def test_equal_channels_have_the_mask_of_their_gray() -> None:
    gray = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0)) * 0.1
    torch.testing.assert_close(texture_mask(gray), texture_mask(gray.expand(1, 3, 24, 24)))


def test_smooth_regions_change_less_with_shape_texture() -> None:
    photo = torch.full((1, 3, 32, 64), 0.5)
    photo[..., 32:] = checkerboard(0.4, 0.6)
    budget = Budget(16 / 255, shape="texture")
    moved = budget.project(torch.ones_like(photo), photo)
    torch.testing.assert_close(moved[..., :26], torch.full((1, 3, 32, 26), MIN_FRACTION * 16 / 255))
    torch.testing.assert_close(moved[..., 38:], torch.full((1, 3, 32, 26), 16 / 255))
