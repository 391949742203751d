"""One photo batch as several models see it, and the way back for their gradients."""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from onlymymodel.surrogates.alignment import main_faces
from onlymymodel.surrogates.classifier import Classifier, Preprocess

JITTER = 0.03  # standard deviation of a landmark, as a share of the distance of the eyes


class Canvases:
    """One photo batch resized once for each distinct preprocessing, with the way back for gradients.

    Args:
        pixels: (B,C,H,W) in [0,1].
        models: whose preprocessing is wanted; models that resize alike share a canvas.
        through: what happens to the photo on its way to the models, differentiable.
        landmarks: (B,5,2) of the faces, for models that align them, see `landmarks_for`; searched if None.
    """

    def __init__(
        self,
        pixels: Tensor,
        models: Sequence[Classifier],
        through: Callable[[Tensor], Tensor] | None = None,
        landmarks: Tensor | None = None,
    ) -> None:
        self.models, self.through, self.landmarks = models, through, landmarks
        self.pixels = pixels.detach().requires_grad_()
        self.resized: dict[Preprocess, Tensor] = {}
        received = self.pixels if through is None else through(self.pixels)
        for model in models:
            key = model.card.preprocess.resize_key
            if key not in self.resized:
                self.resized[key] = key.canvas(received, landmarks)
        self.leaves = {key: canvas.detach().requires_grad_() for key, canvas in self.resized.items()}

    def of(self, model: Classifier) -> Tensor:
        """The model's canvas, a leaf: gradients stop here until `to_pixels`."""
        return self.leaves[model.card.preprocess.resize_key]

    def to_pixels(self, model: Classifier, gradient: Tensor) -> Tensor:
        """Carry a gradient on the model's canvas back to the photo's pixels, (B,C,H,W)."""
        canvas = self.resized[model.card.preprocess.resize_key]
        return torch.autograd.grad(canvas, self.pixels, gradient, retain_graph=True)[0]

    def at(self, pixels: Tensor) -> "Canvases":
        """The same models' canvases of other (B,C,H,W) pixels in [0,1]."""
        return Canvases(pixels, self.models, self.through, self.landmarks)


def landmarks_for(models: Sequence[Classifier], originals: Tensor) -> Tensor | None:
    """(B,5,2) landmarks of the largest faces of clean (B,C,H,W) photos in [0,1], once for all steps; None where no
    model aligns faces."""
    return main_faces(originals) if any(model.aligns for model in models) else None


def jittered(landmarks: Tensor | None, generators: Sequence[Generator]) -> Tensor | None:
    """Landmarks, (B,5,2), as another search might find them: on a changed photo the detector errs by a pixel or two.

    Args:
        generators: one for each photo, on the CPU.
    """
    if landmarks is None:
        return None
    eyes = (landmarks[:, 1] - landmarks[:, 0]).norm(dim=1).view(-1, 1, 1)
    noise = torch.stack([torch.randn(5, 2, generator=generator) for generator in generators])
    moved: Tensor = landmarks + JITTER * eyes * noise.to(landmarks)
    return moved


def unit(gradient: Tensor) -> Tensor:
    """Divide each photo's gradient by its own mean magnitude; a gradient of zero stays zero."""
    size = gradient.abs().flatten(1).mean(1).view(-1, 1, 1, 1)
    return gradient / size.clamp_min(torch.finfo(gradient.dtype).tiny)
