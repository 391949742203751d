"""Pictures of a report: reduced and compressed as little as its size allows."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from onlymymodel.data.pixels import Pixels
from onlymymodel.evaluate.html import data_uri
from onlymymodel.evaluate.images import reduced_image

LEAD_SIDE, SIDE = 512, 320  # pixels of the longer side, of the photo that is shown larger and of all others
# (fraction of the side, quality of lossy WebP, None for lossless), tried in this order until the pictures fit
LEVELS: tuple[tuple[float, int | None], ...] = (
    (1, None), (1, 95), (1, 90), (1, 80), (1, 65), (0.8, 65), (0.6, 65), (0.45, 65),
)  # fmt: skip
BASE64 = 4 / 3  # characters for each byte


@dataclass(frozen=True)
class EncodedPictures:
    """The pictures of one photo, all of one size and one quality.

    Attributes:
        uris: data URIs: the original, then the protected photo and its difference for each version.
        size: (width, height).
        quality: of the compression; None where it is lossless. Differences are lossless where this is smaller.
    """

    uris: tuple[str, ...]
    size: tuple[int, int]
    quality: int | None

    @property
    def weight(self) -> int:
        """Bytes of the pictures on the page."""
        return sum(map(len, self.uris))


class PictureEncoder:
    """Encodes the photos of a page one by one, so that together they stay within a number of bytes.

    Each photo may use an equal share of what the photos before it have left; one of them, which is shown larger, may
    use two.

    Args:
        photos: number of photos, at least one.
        most: bytes for all of them.
    """

    def __init__(self, photos: int, most: int) -> None:
        self._shares, self._left, self._level = photos + 1, most, 0

    def encode(self, pictures: Sequence[Pixels], lossless: Sequence[bool], *, large: bool) -> EncodedPictures:
        """Return the pictures of the next photo, at the first size and quality that fits.

        Args:
            pictures: (H,W,C) uint8 of one size.
            lossless: for each picture whether it is encoded without loss where this is smaller, as it is for the few
                levels of a difference.
            large: whether this is the photo that is shown larger.
        """
        shares, side = (2, LEAD_SIDE) if large else (1, SIDE)
        allowed = self._left * shares / self._shares
        # photos of a page are alike: what was too large for the last one need not be tried for this one
        for level in range(max(self._level - 1, 0), len(LEVELS)):
            fraction, quality = LEVELS[level]
            images = [reduced_image(pixels, round(side * fraction)) for pixels in pictures]
            # photos with a change like noise take more than a byte for each pixel
            if quality is None and sum(image.width * image.height for image in images) * BASE64 > allowed:
                continue
            encoded = _encode(images, lossless, quality)
            if encoded.weight <= allowed:
                break
        self._shares, self._left, self._level = self._shares - shares, self._left - encoded.weight, level
        return encoded


def _encode(images: Sequence[Image.Image], lossless: Sequence[bool], quality: int | None) -> EncodedPictures:
    uris = []
    for image, either in zip(images, lossless, strict=True):
        exact = _webp(image, None) if quality is None or either else b""
        lossy = b"" if quality is None else _webp(image, quality)
        uris.append(data_uri(min(filter(None, (exact, lossy)), key=len), "webp"))
    return EncodedPictures(tuple(uris), images[0].size, quality)


def _webp(image: Image.Image, quality: int | None) -> bytes:
    buffer = io.BytesIO()
    if quality is None:
        image.save(buffer, "WEBP", lossless=True)
    else:
        image.save(buffer, "WEBP", quality=quality)
    return buffer.getvalue()
