"""Predictions of every model on a photo, and on one face of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from onlymymodel.protect.context import Context
from onlymymodel.surrogates.answers import answers, kept_margins
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.detector import Detections, detector_of
from onlymymodel.surrogates.heads import Look, answer_logits
from onlymymodel.surrogates.kept_objects import kept_answer, object_margins


@dataclass(frozen=True)
class Predictions:
    """Predictions of every model on one photo.

    Attributes:
        authorized: answer of the authorized model, see `answers`, and `kept_answer` of a detector.
        margin: by how much it keeps the label, see `crop_margins`.
        surrogates: answer of each surrogate, see `answer_logits`.
    """

    authorized: int
    margin: float
    surrogates: tuple[int, ...]


@torch.inference_mode()
def predict_photo(
    pixels: Tensor,
    label: int | None,
    context: Context,
    original: Tensor | None = None,
    objects: Detections | None = None,
) -> Predictions:
    """Predict the class of one photo with every model.

    Args:
        pixels: (C,H,W) uint8 pixels of the photo.
        label: answer whose margin is computed; the authorized model's own if None.
        context: the models.
        original: (C,H,W) uint8 pixels of its original, beside which embedders are asked; None for the original itself.
        objects: those of the original that the authorized model has to keep, if it is a detector.
    """
    photo, beside = pixels[None], None if original is None else Look(original[None])
    answer, label_margin = _answer_and_margin(context.authorized, Look(photo), label, objects)
    surrogates = tuple(_answer(model, Look(photo), beside) for model in context.surrogates)
    return Predictions(answer, label_margin, surrogates)


@torch.inference_mode()
def predict_face(
    pixels: Tensor,
    landmarks: Tensor,
    label: int | None,
    photo_predictions: Predictions,
    context: Context,
    original: Look | None = None,
) -> Predictions:
    """Predict the class of one face with every model that aligns faces.

    Args:
        pixels: (C,H,W) uint8 pixels of the photo.
        landmarks: (5,2) points (x, y) of the face, in pixels of the photo.
        label: class index whose margin is computed; the authorized model's own answer if None.
        photo_predictions: predictions on the photo, which are returned for the models that do not align faces.
        context: the models.
        original: the face in the original, beside which embedders are asked; None for the original itself.
    """
    look = Look(pixels[None], landmarks[None])
    answer, label_margin = photo_predictions.authorized, photo_predictions.margin
    if context.authorized.aligns:
        answer, label_margin = _answer_and_margin(context.authorized, look, label)
    surrogates = tuple(
        _answer(model, look, original) if model.aligns else on_photo
        for model, on_photo in zip(context.surrogates, photo_predictions.surrogates, strict=True)
    )
    return Predictions(answer, label_margin, surrogates)


def _answer(model: Classifier, look: Look, original: Look | None) -> int:
    return int(answers(model.card, answer_logits(model, look, original)))


def _answer_and_margin(
    model: Classifier, look: Look, label: int | None, objects: Detections | None = None
) -> tuple[int, float]:
    if objects is not None:
        margins = object_margins(detector_of(model), model.network_input(look.pixels), [objects])
        return kept_answer(model, look.pixels, objects), float(margins)
    logits = model.at(*look)
    answer = int(answers(model.card, logits))
    labels = torch.tensor([answer if label is None else label], device=logits.device)
    return answer, float(kept_margins(model.card, logits, labels))
