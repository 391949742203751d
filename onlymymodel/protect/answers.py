"""What every model says of a photo, and of one face on it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from onlymymodel.protect.context import Context
from onlymymodel.protect.guard import margin
from onlymymodel.protect.lattice import from_lattice


@dataclass(frozen=True)
class Answers:
    """What every model says of one photo: the authorized model's answer and margin, each surrogate's answer."""

    authorized: int
    margin: float
    surrogates: tuple[int, ...]


@torch.inference_mode()
def look_at(pixels: Tensor, label: int | None, context: Context) -> Answers:
    """What every model says of one (C,H,W) uint8 photo; the margin is at the label, or at the answer if None."""
    photo = from_lattice(pixels)[None]
    answer, at_label = _authorized(context.authorized(photo), label)
    return Answers(answer, at_label, tuple(int(model(photo).argmax(1)) for model in context.surrogates))


@torch.inference_mode()
def look_at_face(pixels: Tensor, landmarks: Tensor, label: int | None, whole: Answers, context: Context) -> Answers:
    """What the models that align faces say of the one at `landmarks`, (5,2), on one (C,H,W) uint8 photo.

    Args:
        label: at which the authorized margin is; its own answer if None.
        whole: what all models say of the photo; models that do not align say no more of a face.
    """
    photo, at = from_lattice(pixels)[None], landmarks[None]
    answer, at_label = whole.authorized, whole.margin
    if context.authorized.aligns:
        answer, at_label = _authorized(context.authorized.at(photo, at), label)
    others = tuple(
        int(model.at(photo, at).argmax(1)) if model.aligns else said
        for model, said in zip(context.surrogates, whole.surrogates, strict=True)
    )
    return Answers(answer, at_label, others)


def _authorized(logits: Tensor, label: int | None) -> tuple[int, float]:
    answer = int(logits.argmax(1))
    at = torch.tensor([answer if label is None else label], device=logits.device)
    return answer, float(margin(logits, at))
