from itertools import pairwise

import pytest
import torch
from torch import Tensor

from onlymymodel.data import strips
from onlymymodel.data.strips import BLOCK, map_rows


@pytest.mark.parametrize("height", [1, 15, 16, 17, 333, 1000])
@pytest.mark.parametrize("pixels", [1, 5_000, 1 << 20])
def test_strips_cover_every_row_once_and_begin_at_blocks(
    height: int, pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", pixels)
    parts = list(strips.strips(height, 100))
    assert (parts[0].start, parts[-1].stop) == (0, height)
    assert all(above.stop == below.start for above, below in pairwise(parts))
    assert all(part.start % BLOCK == 0 and part.start < part.stop for part in parts)
    if pixels == 5_000 and height == 1000:
        assert len(parts) == 20


def test_rows_that_depend_on_others_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.arange(3 * 101 * 7).reshape(3, 101, 7)
    column, seen = torch.arange(7).view(1, 1, 7), []

    def sum_of_neighbors(rows: Tensor, column: Tensor, nothing: None) -> Tensor:
        assert nothing is None
        seen.append(rows.shape[1])
        return torch.stack([rows.roll(shift, 1) for shift in (-1, 1)]).sum(0)[..., :1] + column.sum()

    expected = sum_of_neighbors(whole, column, None)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 200)
    made = map_rows(sum_of_neighbors, whole, column, None, halo=1)
    assert torch.equal(made[:, 1:-1], expected[:, 1:-1])  # at the edges, `roll` wraps around
    assert made.shape == (3, 101, 1)
    assert max(seen[1:]) < 101 / 2
