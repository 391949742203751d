"""Noise for dithering, drawn again for each strip of rows instead of kept."""

import torch
from torch import Generator, Tensor

ROUNDING_ERROR = 1e-3  # of a level: a float change this close to a whole level is that level
_ROWS = 32  # between two places at which the generator can go on


class DitherNoise:
    """Thresholds for rounding photos of one size, the same for every photo: those of one draw for the whole photo.

    Args:
        channels: 1 for channels that are rounded alike.
        height, width: in pixels.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        self.height, self.width = height, width
        generator = Generator().manual_seed(0)
        self._states: list[list[Tensor]] = []  # of each channel, at each place
        for _ in range(channels):
            states = []
            for top in range(0, height, _ROWS):
                states.append(generator.get_state())
                torch.rand(min(_ROWS, height - top), width, generator=generator)
            self._states.append(states)

    def rows(self, top: int, count: int) -> Tensor:
        """Return (channels,count,width) of `count` rows from `top` on, in (0,1)."""
        drawn, generator = [], Generator()
        passed = top % _ROWS
        for states in self._states:
            generator.set_state(states[top // _ROWS])
            drawn.append(torch.rand(passed + count, self.width, generator=generator)[passed:])
        return torch.stack(drawn).mul_(1 - 2 * ROUNDING_ERROR).add_(ROUNDING_ERROR)
