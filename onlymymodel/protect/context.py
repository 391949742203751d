"""The models and settings that all photos of a run share, and the input of one photo."""

from dataclasses import dataclass

import torch

from onlymymodel.data.choices import Metadata
from onlymymodel.data.image_io import MAX_PIXELS
from onlymymodel.protect.attack.external_load import LoadedAttack
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.choices import Format
from onlymymodel.protect.region import WHOLE, Region
from onlymymodel.surrogates.classifier import Classifier


@dataclass(frozen=True)
class Context:
    """Models and settings that all photos of a run share.

    Attributes:
        authorized: the model that has to read the protected photos.
        surrogates: the models that the attack misleads.
        budget: how much a photo may change.
        recipe: settings of the optimizer, whose precision is not `auto`.
        precision_reason: see `resolve_precision`.
        format: format of the written files; both are lossless.
        metadata: what the written files keep of EXIF: all that is harmless, all of that but the location, or nothing.
        keep_makernotes: keep the maker notes of EXIF, too, which may hold the unprotected photo.
        first_frame: protect the first frame of an animation instead of refusing it.
        max_pixels: largest number of pixels of a photo; larger photos are not decoded.
        region: which part of each photo may change.
        exclude: globs of files and folders that are passed over, see `scan`.
        attack: the attack from outside that the recipe names, see `load_attack`; None if it names none.
        auto_strength: protect each photo at the weakest strength that suffices, see `auto_strength.protect_at_weakest`;
            the budget has the bounds of the greatest.
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
    precision_reason: str = ""
    auto_strength: bool = False

    @property
    def reads_faces(self) -> bool:
        """Return whether the authorized model reads only the aligned face of a photo."""
        return self.authorized.aligns

    @property
    def attacked_models(self) -> tuple[Classifier, ...]:
        """The models whose answers or features the attack changes."""
        return (self.authorized,) if self.recipe.objective == "feature" else self.surrogates

    @property
    def protects_each_face(self) -> bool:
        """Return whether every face of a photo is protected separately; only if a model under attack aligns faces."""
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
