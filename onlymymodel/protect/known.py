"""Refuse a bundled model as the authorized model of pictures that it does not know, before the first photo.

What it answers to them is arbitrary, so that keeping its answers would protect nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from torch import Tensor

from onlymymodel.data.image_io import PhotoError, decode, probe, probe_bytes
from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.regular_file import Readable
from onlymymodel.errors import UserError
from onlymymodel.protect.context import Context
from onlymymodel.protect.limits import UNLIMITED, Limits
from onlymymodel.surrogates.known_pictures import is_bundled, sample, unknown_pictures, unknown_pixels

ADVICE = "name the model that must still read these photos as the authorized one"


def check_known(context: Context, photos: Sequence[Readable], limits: Limits = UNLIMITED) -> None:
    """Check the files of photos.

    Args:
        context: models and settings.
        photos: files of the photos.
        limits: a photo of the sample that is outside of them is left to the run.

    Raises:
        UserError: see `unknown_pictures`.
    """
    _refuse(unknown_photos(context, photos, limits))


def unknown_photos(context: Context, photos: Sequence[Readable], limits: Limits = UNLIMITED) -> str:
    """Return in one sentence that a bundled authorized model does not know the photos; "" if it does, or is another.

    See `check_known` for the arguments.
    """
    if not is_bundled(context.authorized.card.uri):
        return ""
    return unknown_pictures(
        context.authorized.card.uri,
        [path for path in sample(photos) if _is_inside(path, context, limits)],
        max_pixels=context.max_pixels,
        first_frame=context.first_frame,
    )


def check_known_bytes(context: Context, files: Sequence[bytes], limits: Limits = UNLIMITED) -> None:
    """Check photos in memory, as `check_known`.

    Args:
        context: models and settings.
        files: bytes of the photos' files; what is no photo is left to the run.
        limits: see `check_known`.

    Raises:
        UserError: see `unknown_pixels`.
    """

    def decoded() -> Iterator[Tensor]:  # one at a time
        for data in files:
            with suppress(PhotoError):
                header = probe_bytes(data, context.max_pixels, first_frame=context.first_frame)
                if limits.fits(header, context):
                    photo = decode(data, max_pixels=context.max_pixels, first_frame=context.first_frame)
                    yield to_tensor(photo.pixels)

    _refuse(unknown_pixels(context.authorized.card.uri, decoded()))


def _is_inside(path: Readable, context: Context, limits: Limits) -> bool:
    """Return whether a photo fits into the memory; a file without a readable header is left to the run."""
    try:
        return limits.fits(probe(path, context.max_pixels, first_frame=context.first_frame), context)
    except PhotoError:
        return True


def _refuse(unknown: str) -> None:
    if unknown:
        raise UserError(f"{unknown}; {ADVICE}")
