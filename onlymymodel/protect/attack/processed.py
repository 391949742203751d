"""A photo after the differentiable version of a deployment's step, and gradients back to it, for large photos.

The graph of a whole photo would need hundreds of bytes a pixel: codecs and filters work on strips of rows, resizes on
one channel at a time.
"""

from collections.abc import Callable, Sequence

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

    def add_gradient(self, read: Callable[[Tensor], Tensor], gradient: Tensor, total: Tensor) -> None:
        """Add the gradient with respect to the photo, (1,C,H,W), to `total`.

        Args:
            read: an affine map of (1,1,h,w) channels of `pixels()`, see `affine_gradient`.
            gradient: with respect to the (1,C,h',w') or (1,3,h',w') to which `read` takes `pixels()`.
            total: (1,C,H,W) floats.
        """
        resize, count, (height, width) = self.step.resize, self.photo.shape[1], self._resized.shape[-2:]
        parts = (affine_gradient(read, (height, width), part) for part in gradient.chunk(gradient.shape[1], 1))
        if self.step.local is None:
            for channel, into, part in zip(self.photo.chunk(count, 1), total.chunk(count, 1), parts, strict=True):
                if resize is None:
                    into += part
                else:
                    channelwise_gradient(resize, channel, part, into)
            return
        into = total if resize is None else torch.zeros(self._resized.shape, device=total.device)
        self._add_local_gradient(list(parts), into)
        if resize is not None:
            channelwise_gradient(resize, self.photo, into, total)

    def _add_local_gradient(self, gradients: Sequence[Tensor], total: Tensor) -> None:
        """Add the gradient with respect to the resized photo to `total`.

        Args:
            gradients: with respect to each channel of `pixels()`, (1,1,h,w).
            total: (1,C,h,w) floats.
        """
        local = self.step.local
        assert local is not None

        def add_rows(total: Tensor, rows: Tensor, *gradients: Tensor) -> Tensor:
            leaf = floats(rows).requires_grad_()
            return total + torch.autograd.grad(local(leaf), leaf, torch.cat(gradients, 1))[0]

        map_rows(add_rows, total, self._resized, *gradients, halo=self.step.reach, out=total)


def affine_gradient(read: Callable[[Tensor], Tensor], size: tuple[int, int], gradient: Tensor) -> Tensor:
    """Carry a gradient back to one channel, without its pixels.

    Args:
        read: an affine map of (1,1,H,W), whose derivative does not depend on the pixels.
        size: H and W.
        gradient: with respect to `read` of the channel.

    Returns:
        (1,1,H,W).
    """
    leaf = torch.zeros((), device=gradient.device).expand(1, 1, *size).requires_grad_()  # takes no memory
    return torch.autograd.grad(read(leaf), leaf, gradient)[0]


def channelwise_gradient(
    read: Callable[[Tensor], Tensor], pixels: Tensor, gradient: Tensor, total: Tensor | None = None
) -> Tensor:
    """Carry a gradient back to photos, one channel at a time.

    Args:
        read: turns (B,C,H,W) in [0,1], C 1 or 3, into (B,C,h,w) or (B,3,h,w). It treats all channels alike; where it
            gives three for one, they are equal.
        pixels: (B,C,H,W) uint8.
        gradient: with respect to what `read` gives for them.
        total: (B,C,H,W) floats, to which the result is added.

    Returns:
        (B,C,H,W), with respect to the photos; or `total`.
    """
    result = torch.empty(pixels.shape, device=pixels.device) if total is None else total
    count = pixels.shape[1]
    each = gradient.shape[1] // count
    for channel, into, part in zip(*(tensor.chunk(count, 1) for tensor in (pixels, result, gradient)), strict=True):
        leaf = to_float(channel).requires_grad_()
        (of_channel,) = torch.autograd.grad(read(leaf)[:, :each], leaf, part)
        into[:] = of_channel if total is None else into + of_channel
    return result


def floats(pixels: Tensor) -> Tensor:
    """Return a copy of photos in [0,1] from photos in [0,1] or uint8."""
    return to_float(pixels) if pixels.dtype == torch.uint8 else pixels.clone()
