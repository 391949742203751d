"""SVRE (Xiong et al., CVPR 2022): an ensemble gradient with reduced variance."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from onlymymodel.protect.attack.batch import AttackBatch, Rows
from onlymymodel.protect.attack.losses import Loss
from onlymymodel.protect.attack.model_inputs import ModelInputs, normalize_gradient
from onlymymodel.protect.attack.objective import EnsembleObjective
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.device_copy import to_device


class VarianceReducedObjective(EnsembleObjective):
    """Momentum of corrected gradients of one random surrogate at a time (algorithm 1 of the paper).

    Inner steps walk inside the budget. Each gradient is corrected by the gradients of that surrogate and of the whole
    ensemble at the start, and divided by its mean magnitude.

    Official settings: 4 inner steps for each surrogate, of the outer step's size, inner momentum 1. The order of the
    surrogates is drawn from the recipe's seed and is the same for all photos, so that no photo depends on its batch.
    """

    ROUNDS = 4

    def __init__(
        self, surrogates: Sequence[Classifier], losses: Sequence[Loss], recipe: Recipe, batch: AttackBatch
    ) -> None:
        super().__init__(surrogates, losses, recipe, batch)
        self.originals, self.budget = batch.originals, batch.budget
        step_sizes = recipe.step_share * batch.budget.step_sizes
        self.step_sizes = to_device(step_sizes.to(batch.originals.dtype), batch.originals.device)
        self.order = Generator().manual_seed(recipe.seed)

    def gradient(self, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
        """See `Objective`; the sum of the corrected and normalized gradients of the inner steps."""
        ensemble, max_confidence = super().gradient(inputs, rows, generators)
        at_start = [self._of_one(index, inputs, rows, generators) for index in range(len(self.surrogates))]
        step_sizes = self.step_sizes[rows.index]
        originals, inner, total = self.originals[rows.index], inputs.pixels.detach(), torch.zeros_like(ensemble)
        for index in torch.randint(len(at_start), (self.ROUNDS * len(at_start),), generator=self.order).tolist():
            gradient = self._of_one(index, inputs.at(inner), rows, generators)
            total = total + normalize_gradient(gradient - (at_start[index] - ensemble))
            inner = originals + self.budget.project(inner + step_sizes * total.sign() - originals, rows.numbers)
        return total, max_confidence

    def _of_one(self, index: int, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]) -> Tensor:
        """Return the gradient of one surrogate's own loss with respect to the pixels."""
        ((_, gradient),) = self._of_group([index], inputs, rows, generators)[0].items()
        return inputs.to_pixels(self.surrogates[index], gradient)
