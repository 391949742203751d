"""Apply functions to large photos in strips of rows, so that no float copy of a whole photo is in memory.

A photo of ordinary size is one strip. `torch` is imported in the functions, so that importing this module is quick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from onlymymodel.data.time_limit import check_time

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 16  # rows of a block of a JPEG whose chroma has half the resolution
STRIP_PIXELS = 1 << 20  # about as many pixels has a strip: its temporaries take tens of MiB


def strips(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of each strip, from the top.

    Strips have nearly equal heights: on a last strip of few rows, convolutions would sum in another order. All but the
    last have whole blocks of a JPEG.
    """
    blocks = -(-height // BLOCK)
    count = max(1, min(blocks, round(height * width / STRIP_PIXELS)))
    for number in range(count):
        yield slice(blocks * number // count * BLOCK, min(blocks * (number + 1) // count * BLOCK, height))


def map_rows(
    function: Callable[..., Tensor], *tensors: Tensor | None, halo: int = 0, out: Tensor | None = None
) -> Tensor:
    """Return what a function gives for whole tensors, by calling it on strips of their rows.

    Args:
        function: gives a tensor with as many rows as the strips that it is called with. It must not depend on rows that
            are more than `halo` away.
        tensors: (...,H,W), the first with the height of all. Others may be None or have one row (...,1,W), which are
            passed on as they are.
        halo: rows above and below each strip that the function is given too; it ends at the edges of the tensors.
        out: where the result is written; a new tensor if None. It may be one of the tensors if the function reads only
            single pixels of that one.

    Returns:
        (...,H,W') of the function's leading dimensions, width and type.
    """
    first = tensors[0]
    assert first is not None
    height, width = int(first.shape[-2]), int(first.shape[-1])
    result = out
    for rows in strips(height, width):
        check_time()
        top, bottom = max(0, rows.start - halo), min(height, rows.stop + halo)
        part = function(
            *(tensor if tensor is None or tensor.shape[-2] == 1 else tensor[..., top:bottom, :] for tensor in tensors)
        )
        if out is None and rows == slice(0, height):
            return part
        if result is None:
            result = part.new_empty((*part.shape[:-2], height, part.shape[-1]))
        result[..., rows, :] = part[..., rows.start - top : rows.stop - top, :]
    assert result is not None
    return result
