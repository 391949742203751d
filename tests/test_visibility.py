from itertools import pairwise

import torch

from onlymymodel.protect.budget import Budget
from onlymymodel.protect.visibility import FLOOR, texture_share


def checkerboard(low: float = 0.0, high: float = 1.0, size: int = 32) -> torch.Tensor:
    """(1,3,size,size)."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.where((rows + columns) % 2 == 0, low, high).expand(1, 3, size, size)


def test_a_uniform_photo_gets_the_floor_everywhere() -> None:
    for value in (0.0, 0.3, 1.0):
        assert torch.equal(texture_share(torch.full((1, 3, 20, 24), value)), torch.full((1, 1, 20, 24), FLOOR))


def test_a_checkerboard_gets_all() -> None:
    assert torch.equal(texture_share(checkerboard()), torch.ones(1, 1, 32, 32))


def test_more_contrast_never_gets_less() -> None:
    shares = [texture_share(checkerboard(0.5 - contrast, 0.5 + contrast)) for contrast in (0.0, 0.005, 0.02, 0.04, 0.3)]
    for less, more in pairwise(shares):
        assert (more >= less).all()
    assert (shares[2] > shares[1]).any()


def test_texture_is_local_and_a_photo_is_shaped_for_itself() -> None:
    photo = torch.full((1, 3, 32, 64), 0.5)
    photo[..., 32:] = checkerboard()
    share = texture_share(photo)
    assert (share[..., :26] == FLOOR).all()
    assert (share[..., 38:] == 1).all()
    both = Budget(shape="texture").room(torch.cat([photo, photo * 0.1]))
    assert torch.equal(both[:1], Budget(shape="texture").room(photo))


def test_equal_channels_are_shaped_as_their_gray() -> None:
    gray = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0)) * 0.1
    torch.testing.assert_close(texture_share(gray), texture_share(gray.expand(1, 3, 24, 24)))


def test_smooth_regions_change_less_by_the_shape() -> None:
    photo = torch.full((1, 3, 32, 64), 0.5)
    photo[..., 32:] = checkerboard(0.4, 0.6)
    budget = Budget(16 / 255, shape="texture")
    moved = budget.project(torch.ones_like(photo), photo)
    torch.testing.assert_close(moved[..., :26], torch.full((1, 3, 32, 26), FLOOR * 16 / 255))
    torch.testing.assert_close(moved[..., 38:], torch.full((1, 3, 32, 26), 16 / 255))
