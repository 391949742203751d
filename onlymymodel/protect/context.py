"""The models and settings that all photos of a run share, and the input of one photo."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from onlymymodel.data.choices import Metadata
from onlymymodel.data.image_io import MAX_PIXELS, PhotoError, decode
from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.regular_file import Readable
from onlymymodel.errors import UserError
from onlymymodel.protect.attack.external_load import LoadedAttack
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.choices import Format
from onlymymodel.protect.region import WHOLE, Region
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.known_pictures import is_bundled, unknown_pictures, unknown_pixels


@dataclass(frozen=True)
class Context:
    """Models and settings that all photos of a run share.

    Attributes:
        authorized: the model that has to read the protected photos.
        surrogates: the models that the attack misleads.
        budget: how much a photo may change.
        recipe: settings of the optimizer.
        format: format of the written files; both are lossless.
        metadata: what the written files keep of EXIF: all that is harmless, all of that but the location, or nothing.
        keep_makernotes: keep the maker notes of EXIF, too, which may hold the unprotected photo.
        first_frame: protect the first frame of an animation instead of refusing it.
        max_pixels: largest number of pixels of a photo; larger photos are not decoded.
        region: which part of each photo may change.
        exclude: globs of files and folders that are passed over, see `scan`.
        attack: the attack from outside that the recipe names, see `load_attack`; None if it names none.
    """

    authorized: Classifier
    surrogates: tuple[Classifier, ...]
    budget: Budget
    recipe: Recipe
    format: Format = "png"
    metadata: Metadata = "keep"
    keep_makernotes: bool = False
    first_frame: bool = False
    max_pixels: int = MAX_PIXELS
    region: Region = WHOLE
    exclude: tuple[str, ...] = ()
    attack: LoadedAttack | None = None

    @property
    def reads_faces(self) -> bool:
        """Whether the authorized model reads only the aligned face of a photo."""
        return self.authorized.aligns

    @property
    def attacked_models(self) -> tuple[Classifier, ...]:
        """The models whose answers or features the attack changes."""
        return (self.authorized,) if self.recipe.objective == "feature" else self.surrogates

    @property
    def protects_each_face(self) -> bool:
        """Whether every face of a photo is protected separately; only if a model under attack aligns faces."""
        return self.region.faces == "all" and any(model.aligns for model in self.attacked_models)

    @property
    def device(self) -> torch.device:
        """Device of the models."""
        return self.authorized.mean.device


@dataclass(frozen=True)
class PhotoSource:
    """The input of one photo.

    Attributes:
        data: bytes of its file.
        label: class index that the authorized model has to keep; its own clean answer if None.
        mask: bytes of the mask's file, for the region `mask`.
    """

    data: bytes
    label: int | None = None
    mask: bytes | None = None


def check_known(context: Context, photos: Sequence[Readable]) -> None:
    """Refuse a bundled model as the authorized model of pictures that it does not know, before the first photo.

    What it answers to them is arbitrary, so that keeping its answers would protect nothing.

    Args:
        context: models and settings.
        photos: files of the photos.

    Raises:
        UserError: see `unknown_pictures`.
    """
    unknown = unknown_pictures(
        context.authorized.card.uri, photos, max_pixels=context.max_pixels, first_frame=context.first_frame
    )
    _refuse(unknown)


def check_known_bytes(context: Context, files: Sequence[bytes]) -> None:
    """Refuse a bundled model as the authorized model of pictures in memory that it does not know, as `check_known`.

    Args:
        context: models and settings.
        files: bytes of the photos' files; what is no photo is left to the run.

    Raises:
        UserError: see `unknown_pixels`.
    """
    if not is_bundled(context.authorized.card.uri):
        return
    pixels = []
    for data in files:
        with suppress(PhotoError):
            photo = decode(data, max_pixels=context.max_pixels, first_frame=context.first_frame)
            pixels.append(to_tensor(photo.pixels))
    if pixels:
        _refuse(unknown_pixels(context.authorized.card.uri, pixels))


def _refuse(unknown: str) -> None:
    if unknown:
        raise UserError(f"{unknown}; name the model that must still read these photos as the authorized one")
