"""Channels: processing of a file before a model reads it. Every channel is deterministic and keeps the size.

A deployment is a channel that may also change the size of the photo and how models read it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from onlymymodel.data.pixels import Pixels
from onlymymodel.data.processing import (
    AVERAGED,
    LADDER,
    average_resized,
    blur,
    recompress,
    recompress_in_turn,
    reduce_colors,
    resize_to_half_and_back,
)
from onlymymodel.errors import select
from onlymymodel.surrogates.deployments import Deployment


@dataclass(frozen=True)
class Channel:
    """One processing step between a written file and a model.

    Attributes:
        name: a key of `CHANNELS`.
        apply: HWC uint8 (C 1 or 3, any size) -> a new HWC uint8 of the same shape; gray stays gray.
        meaning: description for the reader of a report.
    """

    name: str
    apply: Callable[[Pixels], Pixels]
    meaning: str


AnyChannel = Channel | Deployment


def _purify(image: Pixels) -> Pixels:
    from onlymymodel.surrogates.purifier import purify  # the command line lists the channels without torch

    return purify(image)


def _jpeg(quality: int) -> Channel:
    meaning = f"JPEG of quality {quality} by Pillow, colors at half the resolution (4:2:0)"
    return Channel(f"jpeg{quality}", partial(recompress, codec="JPEG", quality=quality), meaning)


CHANNELS: dict[str, Channel] = {
    channel.name: channel
    for channel in (
        Channel("png", np.copy, "the file as written"),
        _jpeg(95),
        _jpeg(75),
        _jpeg(50),
        Channel("webp90", partial(recompress, codec="WEBP", quality=90), "lossy WebP of quality 90 by Pillow"),
        Channel("resize", resize_to_half_and_back, "to half the size and back, both by Pillow's bicubic"),
        Channel("blur", blur, "Gaussian blur of radius 1 pixel, as Pillow approximates it by box blurs"),
        Channel("bits4", partial(reduce_colors, bits=4), "each color rounded to the nearest of 16 levels"),
        Channel(
            "jpeg-ladder",
            partial(recompress_in_turn, qualities=LADDER),
            f"JPEG of quality {', '.join(map(str, LADDER))}, one after the other",
        ),
        Channel(
            "averaged",
            partial(average_resized, fractions=AVERAGED),
            "the mean of copies resized to "
            f"{', '.join(f'{fraction:.0%}' for fraction in AVERAGED)} and back, by Pillow's bicubic",
        ),
        Channel("purifier", _purify, "a bundled denoising network, trained to remove such changes"),
    )
}


def get_channels(names: Sequence[str]) -> list[Channel]:
    """Return the channels of these names, in this order.

    Raises:
        UserError: a name is unknown or listed twice.
    """
    return select(CHANNELS, names, "channel")
