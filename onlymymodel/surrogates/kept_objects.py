"""Objects that an authorized detector has to keep: those that it finds in the original, and their margins."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from onlymymodel.surrogates.answers import kept_margins
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.detector import Detections, Detector, detector_of, score_logits
from onlymymodel.surrogates.object_matches import count_found, scores_at

DIGITS = 5  # of boxes in shares of the input, so that a record holds them exactly

Objects = Sequence[Detections] | None  # of each photo of a batch; None for a model that is no detector


@torch.no_grad()
def kept_objects(model: Classifier, pixels: Tensor) -> Detections | None:
    """Return the objects that an authorized detector has to keep: all that it finds, of the classes of `keep=`.

    Args:
        model: the authorized model.
        pixels: (C,H,W) of the original, in [0,1] or uint8.

    Returns:
        The objects, the most certain first; None for a model that is no detector.
    """
    if model.card.kind != "detector":
        return None
    found = _detect(model, pixels[None])
    return replace(found, boxes=(found.boxes.double() * 10**DIGITS).round() / 10**DIGITS)


def crop_margins(model: Classifier, crop: Tensor, labels: Tensor, objects: Objects = None) -> Tensor:
    """Compute by how much the authorized model keeps photos; positive where it does.

    Args:
        model: the authorized model.
        crop: (B,3,height,width) network input in [0,1].
        labels: (B,) long, the answers to keep.
        objects: those to keep in each photo, for a detector.

    Returns:
        (B,) in logits: `object_margins` of a detector, `kept_margins` of any other model.
    """
    if objects is None:
        return kept_margins(model.card, model.logits(crop).float(), labels)
    return object_margins(detector_of(model), model.normalize(crop), objects)


def object_margins(detector: Detector, network_input: Tensor, objects: Sequence[Detections]) -> Tensor:
    """Compute by how much a detector still finds the objects of the originals.

    With the logit l(s) = log(s / (1 - s)) and the score from which an object counts as found, t, the margin of a photo
    is, over the objects o of its original and the candidates b whose IoU with o is 0.5 or more,

        min over o of  l(max over b of the score of o's class)  -  l(t).

    It is positive where each object has a candidate of its class at its place that counts as found. This is our reading
    of an object that is still found; candidates are those before non-maximum suppression, and gradients go through
    their scores alone. A photo without objects has the margin of `nothing`, l(t) less the logit of the largest score of
    the classes that are kept: a detector that found nothing is not to find something.

    Args:
        detector: with its candidates.
        network_input: (B,3,height,width).
        objects: of the original of each photo.

    Returns:
        (B,) in logits.
    """
    boxes, scores = detector.candidates(network_input)
    logits = detector.presence(scores)
    margins = []
    for index, kept in enumerate(objects):
        if len(kept):
            least = score_logits(scores_at(kept, boxes[index], scores[index])).amin() - logits[index, -1]
        else:
            least = logits[index, -1] - logits[index, :-1].amax()
        margins.append(least + 0 * network_input[index].sum())  # a gradient, of zero, where no candidate is left
    return torch.stack(margins)


def kept_answer(model: Classifier, pixels: Tensor, objects: Detections) -> int:
    """Return the answer of an authorized detector to a photo, from what it finds by its own suppression.

    It is the class of the most certain object of the original, if each object of the original is found again, and
    `nothing` if one is lost. Where the original has no objects it is the class of what is found, or `nothing`.

    Args:
        model: the detector.
        pixels: (1,C,H,W).
        objects: those of the original.
    """
    return answer_of_objects(objects, _detect(model, pixels), model.card.classes - 1)


def answer_of_objects(objects: Detections, found: Detections, nothing: int) -> int:
    """Return the answer of `kept_answer` from the objects of the original and what is found now."""
    if count_found(objects, found) < len(objects):
        return nothing
    return (objects if len(objects) else found).answer(nothing)


def _detect(model: Classifier, pixels: Tensor) -> Detections:
    """Return what a detector finds in one (1,C,H,W) photo."""
    return detector_of(model).detect(model.network_input(pixels))[0]
