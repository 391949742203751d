import pytest
import torch
from torch import Generator

from onlymymodel.protect.attack.dither import ROUNDING_ERROR, DitherNoise


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_are_those_of_one_draw_for_the_whole_photo(channels: int) -> None:
    height, width = 101, 7
    whole = torch.rand(channels, height, width, generator=Generator().manual_seed(0))
    whole = whole * (1 - 2 * ROUNDING_ERROR) + ROUNDING_ERROR
    noise = DitherNoise(channels, height, width)
    for top, count in ((0, height), (0, 1), (31, 2), (32, 40), (95, 6), (50, 1)):
        torch.testing.assert_close(noise.rows(top, count), whole[:, top : top + count], rtol=0, atol=1e-7)
    assert torch.equal(noise.rows(40, 9), noise.rows(40, 9))
