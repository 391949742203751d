"""What happens to a photo on its way, as differentiable layers, so that a protection is found that survives it.

`evaluate/channels.py` has the real codecs and resizes, by which such a protection is judged.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Layer = Callable[[Tensor], Tensor]
RESIZED = 0.5  # share of the looks that go through a resize


def soft_channel(quality: int, smallest: float, generators: Sequence[Generator]) -> Layer | None:
    """One draw of what happens to each photo: a resize, then JPEG; None where neither is wanted.

    Args:
        quality: see `through_jpeg`; 0 for no JPEG.
        smallest: see `through_resize`; 0 for no resize.
        generators: one for each photo, on the CPU.
    """
    layers = [
        *([through_resize(smallest, generators)] if smallest else []),
        *([through_jpeg(quality, generators)] if quality else []),
    ]
    if not layers:
        return None

    def travelled(pixels: Tensor) -> Tensor:
        for layer in layers:
            pixels = layer(pixels)
        return pixels

    return travelled


def through_jpeg(quality: int, generators: Sequence[Generator]) -> Layer:
    """A layer that codes each (C,H,W) photo in [0,1] at a random quality from `quality`, 1 to 100, to 100."""
    from kornia.enhance import jpeg_codec_differentiable  # seconds to import; only the robust setting needs it

    draws = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    qualities = quality + (100 - quality) * draws

    def coded(pixels: Tensor) -> Tensor:
        out: Tensor = jpeg_codec_differentiable(pixels.expand(-1, 3, -1, -1), qualities.to(pixels))
        return out

    return coded


def through_resize(smallest: float, generators: Sequence[Generator]) -> Layer:
    """A layer that takes half of the photos, (C,H,W) in [0,1], to a random share of their size from `smallest`, above
    0, to 1, and back, both bicubic and antialiased."""
    draws = [torch.rand(2, generator=generator).tolist() for generator in generators]
    shares = [smallest + (1 - smallest) * place if chance < RESIZED else 1.0 for chance, place in draws]

    def resized(pixels: Tensor) -> Tensor:
        # one by one: each photo has its own size on the way
        return torch.cat([_there_and_back(pixels[row : row + 1], share) for row, share in enumerate(shares)])

    return resized


def _there_and_back(photo: Tensor, share: float) -> Tensor:
    height, width = photo.shape[-2:]
    small = max(1, round(height * share)), max(1, round(width * share))
    if small == (height, width):
        return photo
    down = F.interpolate(photo, size=small, mode="bicubic", antialias=True)
    return F.interpolate(down, size=(height, width), mode="bicubic", antialias=True).clamp(0, 1)
