"""The constraint that the authorized model keeps its prediction, by projection of the attack gradients."""

from collections.abc import Callable

import torch
from torch import Tensor

from onlymymodel.protect.attack.batch import Rows
from onlymymodel.protect.attack.model_inputs import ModelInputs, WrittenInputs, normalize_gradient
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.kept_objects import Objects, crop_margins


class Guard:
    """The margin of the authorized model at the label, and its gradient.

    Args:
        authorized: the model that must keep its prediction.
        labels: (photos,) long, one for each photo of the whole batch.
        objects: those that it must keep in each photo, for a detector.
    """

    def __init__(self, authorized: Classifier, labels: Tensor, objects: Objects = None) -> None:
        self.authorized = authorized
        self.labels, self.objects = labels, objects

    def margin(self, inputs: ModelInputs | WrittenInputs, rows: Rows) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Compute the margins of some photos.

        Args:
            inputs: of these photos.
            rows: which photos of the whole batch they are.

        Returns:
            (B,) margins in logits, and a function that takes a (B,) bool and returns the (B,C,H,W) gradient of the
            margins where it is true, zero elsewhere.
        """
        canvas = inputs.canvas(self.authorized)
        crop = self.authorized.card.preprocess.center(canvas)
        objects = None if self.objects is None else [self.objects[row] for row in rows.numbers]
        margins = crop_margins(self.authorized, crop, self.labels[rows.index], objects)

        def gradient_of(selected: Tensor) -> Tensor:
            (gradient,) = torch.autograd.grad(torch.where(selected, margins, 0).sum(), canvas)
            return inputs.to_pixels(self.authorized, gradient)

        return margins.detach(), gradient_of


def steer(gradient: Tensor, margin_gradient: Tensor, weight: float) -> Tensor:
    """Remove the part of an attack gradient that lowers the authorized margin, then add the margin's gradient.

    This rule is ours.

    Args:
        gradient: (B,C,H,W), of mean magnitude 1 for each photo.
        margin_gradient: (B,C,H,W); zero for photos whose margin is large enough.
        weight: of the margin's gradient, which is brought to the same magnitude.
    """
    keep = normalize_gradient(margin_gradient)
    along = (gradient * keep).flatten(1).sum(1) / keep.square().flatten(1).sum(1).clamp_min(1e-12)
    return gradient - along.clamp_max(0).view(-1, 1, 1, 1) * keep + weight * keep
