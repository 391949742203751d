"""Resize one batch of photos for several models, and collect the gradients of their inputs."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy

import torch
from torch import Generator, Tensor

from onlymymodel.protect.attack.precision import full_float32
from onlymymodel.protect.attack.processed import channelwise_gradient
from onlymymodel.surrogates.alignment import main_faces
from onlymymodel.surrogates.classifier import Classifier, Preprocess

LANDMARK_JITTER = 0.03  # standard deviation, as a fraction of the distance between the eyes


class ModelInputs:
    """A batch of photos, resized once for each distinct preprocessing.

    Losses are differentiated with respect to the resized photo (the canvas); one backward pass through the resize then
    carries the sum of all gradients of models that resize in the same way to the photo's pixels.

    Args:
        pixels: (B,C,H,W) in [0,1].
        models: the models to prepare inputs for.
        channel: differentiable transform of the photos on their way to the models, such as JPEG; None for none.
        landmarks: (B,5,2) in pixels of the photos, on the CPU, for models that align faces; None to detect them.
    """

    def __init__(
        self,
        pixels: Tensor,
        models: Sequence[Classifier],
        channel: Callable[[Tensor], Tensor] | None = None,
        landmarks: Tensor | None = None,
    ) -> None:
        self.models, self.channel, self.landmarks = models, channel, landmarks
        self.pixels = pixels.detach().requires_grad_()
        self._resized: dict[Preprocess, Tensor] = {}
        with full_float32(pixels.device):  # also where an objective prepares further inputs between its networks
            received = self.pixels if channel is None else channel(self.pixels)
            for model in models:
                key = model.card.preprocess.resize_key
                if key not in self._resized:
                    self._resized[key] = key.canvas(received, landmarks)
        self._canvases = {key: canvas.detach().requires_grad_() for key, canvas in self._resized.items()}

    def canvas(self, model: Classifier) -> Tensor:
        """Return the (B,3,h,w) canvas of a model, a leaf: gradients stop there until `to_pixels`."""
        return self._canvases[model.card.preprocess.resize_key]

    def to_pixels(self, model: Classifier, gradient: Tensor) -> Tensor:
        """Carry a gradient with respect to the model's canvas back to the (B,C,H,W) pixels of the photos."""
        resized = self._resized[model.card.preprocess.resize_key]
        return torch.autograd.grad(resized, self.pixels, gradient, retain_graph=True)[0]

    def at(self, pixels: Tensor) -> "ModelInputs":
        """Prepare other (B,C,H,W) pixels in [0,1] in the same way."""
        return ModelInputs(pixels, self.models, self.channel, self.landmarks)

    def moved(self, offsets: Mapping[Preprocess, Tensor]) -> "ModelInputs":
        """Add (B,3,h,w) offsets to canvases, by their `resize_key`; gradients reach the same pixels."""
        moved = copy(self)
        moved._canvases = {
            key: (canvas.detach() + offsets[key]).requires_grad_() if key in offsets else canvas
            for key, canvas in self._canvases.items()
        }
        return moved


class WrittenInputs:
    """8-bit photos as inputs of one model, without float copies of the photos.

    It takes the place of `ModelInputs` for gradients at the photos' own size, channel by channel.

    Args:
        pixels: (B,C,H,W) uint8.
        model: the model to prepare inputs for.
        landmarks: (B,5,2) in pixels of the photos, for a model that aligns faces; None to detect them.
    """

    def __init__(self, pixels: Tensor, model: Classifier, landmarks: Tensor | None = None) -> None:
        self.pixels = pixels
        self.landmarks = main_faces(pixels) if model.aligns and landmarks is None else landmarks
        self._canvas = self._read(model, pixels).detach().requires_grad_()

    def canvas(self, model: Classifier) -> Tensor:  # noqa: ARG002
        """See `ModelInputs`."""
        return self._canvas

    def to_pixels(self, model: Classifier, gradient: Tensor) -> Tensor:
        """See `ModelInputs`."""
        return channelwise_gradient(lambda channel: self._read(model, channel), self.pixels, gradient)

    def _read(self, model: Classifier, pixels: Tensor) -> Tensor:
        return model.card.preprocess.canvas(pixels, self.landmarks)


def find_landmarks(models: Sequence[Classifier], originals: Tensor) -> Tensor | None:
    """Detect the (B,5,2) landmarks of the largest face of each (B,C,H,W) photo; None if no model aligns faces."""
    return main_faces(originals) if any(model.aligns for model in models) else None


def jitter_landmarks(landmarks: Tensor | None, generators: Sequence[Generator]) -> Tensor | None:
    """Move (B,5,2) landmarks, on the CPU, at random: on a changed photo the detector errs by a pixel or two.

    Args:
        generators: one for each photo, on the CPU.
    """
    if landmarks is None:
        return None
    eyes = (landmarks[:, 1] - landmarks[:, 0]).norm(dim=1).view(-1, 1, 1)
    noise = torch.stack([torch.randn(5, 2, generator=generator) for generator in generators])
    jittered: Tensor = landmarks + LANDMARK_JITTER * eyes * noise
    return jittered


def normalize_gradient(gradient: Tensor) -> Tensor:
    """Divide the gradient of each photo by its mean magnitude; a gradient of zero stays zero."""
    magnitude = gradient.abs().flatten(1).mean(1).view(-1, 1, 1, 1)
    return gradient / magnitude.clamp_min(torch.finfo(gradient.dtype).tiny)
