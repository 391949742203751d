"""Objectives that average gradients over random neighbors of a photo: OPS and MEF."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from onlymymodel.protect.attack.batch import AttackBatch, Rows
from onlymymodel.protect.attack.losses import Loss
from onlymymodel.protect.attack.model_inputs import ModelInputs, normalize_gradient
from onlymymodel.protect.attack.objective import EnsembleObjective
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.device_copy import to_device


class NeighborhoodObjective(EnsembleObjective):
    """OPS (Guo et al., CVPR 2025): mean gradient at random neighbors of the photo, each seen through one view.

    A neighbor is the photo plus uniform noise, whose radius is drawn from `RADII` in epsilons. Settings of the paper:
    beta 2 times ratios of 0.25 to 1.5, 10 neighbors that are each seen through 20 operators. Here there are `copies`
    neighbors, each seen through one draw of the recipe's views, so that the number of passes is bounded; and epsilon is
    that of the budget's other bounds where they are tighter, see `Budget.step_size`.
    """

    RADII = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)

    def __init__(
        self, surrogates: Sequence[Classifier], losses: Sequence[Loss], recipe: Recipe, batch: AttackBatch
    ) -> None:
        super().__init__(surrogates, losses, replace(recipe, copies=1), batch)
        self.neighbors, self.shape, self.device = recipe.copies, batch.originals.shape[1:], batch.originals.device
        self.epsilons = to_device(batch.budget.step_sizes.to(batch.originals.dtype), self.device)

    def gradient(self, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        total = torch.zeros_like(inputs.pixels)
        max_confidence = torch.zeros(len(rows), device=total.device)
        for number in range(self.neighbors):
            neighbor = inputs.pixels.detach() + self.epsilons[rows.index] * self._offset(number, rows, generators)
            gradient, confidence = super().gradient(inputs.at(neighbor), rows, generators)
            self._remember(number, rows, gradient)
            total += gradient
            max_confidence = torch.maximum(max_confidence, confidence)
        return total / self.neighbors, max_confidence

    def _offset(self, number: int, rows: Rows, generators: Sequence[Generator]) -> Tensor:  # noqa: ARG002
        """Return the (B,C,H,W) way from the photos to one of their neighbors, in epsilons."""
        choices = torch.cat([torch.randint(len(self.RADII), (1,), generator=generator) for generator in generators])
        radii = torch.tensor(self.RADII)[choices].view(-1, 1, 1, 1)
        return to_device(radii * self._noise(generators), self.device)

    def _remember(self, number: int, rows: Rows, gradient: Tensor) -> None:
        """Take note of the gradient at a neighbor."""

    def _noise(self, generators: Sequence[Generator]) -> Tensor:
        """Draw (B,C,H,W) uniform noise from -1 to 1 on the CPU."""
        return torch.stack([torch.rand(self.shape, generator=generator) for generator in generators]) * 2 - 1


class FlatnessObjective(NeighborhoodObjective):
    """MEF (Qiu et al., arXiv 2405.16181): mean gradient at neighbors that earlier gradients have moved.

    Each of the `copies` neighbors is the photo plus uniform noise of up to 2 epsilon, plus 0.15 epsilon times a
    direction that begins at zero: after each step it is the neighbor's normalized gradient, less 0.9 times the
    direction before. The paper takes 20 neighbors.
    """

    RADIUS, SHARE, DECAY = 2.0, 0.15, 0.9

    def __init__(
        self, surrogates: Sequence[Classifier], losses: Sequence[Loss], recipe: Recipe, batch: AttackBatch
    ) -> None:
        super().__init__(surrogates, losses, recipe, batch)
        self.directions = [torch.zeros_like(batch.originals) for _ in range(self.neighbors)]

    def _offset(self, number: int, rows: Rows, generators: Sequence[Generator]) -> Tensor:
        noise = to_device(self.RADIUS * self._noise(generators), self.device)
        return noise + self.SHARE * self.directions[number][rows.index]

    def _remember(self, number: int, rows: Rows, gradient: Tensor) -> None:
        direction = self.directions[number]
        direction[rows.index] = normalize_gradient(gradient) - self.DECAY * direction[rows.index]
