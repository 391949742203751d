"""Processing of pixels between a file and a model, by the real codecs and filters of Pillow: recompression, resizing,
blur, noise, fewer colors. Every function is deterministic and takes and returns (H,W,C) uint8, C 1 or 3."""

import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from onlymymodel.data.opened_image import pillow_settings
from onlymymodel.data.pixels import Pixels, to_image
from onlymymodel.errors import UserError

LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383, "AVIF": 65536}  # pixels that the codecs accept
NOISE_SEED = 0
STRIP = 64  # rows whose noise is drawn at once
# parties that clean a photo: qualities of JPEG one after the other, and sizes of copies that are averaged
LADDER = (90, 75, 60)
AVERAGED = (0.5, 0.65, 0.8, 0.95)


def longest_side(codec: str | None) -> float:
    """Return the longest side in pixels that a codec accepts; infinity for no codec."""
    return math.inf if codec is None else LONGEST_SIDE[codec]


def recompress(pixels: Pixels, *, codec: str, **options: Any) -> Pixels:
    """Encode by Pillow and decode again.

    Args:
        pixels: (H,W,C) uint8.
        codec: a key of `LONGEST_SIDE`.
        options: of Pillow's encoder.

    Raises:
        UserError: a side is longer than the codec accepts.
    """
    image = to_image(pixels)
    if max(image.size) > longest_side(codec):
        size = f"{image.width} x {image.height} pixels"
        raise UserError(f"a picture of {size} cannot be written as {codec}: omit that channel, or reduce the picture")
    buffer, mode = BytesIO(), image.mode
    image.save(buffer, codec, **options)
    del image  # of a large photo, it takes more than the file
    # Pillow's limit is for files of strangers: these are our own pixels
    with pillow_settings(pixels.shape[0] * pixels.shape[1]), Image.open(buffer) as decoded:
        return _to_array(decoded if decoded.mode == mode else decoded.convert(mode))  # WebP decodes gray to RGB


def recompress_in_turn(pixels: Pixels, *, qualities: Sequence[int]) -> Pixels:
    """Compress as JPEG of each quality, one after the other, as a photo that is passed on several times."""
    for quality in qualities:
        pixels = recompress(pixels, codec="JPEG", quality=quality)
    return pixels


def upload(pixels: Pixels, *, longest: int, quality: int, progressive: bool) -> Pixels:
    """Do what a platform does to an uploaded photo: reduce it by Lanczos, and compress it as JPEG.

    Args:
        pixels: (H,W,C) uint8.
        longest: pixels of the longer side; larger photos are reduced.
        quality: of the JPEG, from 1 to 100.
        progressive: whether the JPEG is progressive.
    """
    image = to_image(pixels)
    if max(image.size) > longest:
        width, height = (max(1, round(side * longest / max(image.size))) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    chroma = {} if image.mode == "L" else {"subsampling": "4:2:0"}
    return recompress(_to_array(image), codec="JPEG", quality=quality, progressive=progressive, **chroma)


def reduce(pixels: Pixels, *, fraction: float) -> Pixels:
    """Resize to a fraction of both sides by Pillow's bicubic."""
    image = to_image(pixels)
    size = max(1, round(image.width * fraction)), max(1, round(image.height * fraction))
    return _to_array(image.resize(size, Image.Resampling.BICUBIC))


def resize_to_half_and_back(pixels: Pixels) -> Pixels:
    """Resize by Pillow's bicubic; an odd side is rounded up."""
    image = to_image(pixels)
    size, half = image.size, ((image.width + 1) // 2, (image.height + 1) // 2)
    image = image.resize(half, Image.Resampling.BICUBIC)  # frees the larger one
    return _to_array(image.resize(size, Image.Resampling.BICUBIC))


def average_resized(pixels: Pixels, *, fractions: Sequence[float]) -> Pixels:
    """Return the mean of copies that were resized to fractions of both sides and back, by Pillow's bicubic."""
    image = to_image(pixels)
    total = np.zeros(pixels.shape, np.float32)
    for fraction in fractions:
        smaller = to_image(reduce(pixels, fraction=fraction))
        total += _to_array(smaller.resize(image.size, Image.Resampling.BICUBIC))
    return (total / len(fractions)).round().astype(np.uint8)


def blur(pixels: Pixels) -> Pixels:
    """Blur by Pillow with a radius of 1 pixel."""
    return _to_array(to_image(pixels).filter(ImageFilter.GaussianBlur(1)))


def add_noise(pixels: Pixels, *, deviation: float) -> Pixels:
    """Add Gaussian noise of a standard deviation in 8-bit levels, always the same for one size."""
    draw, noisy = np.random.default_rng(NOISE_SEED), np.empty_like(pixels)
    for first in range(0, len(pixels), STRIP):  # the floats of a whole photo would take eight times its memory
        strip = pixels[first : first + STRIP]
        changed = strip + draw.normal(0, deviation, strip.shape)
        noisy[first : first + STRIP] = changed.round().clip(0, 255).astype(np.uint8)
    return noisy


def change_gamma(pixels: Pixels, *, exponent: float) -> Pixels:
    """Raise pixels in [0,1] to a power."""
    table = (255 * (np.arange(256) / 255) ** exponent).round().astype(np.uint8)
    return table[pixels]


def reduce_colors(pixels: Pixels, *, bits: int) -> Pixels:
    """Round every color to the nearest of 2^bits evenly spaced levels."""
    steps = 2**bits - 1
    table = ((np.arange(256) / 255 * steps).round() / steps * 255).round().astype(np.uint8)
    reduced: Pixels = table[pixels]
    return reduced


def _to_array(image: Image.Image) -> Pixels:
    pixels = np.array(image, np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]
