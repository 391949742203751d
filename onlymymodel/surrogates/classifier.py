"""Classifiers: frozen networks that take pixels in [0,1]; resizing and normalization are inside."""

import torch
from torch import Tensor, nn

from onlymymodel.surrogates.model_card import ModelCard, Preprocess

__all__ = ["Classifier", "ModelCard", "Preprocess"]


class Classifier(nn.Module):
    """A frozen network with its preprocessing inside.

    Args:
        net: maps normalized (B,3,height,width) float32 to (B,classes) logits.
        card: its origin, classes and preprocessing.
        assumed: options of its URI that were neither given nor recorded, see `assumed_options`.

    The parameters are frozen: only the photo ever needs a gradient here.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, card: ModelCard, assumed: tuple[str, ...] = ()) -> None:
        super().__init__()
        for parameter in net.parameters():  # TorchScript has no `requires_grad_` of a whole network
            parameter.requires_grad_(False)
        self.net = net.eval().to(memory_format=torch.channels_last)
        self.card, self.assumed = card, assumed
        self.register_buffer("mean", torch.tensor(card.preprocess.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(card.preprocess.std).view(1, 3, 1, 1))
        self.eval()

    @property
    def aligns(self) -> bool:
        """Return whether it sees an aligned face instead of the whole photo."""
        return self.card.preprocess.fit == "align"

    def train(self, mode: bool = True) -> "Classifier":
        """Stay in eval mode: batch statistics of a protected batch must never leak into a judgment.

        Raises:
            RuntimeError: `mode` is True.
        """
        if mode:
            raise RuntimeError("a Classifier is frozen: it judges and guides, it is not trained")
        return super().train(False)

    def logits(self, crop: Tensor) -> Tensor:
        """Return (B,classes) logits of (B,3,height,width) input in [0,1] that is cut to size already."""
        out: Tensor = self.net(self.normalize(crop))
        return out

    def normalize(self, crop: Tensor) -> Tensor:
        """Return the network's own input of (B,3,height,width) input in [0,1]."""
        return ((crop - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def network_input(self, pixels: Tensor) -> Tensor:
        """Return the network's own input of (B,C,H,W) photos of any size."""
        return self.normalize(self.card.preprocess.center(self.card.preprocess.canvas(pixels)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B,classes) logits of (B,C,H,W) photos of any size.

        Args:
            pixels: float32 in [0,1], or uint8; RGB (C 3) or gray (C 1).
        """
        return self.at(pixels)

    def at(self, pixels: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Return the logits of the faces at `landmarks`, see `Preprocess.canvas`."""
        preprocess = self.card.preprocess
        return self.logits(preprocess.center(preprocess.canvas(pixels, landmarks)))
