"""The result of a model loader."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from onlymymodel.surrogates.model_card import Preprocess


@dataclass(frozen=True)
class Loaded:
    """A network as its loader found it, before the URI's options are applied.

    Attributes:
        net: maps normalized (B,3,height,width) float32 to logits or embeddings.
        preprocess: preprocessing of its input, by the weights' record.
        record: further fields of the `ModelCard` that the weights' record has.
        sha256: of the file that holds the weights; None where they come from no file.
        weights: their `fingerprint`, where it is not that of `net`; empty where they have none.
        features: whether `net` gives features, which are no logits: they need something to be compared with.
        assumed: options of the URI whose values in `preprocess` are defaults, not the weights' own record.
        embed_texts: of a CLIP-like model its text tower: texts to (N,D) embeddings of length 1; None without one.
        text_scale: of the cosines of photos and texts, by the weights' record.
    """

    net: nn.Module
    preprocess: Preprocess
    record: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    weights: str | None = None
    features: bool = False
    assumed: tuple[str, ...] = ()
    embed_texts: Callable[[Sequence[str]], Tensor] | None = None
    text_scale: float = 1.0
