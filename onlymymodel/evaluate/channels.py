"""What happens to a file on its way to a reader. Every channel is deterministic and keeps the size of the picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from onlymymodel.errors import UserError
from onlymymodel.evaluate.purifier import purify
from onlymymodel.surrogates.uri import did_you_mean

Pixels = NDArray[np.uint8]
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}  # pixels that the codecs take


@dataclass(frozen=True)
class Channel:
    """One way that a picture may take.

    Attributes:
        name: a key of `CHANNELS`.
        apply: HWC uint8 (C 1 or 3, any size) -> a new HWC uint8 of the same shape; gray stays gray.
        meaning: what it does, for a reader of a report.
    """

    name: str
    apply: Callable[[Pixels], Pixels]
    meaning: str


def _picture(image: Pixels) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def _pixels(picture: Image.Image) -> Pixels:
    pixels = np.array(picture, np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _through_codec(image: Pixels, *, codec: str, quality: int) -> Pixels:
    """Encode by Pillow and decode again.

    Raises:
        UserError: a side is longer than the codec takes.
    """
    picture = _picture(image)
    if max(picture.size) > LONGEST_SIDE[codec]:
        size = f"{picture.width} x {picture.height} pixels"
        raise UserError(f"a picture of {size} cannot be written as {codec}: leave that channel out, or make it smaller")
    buffer = BytesIO()
    picture.save(buffer, codec, quality=quality)
    with Image.open(buffer) as decoded:
        return _pixels(decoded.convert(picture.mode))  # WebP has no gray: it gives RGB back


def _through_half_size(image: Pixels) -> Pixels:
    picture = _picture(image)
    half = (picture.width + 1) // 2, (picture.height + 1) // 2
    small = picture.resize(half, Image.Resampling.BICUBIC)
    return _pixels(small.resize(picture.size, Image.Resampling.BICUBIC))


def _blurred(image: Pixels) -> Pixels:
    return _pixels(_picture(image).filter(ImageFilter.GaussianBlur(1)))


def _in_four_bits(image: Pixels) -> Pixels:
    nearest = (image.astype(np.uint16) + 8) // 17 * 17  # 255 = 15 * 17, an odd step: never halfway between two levels
    return nearest.astype(np.uint8)


def _jpeg(quality: int) -> Channel:
    meaning = f"JPEG of quality {quality} by Pillow, colors at half the resolution (4:2:0)"
    return Channel(f"jpeg{quality}", partial(_through_codec, codec="JPEG", quality=quality), meaning)


CHANNELS: dict[str, Channel] = {
    channel.name: channel
    for channel in (
        Channel("png", np.copy, "the file as written"),
        _jpeg(95),
        _jpeg(75),
        _jpeg(50),
        Channel("webp90", partial(_through_codec, codec="WEBP", quality=90), "lossy WebP of quality 90 by Pillow"),
        Channel("resize", _through_half_size, "to half the size and back, both by Pillow's bicubic"),
        Channel("blur", _blurred, "Gaussian blur of radius 1 pixel, as Pillow approximates it by box blurs"),
        Channel("bits4", _in_four_bits, "each color rounded to the nearest of 16 levels"),
        Channel("purifier", purify, "a bundled denoising network that is trained to remove such changes"),
    )
}


def get_channels(names: Sequence[str]) -> list[Channel]:
    """The channels of these names, in this order.

    Raises:
        UserError: an unknown name, or one that stands there twice.
    """
    for index, name in enumerate(names):
        if name not in CHANNELS:
            raise UserError(f"unknown channel {name!r}{did_you_mean(name, CHANNELS)}")
        if name in names[:index]:
            raise UserError(f"channel {name!r} stands there twice")
    return [CHANNELS[name] for name in names]
