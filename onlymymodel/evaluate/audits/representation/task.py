"""The task that a representation serves: one class of several, or the answers to several yes-or-no questions."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from onlymymodel.evaluate.attribute_scores import correlate
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.surrogates.answers import attribute_codes, attribute_losses, attribute_signs


@dataclass(frozen=True)
class Task:
    """Classes, or attributes, whose labels are codes as in `data.attributes`.

    Attributes:
        outputs: number of classes, or of attributes.
        attributes: their names; empty for classes.
    """

    outputs: int
    attributes: tuple[str, ...] = ()

    @classmethod
    def of(cls, pictures: Pictures) -> "Task":
        """Return the task of some pictures."""
        return cls(pictures.classes, pictures.attributes)

    @property
    def largest_label(self) -> int:
        """Return the largest label that there can be."""
        return (1 << self.outputs) - 1 if self.attributes else self.outputs - 1

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of (B,outputs) logits, of attributes the mean of the binary ones."""
        if not self.attributes:
            return F.cross_entropy(logits, labels)
        return attribute_losses(logits, labels).mean()

    def answers(self, logits: Tensor) -> Tensor:
        """Return the (B,) labels that (B,outputs) logits mean."""
        return attribute_codes(logits) if self.attributes else logits.argmax(1)

    def right(self, labels: Tensor, answers: Tensor) -> Tensor:
        """Return whether each of (B,) answers is right: 0 or 1, or the share of the attributes; (B,) doubles."""
        if not self.attributes:
            return (labels == answers).double()
        agree = attribute_signs(labels, self.outputs) == attribute_signs(answers, self.outputs)
        return agree.double().mean(1)

    def by_chance(self, labels: Tensor) -> float:
        """Return the accuracy of always answering the most common class of (B,) labels, or value of each attribute."""
        if not self.attributes:
            return labels.bincount().max().item() / len(labels)
        present = (attribute_signs(labels, self.outputs) > 0).double().mean(0)
        return torch.maximum(present, 1 - present).mean().item()

    def correlation(self, labels: Tensor, answers: Tensor) -> float | None:
        """Return the Matthews correlation coefficient, of attributes the mean; None where it is undefined."""
        if self.attributes:
            return correlate(labels.tolist(), answers.tolist(), self.outputs).mean
        from sklearn.metrics import matthews_corrcoef

        several = len({*labels.tolist(), *answers.tolist()}) > 1
        return float(matthews_corrcoef(labels.tolist(), answers.tolist())) if several else None
