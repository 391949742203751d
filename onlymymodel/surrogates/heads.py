"""Heads: what an embedding of a photo is compared with, and which outputs of a network count.

`gallery` compares an embedding with photos of people, `WordsHead` with texts, and `SelfHead` with the photo's own
original; all give scaled cosines. `ChosenOutputs` is for models of attributes.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.gallery import SCALE

EMBEDDING = "embedding"  # the task of an embedder that is compared with originals
SELF_THRESHOLD = 0.5  # cosine to the original below which a photo is no longer found to be it
ORIGINAL, ANOTHER = 0, 1  # the two answers of an embedder that is shown a photo and its original


class WordsHead(nn.Module):
    """Logits of a text for each class: scaled cosines, as in zero-shot classification (Radford et al., ICML 2021).

    Maps (B,3,height,width) network input to (B,classes) logits.

    Args:
        embedder: the image tower, which gives (B,D) embeddings of any length.
        texts: (classes,D) embeddings of the texts, each normalized to length 1.
        scale: the model's own, `exp(logit_scale)`.
    """

    texts: Tensor

    def __init__(self, embedder: nn.Module, texts: Tensor, scale: float) -> None:
        super().__init__()
        self.embedder, self.scale = embedder, scale
        self.register_buffer("texts", texts)

    def forward(self, network_input: Tensor) -> Tensor:
        return self.scale * F.normalize(self.embedder(network_input).flatten(1), dim=1) @ self.texts.T


class ChosenOutputs(nn.Module):
    """Some of a network's outputs: maps (B,3,height,width) network input to (B,chosen).

    Args:
        network: gives (B,outputs).
        indices: of the chosen outputs.
    """

    def __init__(self, network: nn.Module, indices: Sequence[int]) -> None:
        super().__init__()
        self.network, self.indices = network, list(indices)

    def forward(self, network_input: Tensor) -> Tensor:
        out: Tensor = self.network(network_input)
        return out[:, self.indices]


class SelfHead(nn.Module):
    """Embeddings of length 1: maps (B,3,height,width) network input to (B,D).

    Args:
        embedder: gives embeddings of any length.
    """

    def __init__(self, embedder: nn.Module) -> None:
        super().__init__()
        self.embedder = embedder

    def forward(self, network_input: Tensor) -> Tensor:
        return F.normalize(self.embedder(network_input).flatten(1), dim=1)


def words_sha256(names: Sequence[str], template: str) -> str:
    """Return the sha256 over the class names and the template that make the texts of a `WordsHead`."""
    return hashlib.sha256(json.dumps([template, *names]).encode()).hexdigest()


class Look(NamedTuple):
    """A photo as a model is shown it.

    Attributes:
        pixels: (B,C,H,W), see `Classifier.forward`.
        landmarks: (B,5,2) of the face, for a model that aligns faces; detected if None.
    """

    pixels: Tensor
    landmarks: Tensor | None = None


def answer_logits(model: Classifier, look: Look, original: Look | None = None) -> Tensor:
    """Return the logits of a model's answers to photos.

    An embedder without people or words is asked whether it finds the original: its answers are `ORIGINAL`, whose logit
    is the scaled cosine of the two embeddings, and `ANOTHER`, whose logit is the scaled threshold.

    Args:
        model: any.
        look: the photos.
        original: their originals; None where the photos are originals themselves.

    Returns:
        (B,classes) logits, (B,2) of an embedder.
    """
    out = model.at(*look)
    if model.card.threshold is None:
        return out
    return original_logits(out, out if original is None else model.at(*original), model.card.threshold)


def original_logits(embeddings: Tensor, originals: Tensor, threshold: float) -> Tensor:
    """Return the (B,2) logits of `ORIGINAL` and `ANOTHER` from two (B,D) embeddings of length 1."""
    cosines = (embeddings * originals).sum(1)
    return SCALE * torch.stack([cosines, torch.full_like(cosines, threshold)], dim=1)
