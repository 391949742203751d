"""Answers of models as one number: a class index, or the code of the attributes that are there.

A model of the task `attributes` has a binary logit for each attribute: it is there where the logit is positive (the
sigmoid above 0.5). See `data.attributes` for codes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from onlymymodel.data.attributes import decode, encode
from onlymymodel.surrogates.model_card import ModelCard


def answers(card: ModelCard, logits: Tensor) -> Tensor:
    """Return the (B,) long answers that (B,classes) logits mean."""
    if card.kind != "attributes":
        return logits.argmax(1)
    return attribute_codes(logits)


def answer_of(card: ModelCard, scores: NDArray[np.float32]) -> int:
    """Return the answer that (classes,) scores mean."""
    return encode((scores > 0).tolist()) if card.kind == "attributes" else int(scores.argmax())


def scores_of(card: ModelCard, answer: int) -> NDArray[np.float32]:
    """Return (classes,) scores that mean an answer: 1 at its class and 0 elsewhere, or 1 and -1 for attributes."""
    if card.kind == "attributes":
        return np.array(decode(answer, card.classes), np.float32) * 2 - 1
    scores = np.zeros(card.classes, np.float32)
    scores[answer] = 1
    return scores


def attribute_codes(logits: Tensor) -> Tensor:
    """Return the (B,) long codes of the attributes that (B,count) logits say are there."""
    bits = 1 << torch.arange(logits.shape[1], device=logits.device)
    return ((logits > 0).long() * bits).sum(1)


def attribute_losses(logits: Tensor, codes: Tensor) -> Tensor:
    """Compute the (B,count) binary cross-entropies of (B,count) logits at (B,) codes."""
    return F.softplus(-attribute_signs(codes, logits.shape[1]) * logits)


def attribute_signs(codes: Tensor, count: int) -> Tensor:
    """Return (B,count) floats of (B,) codes: 1 where an attribute is there, -1 where not."""
    bits = codes[:, None] >> torch.arange(count, device=codes.device) & 1
    return bits.float() * 2 - 1


def answer_loss(card: ModelCard, logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the (B,) cross-entropies of (B,classes) logits at (B,) answers; of attributes the sums of binary ones."""
    if card.kind != "attributes":
        return F.cross_entropy(logits, labels, reduction="none")
    return attribute_losses(logits, labels).sum(1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the logit of the label minus the largest other logit; positive where the prediction is right.

    Args:
        logits: (B,C).
        labels: (B,) long.
    """
    label_logit = logits.gather(1, labels[:, None])[:, 0]
    other_logits = logits.scatter(1, labels[:, None], -torch.inf)
    return label_logit - other_logits.amax(1)


def kept_margins(card: ModelCard, logits: Tensor, labels: Tensor) -> Tensor:
    """Compute by how much the authorized model keeps its answers; positive where it does.

    It is `margin`; of attributes the least over all of them of the logit with the sign that the answer gives it.

    Args:
        card: of the authorized model.
        logits: (B,classes).
        labels: (B,) long, the answers to keep.

    Returns:
        (B,) in logits.
    """
    if card.kind != "attributes":
        return margin(logits, labels)
    return (attribute_signs(labels, card.classes) * logits).amin(1)


def reading_margins(card: ModelCard, logits: Tensor, labels: Tensor) -> Tensor:
    """Compute by how much surrogates still read photos; positive where they do.

    It is `margin`; a model of attributes reads a photo, by our own rule, as long as it gives more than half of the
    attributes right, so that the margin is that of the attribute which decides about this.

    Args:
        card: of the surrogate.
        logits: (B,classes).
        labels: (B,) long, the answers that the attack pushes away from.

    Returns:
        (B,) in logits.
    """
    if card.kind != "attributes":
        return margin(logits, labels)
    signed = attribute_signs(labels, card.classes) * logits
    return signed.sort(1, descending=True).values[:, card.classes // 2]
