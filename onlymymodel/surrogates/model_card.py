"""Model cards: the origin, the classes and the input format of a model.

Importing this module does not import torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from onlymymodel.data.attributes import decode

if TYPE_CHECKING:
    from torch import Tensor

Fit = Literal["crop", "squash", "squash-crop", "letterbox", "align"]
Interpolation = Literal["bicubic", "bilinear", "nearest"]
Kind = Literal["classes", "attributes", "people", "words", "embedder", "detector", "language"]
ATTRIBUTES = "attributes"  # the task of a model that answers several yes-or-no questions at once
NO_WEIGHTS = {"", hashlib.sha256().hexdigest()}  # hashes of nothing, which networks without parameters share


@dataclass(frozen=True)
class Preprocess:
    """Preprocessing of a model's input, from the weights' own record.

    Attributes:
        height, width: input size of the network, in pixels.
        crop_pct: share of the resized photo's side that the center crop keeps (timm's meaning); the photo is
            resized so that it just covers (height, width) / crop_pct.
        fit: `crop` keeps the aspect ratio and cuts the center out; `squash` resizes the whole photo, without a
            crop; `squash-crop` resizes the whole photo to (height, width) / crop_pct and cuts the center out;
            `letterbox` resizes the whole photo to fit into (height, width), on gray;
            `align` finds the largest face and brings its eyes, nose and mouth to ArcFace's template.
        interpolation: of the resize, always antialiased, as in Pillow.
        mean, std: per RGB channel, for pixels in [0, 1].
    """

    height: int = 224
    width: int = 224
    crop_pct: float = 0.875
    fit: Fit = "crop"
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @property
    def resize_key(self) -> Preprocess:
        """Equal for models that can share one resized canvas: all but the normalization."""
        return replace(self, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def canvas_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the canvas onto which a photo of (height, width) is resized."""
        if self.fit in ("squash", "letterbox", "align"):
            return self.height, self.width
        cover_h, cover_w = int(self.height / self.crop_pct + 1e-6), int(self.width / self.crop_pct + 1e-6)
        if self.fit == "squash-crop":
            return cover_h, cover_w
        scale = max(cover_h / height, cover_w / width)
        return max(int(height * scale + 1e-6), cover_h), max(int(width * scale + 1e-6), cover_w)

    def canvas(self, pixels: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Resize photos to the canvas from which the crop is cut.

        Args:
            pixels: (B,C,H,W) in [0,1], or uint8, C 1 or 3.
            landmarks: (B,5,2) of the faces for the fit `align`, see `alignment.align_faces`; detected if None.

        Returns:
            (B,3,h,w) in [0,1].
        """
        return self.resized(pixels, landmarks).clamp(0, 1).expand(-1, 3, -1, -1)

    def resized(self, pixels: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Return the canvas with the photos' own channels, (B,C,h,w), which bicubic filters may take out of [0,1].

        It is affine in the pixels, and its derivative does not depend on them. See `canvas` for the arguments.
        """
        if self.fit == "align":
            from onlymymodel.surrogates.alignment import align_faces

            return align_faces(pixels, self.height, self.width, landmarks)
        from onlymymodel.surrogates.resize import letterbox, resize

        if self.fit == "letterbox":
            return letterbox(pixels, self.height, self.width, self.interpolation)
        return resize(pixels, self.canvas_size(pixels.shape[-2], pixels.shape[-1]), self.interpolation)

    def crop_box(self, canvas_height: int, canvas_width: int) -> tuple[int, int]:
        """Return top and left of the center crop on the canvas."""
        return round((canvas_height - self.height) / 2), round((canvas_width - self.width) / 2)

    def center(self, canvas: Tensor) -> Tensor:
        """Cut the (B,3,height,width) center crop out of a canvas."""
        top, left = self.crop_box(canvas.shape[-2], canvas.shape[-1])
        return canvas[..., top : top + self.height, left : left + self.width]


# of models that read photos of any size by themselves, such as those on servers
READ_ELSEWHERE = Preprocess(crop_pct=1.0, fit="squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@dataclass(frozen=True)
class ModelCard:
    """Origin, classes and preprocessing of a model.

    Attributes:
        uri: what the user wrote to name it, without folders of this machine.
        sha256: of the weights' file, or of the parameters themselves where they come from no file.
        classes: number of logits; of attributes, for a model of the task `attributes`.
        preprocess: see `Preprocess`.
        task: `classification`, `identity`, `emotion`, ...; see `class_mapping.map_classes` for what it decides.
        labels: class names in index order; empty when not known.
        family: architecture family, e.g. `resnet`.
        parent: declared origin of the weights; models of one parent are not independent of one another.
        licence: as declared by the source, empty when not known.
        gallery: sha256 of the gallery's photos and threshold, for an embedder with a gallery; else empty.
        weights: their `fingerprint`, which identifies them in any file; empty where they have none.
        words: sha256 of the class names and the template that a text tower embedded, for an embedder that compares
            photos with words; else empty.
        threshold: cosine below which a photo is no longer found to be its original, for an embedder that has neither
            a gallery nor words; else None. The outputs of such a model are `classes` numbers, not logits.
        asked: sha256 of the question that a model is asked in words, with its possible answers; else empty.
        keep: names of the attributes, or of the classes of objects, that the URI limits the model to; empty for all.
    """

    uri: str
    sha256: str
    classes: int
    preprocess: Preprocess
    task: str = "classification"
    labels: tuple[str, ...] = ()
    family: str = ""
    parent: str = ""
    licence: str = ""
    gallery: str = ""
    weights: str = ""
    words: str = ""
    threshold: float | None = None
    asked: str = ""
    keep: tuple[str, ...] = ()

    @property
    def embeds(self) -> bool:
        """Return whether it gives embeddings, which have a meaning only beside those of other photos."""
        return self.threshold is not None

    @property
    def kind(self) -> Kind:
        """Return the references that the model compares photos with."""
        if self.embeds:
            return "embedder"
        if self.task == "detection":
            return "detector"
        if self.task == ATTRIBUTES:
            return "attributes"
        if self.asked:
            return "language"
        return "people" if self.gallery else "words" if self.words else "classes"

    @property
    def answers(self) -> int:
        """Number of possible answers: the classes, or all combinations of attributes."""
        return 1 << self.classes if self.kind == "attributes" else self.classes

    @property
    def needs_scores(self) -> bool:
        """Return whether its scores are needed, not its answer alone: they are cosines, or an embedding."""
        return bool(self.gallery) or self.embeds

    @property
    def stranger(self) -> int | None:
        """Class index for people outside the gallery; None for a model without a gallery."""
        return self.classes - 1 if self.gallery else None

    @property
    def nothing(self) -> int | None:
        """Class index of a detector that finds nothing; None for another model."""
        return self.classes - 1 if self.kind == "detector" else None

    def name_of(self, index: int) -> str:
        """Return the class name, or the index as text when names are not known; of attributes those that are there."""
        if self.kind == "attributes":
            names = self.labels or tuple(map(str, range(self.classes)))
            present = [name for name, there in zip(names, decode(index, self.classes), strict=True) if there]
            return ", ".join(present) or "no attribute"
        return self.labels[index] if 0 <= index < len(self.labels) else str(index)

    def same_weights(self, other: ModelCard) -> bool:
        """Return whether both models are known to have the same weights."""
        return bool({self.sha256, self.weights} & {other.sha256, other.weights} - NO_WEIGHTS)

    def same_classes(self, other: ModelCard) -> bool:
        """Return whether both have as many classes and keep the same ones, which their weights do not tell."""
        return (self.classes, self.keep) == (other.classes, other.keep)

    def to_json(self) -> dict[str, Any]:
        """Return all fields but the class names (the hash implies them); the last ones only where they are known."""
        fields = asdict(self)
        del fields["labels"]
        for name in ("weights", "words", "threshold", "asked", "keep"):
            if fields[name] in ("", None, ()):
                del fields[name]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> ModelCard:
        """Return the card that `to_json` wrote, without class names.

        Raises:
            msgspec.ValidationError: a field is missing or has a value of another type.
        """
        return msgspec.convert(fields, cls)
