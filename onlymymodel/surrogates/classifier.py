"""A model as the rest of the project sees it: pixels in, logits out; resizing and normalizing inside."""

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Fit = Literal["crop", "squash", "squash-crop", "align"]
Interpolation = Literal["bicubic", "bilinear", "nearest"]
NO_WEIGHTS = {"", hashlib.sha256().hexdigest()}  # hashes of nothing, which networks without parameters share


@dataclass(frozen=True)
class Preprocess:
    """How a model wants its input, from the weights' own record.

    Attributes:
        height, width: input size of the network, in pixels.
        crop_pct: share of the resized photo's side that the center crop keeps (timm's meaning); the photo is
            resized so that it just covers (height, width) / crop_pct.
        fit: `crop` keeps the aspect ratio and cuts the center out; `squash` resizes the whole photo, without a
            crop; `squash-crop` resizes the whole photo to (height, width) / crop_pct and cuts the center out;
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
    def resize_key(self) -> "Preprocess":
        """Equal for models that can share one resized canvas: all but the normalization."""
        return replace(self, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def canvas_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the canvas onto which a photo of (height, width) is resized."""
        if self.fit in ("squash", "align"):
            return self.height, self.width
        cover_h, cover_w = int(self.height / self.crop_pct + 1e-6), int(self.width / self.crop_pct + 1e-6)
        if self.fit == "squash-crop":
            return cover_h, cover_w
        scale = max(cover_h / height, cover_w / width)
        return max(int(height * scale + 1e-6), cover_h), max(int(width * scale + 1e-6), cover_w)

    def canvas(self, pixels: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Resize (B,C,H,W) pixels in [0,1], C 1 or 3, to the (B,3,h,w) canvas in [0,1] from which the crop is cut.

        With the fit `align` the faces are at `landmarks`, (B,5,2), see `alignment.aligned`; searched if None.
        """
        if self.fit == "align":
            from onlymymodel.surrogates.alignment import aligned

            return aligned(pixels, self.height, self.width, landmarks).clamp(0, 1).expand(-1, 3, -1, -1)
        size = self.canvas_size(pixels.shape[-2], pixels.shape[-1])
        if tuple(pixels.shape[-2:]) != size:
            smooth = self.interpolation != "nearest"
            mode = self.interpolation if smooth else "nearest-exact"  # Pillow's and scikit-image's nearest
            pixels = F.interpolate(pixels, size=size, mode=mode, antialias=smooth)
        return pixels.clamp(0, 1).expand(-1, 3, -1, -1)

    def crop_box(self, canvas_height: int, canvas_width: int) -> tuple[int, int]:
        """Top and left of the center crop on the canvas."""
        return round((canvas_height - self.height) / 2), round((canvas_width - self.width) / 2)

    def center(self, canvas: Tensor) -> Tensor:
        """The (B,3,height,width) center crop of a canvas."""
        top, left = self.crop_box(canvas.shape[-2], canvas.shape[-1])
        return canvas[..., top : top + self.height, left : left + self.width]


@dataclass(frozen=True)
class ModelCard:
    """Who a model is.

    Attributes:
        uri: what the user wrote to name it, without folders of this machine.
        sha256: of the weights' file, or of the parameters themselves where no file is at hand.
        task: `classification`, `identity`, `emotion`, ... ; what models share by it: `vocabulary.translation`.
        labels: class names in index order; empty when not known.
        classes: number of logits.
        preprocess: see `Preprocess`.
        family: architecture family, e.g. `resnet`.
        parent: declared origin of the weights; models of one parent are not independent of one another.
        licence: as declared by the source, empty when not known.
        gallery: sha256 of the people that an embedder was given to recognize, and of its threshold; else empty.
        weights: their `fingerprint`, by which they are known again in another file; empty where there is none.
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

    @property
    def stranger(self) -> int | None:
        """The class of nobody whom the gallery knows; None where a model recognizes no people by a gallery."""
        return self.classes - 1 if self.gallery else None

    def name_of(self, index: int) -> str:
        """Class name, or the index as text when names are not known."""
        return self.labels[index] if 0 <= index < len(self.labels) else str(index)

    def same_weights(self, other: "ModelCard") -> bool:
        """Whether both models are known to have the same weights."""
        return bool({self.sha256, self.weights} & {other.sha256, other.weights} - NO_WEIGHTS)

    def to_json(self) -> dict[str, Any]:
        """All but the class names (a thousand of them say nothing that the hash does not); `weights` where known."""
        fields = asdict(self)
        del fields["labels"]
        if not self.weights:
            del fields["weights"]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "ModelCard":
        """The card of which `to_json` gave the fields, without class names."""
        preprocess: dict[str, Any] = {**fields["preprocess"]}
        for key in ("mean", "std"):
            preprocess[key] = tuple(preprocess[key])
        return cls(**{**fields, "preprocess": Preprocess(**preprocess)})


class Classifier(nn.Module):
    """A frozen network with its preprocessing inside.

    Args:
        net: maps normalized (B,3,height,width) float32 to (B,classes) logits.
        card: who it is and how it wants its input.

    The parameters are frozen: only the photo ever needs a gradient here.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.card = card
        self.register_buffer("mean", torch.tensor(card.preprocess.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(card.preprocess.std).view(1, 3, 1, 1))
        self.eval()

    @property
    def aligns(self) -> bool:
        """Whether it reads one face of a photo, and nothing else."""
        return self.card.preprocess.fit == "align"

    def train(self, mode: bool = True) -> "Classifier":
        """Stays in eval mode: batch statistics of a protected batch must never leak into a judgment."""
        if mode:
            raise RuntimeError("a Classifier is frozen: it judges and guides, it is not trained")
        return super().train(False)

    def logits(self, crop: Tensor) -> Tensor:
        """(B,3,height,width) network input in [0,1], already cut to size -> (B,classes) logits."""
        normalized = (crop - self.mean) / self.std
        out: Tensor = self.net(normalized.contiguous(memory_format=torch.channels_last))
        return out

    def forward(self, pixels: Tensor) -> Tensor:
        """(B,C,H,W) float32 RGB (C 3) or gray (C 1) in [0,1], any H and W -> (B,classes) logits."""
        return self.at(pixels)

    def at(self, pixels: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """The same of the faces at `landmarks`, see `Preprocess.canvas`."""
        preprocess = self.card.preprocess
        return self.logits(preprocess.center(preprocess.canvas(pixels, landmarks)))
