"""A photo after the differentiable version of a deployment's step, and gradients back to it, for large photos.

The graph of a whole photo would need hundreds of bytes a pixel: codecs and filters work on strips of rows, resizes on
one channel at a time.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from onlymymodel.data.strips import map_rows
from onlymymodel.protect.attack.differentiable_channels import DifferentiableStep
from onlymymodel.protect.attack.uint8 import to_float


class ProcessedPhoto:
    """A photo after a step.

    Args:
        photo: (1,C,H,W) uint8.
        step: what happens to it.
    """

    def __init__(self, photo: Tensor, step: DifferentiableStep) -> None:
        self.photo, self.step = photo, step
        self._resized = photo
        if (resize := step.resize) is not None:
            with torch.no_grad():
                self._resized = torch.cat([resize(to_float(channel)) for channel in photo.chunk(photo.shape[1], 1)], 1)

    @torch.no_grad()
    def pixels(self) -> Tensor:
        """Return (1,C,h,w) or (1,3,h,w) in [0,1]; the photo itself, as uint8, where the step changes nothing."""
        local = self.step.local
        if local is None:
            return self._resized
        return map_rows(lambda rows: local(floats(rows)), self._resized, halo=self.step.reach)

    def gradient(self, gradient: Tensor) -> Tensor:
        """Carry a gradient with respect to `pixels()` back to the (1,C,H,W) photo."""
        if (local := self.step.local) is not None:

            def through_rows(rows: Tensor, gradient: Tensor) -> Tensor:
                leaf = floats(rows).requires_grad_()
                return torch.autograd.grad(local(leaf), leaf, gradient)[0]

            gradient = map_rows(through_rows, self._resized, gradient, halo=self.step.reach)
        return gradient if self.step.resize is None else channelwise_gradient(self.step.resize, self.photo, gradient)


def channelwise_gradient(read: Callable[[Tensor], Tensor], pixels: Tensor, gradient: Tensor) -> Tensor:
    """Carry a gradient back to photos, one channel at a time.

    Args:
        read: turns (B,C,H,W) in [0,1], C 1 or 3, into (B,C,h,w) or (B,3,h,w). It treats all channels alike; where it
            gives three for one, they are equal.
        pixels: (B,C,H,W) in [0,1], or uint8.
        gradient: with respect to `read(pixels)`.

    Returns:
        (B,C,H,W), with respect to the photos.
    """
    result = torch.empty(pixels.shape, device=pixels.device)
    count = pixels.shape[1]
    each = gradient.shape[1] // count
    for channel, into, part in zip(*(tensor.chunk(count, 1) for tensor in (pixels, result, gradient)), strict=True):
        leaf = floats(channel).requires_grad_()
        into[:] = torch.autograd.grad(read(leaf)[:, :each], leaf, part)[0]
    return result


def floats(pixels: Tensor) -> Tensor:
    """Return a copy of photos in [0,1] from photos in [0,1] or uint8."""
    return to_float(pixels) if pixels.dtype == torch.uint8 else pixels.clone()
