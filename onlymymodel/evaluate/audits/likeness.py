"""How alike a reconstruction and a picture are to a network: perceptual distance, identity."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.similarity import to_picture
from onlymymodel.protect.perceptual import lpips
from onlymymodel.protect.representation_networks import Features
from onlymymodel.surrogates.classifier import Classifier

JUDGE = "identity-inception"  # bundled; not the network of the training's perceptual loss
ALEXNET = "alexnet-owt-7be5be79.pth"


@dataclass(frozen=True)
class Likeness:
    """Perceptual distance by LPIPS where it is at hand, else by a bundled network; identity by a face embedder.

    Attributes:
        embedder: a classifier of people; what its last linear layer gets is the embedding.
        center: (1,d) embedding of no one in particular, subtracted first, so that two people have a cosine near 0.
    """

    embedder: Classifier
    center: Tensor
    by_lpips: bool = field(default_factory=lambda: lpips_at_hand())

    @classmethod
    def around(cls, embedder: Classifier, public: Tensor) -> "Likeness":
        """With the mean embedding of public pictures (N,C,S,S) as the center.

        Raises:
            UserError: the embedder has no linear layer.
        """
        return cls(embedder, embeddings(embedder, public).mean(0, keepdim=True))

    def assumptions(self) -> list[str]:
        """What the figures are."""
        perceptual = "LPIPS (AlexNet, version 0.1)" if self.by_lpips else self._features.name
        return [
            f"perceptual distance: {perceptual}",
            f"identity_cosine: of embeddings by {self.embedder.card.uri}, less their mean over the public pictures",
        ]

    def perceptual(self, first: Tensor, second: Tensor) -> Tensor:
        """(B,) distance of two (B,C,S,S) batches in [0,1]; 0 is equal."""
        if self.by_lpips:
            pairs = zip(first, second, strict=True)
            return torch.tensor([lpips(to_picture(a, 64).numpy(), to_picture(b, 64).numpy()) for a, b in pairs])
        with torch.no_grad():
            parts = zip(torch.split(first, 256), torch.split(second, 256), strict=True)
            return torch.cat([self._features.distance(a, b) for a, b in parts])

    def identity_cosine(self, first: Tensor, second: Tensor) -> Tensor:
        """(B,) cosine of the centered embeddings of two (B,C,S,S) batches in [0,1]."""
        one, other = (embeddings(self.embedder, batch) - self.center for batch in (first, second))
        return F.cosine_similarity(one, other)

    @cached_property
    def _features(self) -> Features:
        return Features(JUDGE)


@torch.no_grad()
def embeddings(model: Classifier, pixels: Tensor) -> Tensor:
    """(N,C,S,S) in [0,1] -> (N,d), what the last linear layer of a classifier gets.

    Raises:
        UserError: it has none.
    """
    layers = [module for module in model.net.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise UserError(f"{model.card.uri} has no linear layer: it cannot tell how alike two faces are")
    taken: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda _module, inputs: taken.append(inputs[0].flatten(1)))
    try:
        for part in torch.split(pixels, 256):
            model(part)
    finally:
        handle.remove()
    return torch.cat(taken)


def lpips_at_hand() -> bool:
    """Whether LPIPS is installed and AlexNet's weights lie in torch's cache: no audit downloads them by itself."""
    from importlib.util import find_spec

    return find_spec("lpips") is not None and Path(torch.hub.get_dir(), "checkpoints", ALEXNET).is_file()
