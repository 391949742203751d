"""Reduced pictures, and differences made visible."""

import numpy as np
from PIL import Image

from onlymymodel.data.pixels import Pixels, to_image


def reduced_image(pixels: Pixels, longest: int) -> Image.Image:
    """Return the photo as an image whose long side has at most `longest` pixels; unchanged where it already does."""
    image = to_image(pixels)
    ratio = longest / max(image.size)
    if ratio >= 1:
        return image
    width, height = (max(1, round(side * ratio)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def amplify_difference(original: Pixels, protected: Pixels, factor: int) -> Pixels:
    """Return 128 + factor * (protected - original), clipped: (H,W,C) uint8 all three; gray is no change."""
    difference = protected.astype(np.int32) - original
    amplified: Pixels = np.clip(128 + factor * difference, 0, 255).astype(np.uint8)
    return amplified
