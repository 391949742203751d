"""What is the same for all photos of a run, and what each of them brings along."""

from dataclasses import dataclass
from typing import Any, Literal

import torch

from onlymymodel.data.image_io import MAX_PIXELS
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.recipe import Recipe
from onlymymodel.protect.region import WHOLE, Region
from onlymymodel.surrogates.classifier import Classifier

Record = dict[str, Any]
Format = Literal["png", "webp"]


@dataclass(frozen=True)
class Context:
    """Everything that is the same for all photos of a run.

    Attributes:
        format: of the written files; both are lossless.
        strip_metadata: leave EXIF out of the written files.
        max_pixels: larger photos are refused unread.
        region: what of each photo may change.
    """

    authorized: Classifier
    surrogates: tuple[Classifier, ...]
    budget: Budget
    recipe: Recipe
    format: Format = "png"
    strip_metadata: bool = False
    max_pixels: int = MAX_PIXELS
    region: Region = WHOLE

    @property
    def reads_faces(self) -> bool:
        """Whether the authorized model reads an aligned face, and nothing else of a photo."""
        return self.authorized.aligns

    @property
    def pushed(self) -> tuple[Classifier, ...]:
        """The models whose answers or features are pushed."""
        return (self.authorized,) if self.recipe.objective == "feature" else self.surrogates

    @property
    def works_face_by_face(self) -> bool:
        """Whether every face of a photo is worked on: only of meaning for models that read an aligned face."""
        return self.region.faces == "all" and any(model.aligns for model in self.pushed)

    @property
    def device(self) -> torch.device:
        """Where the models are."""
        return self.authorized.mean.device


@dataclass(frozen=True)
class Source:
    """A photo's bytes, its label where somebody gave one (an index of the authorized model's classes), and the bytes
    of its mask where the region is one."""

    data: bytes
    label: int | None = None
    mask: bytes | None = None
