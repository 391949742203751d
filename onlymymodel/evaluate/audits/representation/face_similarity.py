"""Similarity of a reconstruction and a picture by networks: perceptual distance and identity."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.pictures import display_picture
from onlymymodel.evaluate.audits.representation.networks import PerceptualFeatures
from onlymymodel.protect.budget.lpips import lpips, lpips_available
from onlymymodel.surrogates.classifier import Classifier

JUDGE = "identity-inception"  # bundled; not the network of the perceptual loss in training
LPIPS_SIDE = 64  # smaller pictures are enlarged towards this side


@dataclass(frozen=True)
class FaceSimilarity:
    """Perceptual distance by LPIPS if it is available, otherwise by a bundled network; identity by a face embedder.

    Attributes:
        embedder: a classifier of people; the input of its last linear layer is the embedding.
        center: (1,d) mean embedding, which is subtracted, so that two different people have a cosine near 0.
        by_lpips: whether LPIPS is used.
    """

    embedder: Classifier
    center: Tensor
    by_lpips: bool = field(default_factory=lpips_available)

    @classmethod
    def centered_on(cls, embedder: Classifier, public: Tensor) -> "FaceSimilarity":
        """Return the similarity with the mean embedding of public pictures (N,C,S,S) as its center.

        Raises:
            UserError: the embedder has no linear layer.
        """
        return cls(embedder, embeddings(embedder, public).mean(0, keepdim=True))

    def assumptions(self) -> list[str]:
        """Return the definitions of the measures."""
        perceptual = "LPIPS (AlexNet, version 0.1)" if self.by_lpips else self._features.name
        return [
            f"perceptual distance: {perceptual}",
            f"identity_cosine: of embeddings by {self.embedder.card.uri}, minus their mean over the public pictures",
        ]

    def perceptual(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the (B,) perceptual distances of two (B,C,S,S) batches in [0,1]; 0 for equal pictures."""
        if self.by_lpips:
            displayed = ([display_picture(pixels, LPIPS_SIDE) for pixels in batch] for batch in (first, second))
            return torch.tensor([lpips(a, b) for a, b in zip(*displayed, strict=True)])
        with torch.no_grad():
            parts = zip(torch.split(first, 256), torch.split(second, 256), strict=True)
            return torch.cat([self._features.distance(a, b) for a, b in parts])

    def identity_cosine(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the (B,) cosines of the centered embeddings of two (B,C,S,S) batches in [0,1]."""
        first, second = (embeddings(self.embedder, batch) - self.center for batch in (first, second))
        return F.cosine_similarity(first, second)

    @cached_property
    def _features(self) -> PerceptualFeatures:
        return PerceptualFeatures(JUDGE)


@torch.no_grad()
def embeddings(model: Classifier, pixels: Tensor) -> Tensor:
    """Return the (N,d) inputs of the last linear layer of a classifier for (N,C,S,S) pictures in [0,1].

    Raises:
        UserError: the classifier has no linear layer.
    """
    layers = [module for module in model.net.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise UserError(f"{model.card.uri} has no linear layer: it cannot be used to compare faces")
    inputs: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda _module, args: inputs.append(args[0].flatten(1)))
    try:
        for part in torch.split(pixels, 256):
            model(part.to(model.mean.device))
    finally:
        handle.remove()
    return torch.cat(inputs).cpu()
