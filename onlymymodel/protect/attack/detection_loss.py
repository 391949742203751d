"""The loss of a detector as a surrogate: how certain it is of the objects that it finds in the original."""

from typing import Self

import torch
from torch import Tensor

from onlymymodel.protect.attack.batch import AttackBatch, SurrogateTargets
from onlymymodel.protect.attack.losses import LossOutput
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.detector import SMALLEST_SCORE, detector_of
from onlymymodel.surrogates.object_matches import scores_at


class DetectionScores:
    """Mean over the original's objects of log(1 - score), with the largest score of the object's class at its box.

    It is the binary cross-entropy of an absent object with its sign changed; the choice of candidates by overlap is
    ours. A photo without objects has the loss 0.

    Args:
        originals: (photos,C,H,W) in [0,1].
    """

    def __init__(self, model: Classifier, originals: Tensor) -> None:
        self.model, self.detector = model, detector_of(model)
        with torch.no_grad():
            self.objects = [self.detector.detect(model.network_input(photo[None]))[0] for photo in originals]

    @classmethod
    def for_surrogate(cls, model: Classifier, targets: SurrogateTargets, batch: AttackBatch, recipe: Recipe) -> Self:  # noqa: ARG003
        """See `Loss`."""
        return cls(model, batch.originals)

    def __call__(self, crop: Tensor, rows: Tensor) -> LossOutput:
        """See `Loss`; the confidence is the largest score of an object of the original."""
        boxes, scores = self.detector.candidates(self.model.normalize(crop))
        losses, confidences = [], []
        for index, row in enumerate(rows.tolist()):
            objects = self.objects[row]
            largest = scores_at(objects, boxes[index], scores[index]).clamp_max(1 - SMALLEST_SCORE)
            connected = 0 * crop[index].sum()  # a gradient, of zero, where there is no object
            losses.append(torch.log1p(-largest).sum() / max(len(objects), 1) + connected)
            confidences.append(largest.detach().max() if len(objects) else largest.new_zeros(()))
        return LossOutput(torch.stack(losses), torch.stack(confidences))
