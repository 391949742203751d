"""The loss of a model of attributes as a surrogate."""

from typing import Self

from torch import Tensor

from onlymymodel.protect.attack.batch import AttackBatch, SurrogateTargets
from onlymymodel.protect.attack.losses import LossOutput
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.surrogates.answers import answer_loss, attribute_signs
from onlymymodel.surrogates.classifier import Classifier


class AttributeEntropy:
    """Sum of the binary cross-entropies of all attributes at the answers to leave.

    Args:
        codes: (photos,) long, the answers to leave: those of the model itself to the clean photos, with the attributes
            that the labels have in their place.
    """

    def __init__(self, model: Classifier, codes: Tensor) -> None:
        self.model, self.codes = model, codes

    @classmethod
    def for_surrogate(cls, model: Classifier, targets: SurrogateTargets, batch: AttackBatch, recipe: Recipe) -> Self:  # noqa: ARG003
        """See `Loss`."""
        return cls(model, targets.classes)

    def __call__(self, crop: Tensor, rows: Tensor) -> LossOutput:
        """See `Loss`; the confidence is the largest probability of an answer to leave."""
        card, codes = self.model.card, self.codes[rows]
        logits = self.model.logits(crop).float()
        confidence = (attribute_signs(codes, card.classes) * logits.detach()).sigmoid().amax(1)
        return LossOutput(answer_loss(card, logits, codes), confidence)
