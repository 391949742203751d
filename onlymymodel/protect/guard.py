"""The constraint: the authorized model stays right. It bends every push that would mislead it."""

from collections.abc import Callable

import torch
from torch import Tensor

from onlymymodel.protect.canvas import Canvases, unit
from onlymymodel.surrogates.classifier import Classifier


class Guard:
    """The constraint: the authorized model's margin at the label, and the way to raise it."""

    def __init__(self, authorized: Classifier, labels: Tensor) -> None:
        self.authorized = authorized
        self.labels = labels

    def margin(self, canvases: Canvases, rows: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """(B,) margins in logits, and a function that gives their pixel gradient for the photos of a (B,) bool."""
        leaf = canvases.of(self.authorized)
        logits = self.authorized.logits(self.authorized.card.preprocess.center(leaf)).float()
        margins = margin(logits, self.labels[rows])

        def raise_it(which: Tensor) -> Tensor:
            (gradient,) = torch.autograd.grad(margins[which].sum(), leaf)
            return canvases.to_pixels(self.authorized, gradient)

        return margins.detach(), raise_it


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) logit of the label less the largest other logit, from (B,C) and (B,) long. Positive means read right."""
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own - others.amax(1)


def steer(push: Tensor, keep: Tensor) -> Tensor:
    """Bend a push so that it no longer lowers the authorized margin, then add twice the margin's own direction.

    Args:
        push: (B,C,H,W), mean magnitude 1 for each photo.
        keep: (B,C,H,W), gradient of the authorized margin; zero for a photo that needs no help.
    """
    keep = unit(keep)
    along = (push * keep).flatten(1).sum(1) / keep.square().flatten(1).sum(1).clamp_min(1e-12)
    return push - along.clamp_max(0).view(-1, 1, 1, 1) * keep + 2 * keep
