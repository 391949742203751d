"""A photo after the differentiable version of a deployment's step, and gradients back to it, for large photos.

The graph of a whole photo would need hundreds of bytes a pixel: codecs and filters work on strips of rows, resizes on
one channel at a time.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from onlymymodel.data.strips import map_rows, strips
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
            read: turns `pixels()` into the input of a network, see `channelwise_gradient`.
            gradient: with respect to `read(pixels())`.
            total: (1,C,H,W) floats.
        """
        resize, local = self.step.resize, self.step.local
        if local is None:
            reduced = read if resize is None else lambda channel: read(resize(channel))
            channelwise_gradient(reduced, self.photo, gradient, total)
            return
        channels = self._channels(local)
        for index, part in enumerate(gradient.chunk(len(channels), 1)):
            channels[index] = channelwise_gradient(read, channels[index], part)
        self.add_pixel_gradient(channels, total)

    def add_pixel_gradient(self, gradients: Sequence[Tensor], total: Tensor) -> None:
        """Add the gradient with respect to the photo to `total`.

        Args:
            gradients: with respect to each channel of `pixels()`, (1,1,h,w).
            total: (1,C,H,W) floats.
        """
        resize, local = self.step.resize, self.step.local
        into = total if resize is None else torch.zeros(self._resized.shape, device=total.device)

        def add_rows(into: Tensor, rows: Tensor, *gradients: Tensor) -> Tensor:
            gradient = torch.cat(gradients, 1)
            if local is not None:
                leaf = floats(rows).requires_grad_()
                gradient = torch.autograd.grad(local(leaf), leaf, gradient)[0]
            return into + gradient

        map_rows(add_rows, into, self._resized, *gradients, halo=self.step.reach, out=into)
        if resize is not None:
            channelwise_gradient(resize, self.photo, into, total)

    @torch.no_grad()
    def _channels(self, local: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Return each channel of `pixels()` in memory of its own, so that it is free as soon as it was used."""
        height, width = self._resized.shape[-2:]
        channels: list[Tensor] = []
        for rows in strips(height, width):
            top, bottom = max(0, rows.start - self.step.reach), min(height, rows.stop + self.step.reach)
            part = local(floats(self._resized[..., top:bottom, :]))[..., rows.start - top : rows.stop - top, :]
            channels = channels or [part.new_empty(1, 1, height, width) for _ in range(part.shape[1])]
            for index, channel in enumerate(channels):
                channel[..., rows, :] = part[:, index : index + 1]
        return channels


def channelwise_gradient(
    read: Callable[[Tensor], Tensor], pixels: Tensor, gradient: Tensor, total: Tensor | None = None
) -> Tensor:
    """Carry a gradient back to photos, one channel at a time.

    Args:
        read: turns (B,C,H,W) in [0,1], C 1 or 3, into (B,C,h,w) or (B,3,h,w). It treats all channels alike; where it
            gives three for one, they are equal.
        pixels: (B,C,H,W) in [0,1], or uint8.
        gradient: with respect to `read(pixels)`.
        total: (B,C,H,W) floats, to which the result is added.

    Returns:
        (B,C,H,W), with respect to the photos; or `total`.
    """
    result = torch.empty(pixels.shape, device=pixels.device) if total is None else total
    count = pixels.shape[1]
    each = gradient.shape[1] // count
    for channel, into, part in zip(*(tensor.chunk(count, 1) for tensor in (pixels, result, gradient)), strict=True):
        leaf = (to_float(channel) if channel.dtype == torch.uint8 else channel.detach()).requires_grad_()
        (of_channel,) = torch.autograd.grad(read(leaf)[:, :each], leaf, part)
        if total is None and count == 1:
            return of_channel
        into[:] = of_channel if total is None else into + of_channel
    return result


def floats(pixels: Tensor) -> Tensor:
    """Return a copy of photos in [0,1] from photos in [0,1] or uint8."""
    return to_float(pixels) if pixels.dtype == torch.uint8 else pixels.clone()
