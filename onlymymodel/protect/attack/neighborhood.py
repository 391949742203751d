"""Objectives that average gradients over random neighbors of a photo: OPS and MEF."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from onlymymodel.protect.attack.batch import AttackBatch, Rows
from onlymymodel.protect.attack.losses import Loss
from onlymymodel.protect.attack.model_inputs import ModelInputs, normalize_gradient
from onlymymodel.protect.attack.objective import CanvasGradients, EnsembleObjective, add_gradients
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.surrogates.classifier import Classifier, Preprocess
from onlymymodel.surrogates.device_copy import to_device

CanvasOffsets = dict[Preprocess, Tensor]  # (B,3,h,w) each


class NeighborhoodObjective(EnsembleObjective):
    """OPS (Guo et al., CVPR 2025): mean gradient at random neighbors of the photo, each seen through one view.

    A neighbor is the resized photo plus uniform noise, whose radius is drawn from `RADII` in epsilons. As in the
    authors' code the noise is added at the size that the networks read, so that no resizing weakens it, and the sum may
    leave [0,1]. Settings of the paper: beta 2 times ratios of 0.25 to 1.5, 10 neighbors that are each seen through 20
    operators. Here there are `copies` neighbors, each seen through one draw of the recipe's views, so that the number
    of passes is bounded; epsilon is that of the budget's other bounds where they are tighter, see `Budget.step_size`.
    """

    RADII = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)

    def __init__(
        self, surrogates: Sequence[Classifier], losses: Sequence[Loss], recipe: Recipe, batch: AttackBatch
    ) -> None:
        super().__init__(surrogates, losses, replace(recipe, copies=1), batch)
        self.neighbors, self.device = recipe.copies, batch.originals.device
        epsilons = to_device(batch.budget.step_sizes.to(batch.originals.dtype), self.device)
        even = epsilons.shape[-2:] == (1, 1)
        self.epsilons = {key: epsilons if even else key.canvas(epsilons, batch.landmarks) for key in self.readers}

    def _on_canvases(
        self, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]
    ) -> tuple[CanvasGradients, Tensor]:
        """Average the sums of gradients over the neighbors, see `EnsembleObjective`."""
        totals: CanvasGradients = {}
        max_confidence = torch.zeros(len(rows), device=self.device)
        for number in range(self.neighbors):
            offsets = self._offsets(number, inputs, rows, generators)
            moved = inputs.moved({key: self.epsilons[key][rows.index] * offset for key, offset in offsets.items()})
            gradients, confidence = super()._on_canvases(moved, rows, generators)
            self._remember(number, rows, gradients)
            add_gradients(totals, gradients)
            max_confidence = torch.maximum(max_confidence, confidence)
        return {key: total / self.neighbors for key, total in totals.items()}, max_confidence

    def _offsets(
        self,
        number: int,  # noqa: ARG002
        inputs: ModelInputs,
        rows: Rows,  # noqa: ARG002
        generators: Sequence[Generator],
    ) -> CanvasOffsets:
        """Return the way from the photos to one of their neighbors, in epsilons."""
        choices = torch.cat([torch.randint(len(self.RADII), (1,), generator=generator) for generator in generators])
        radii = to_device(torch.tensor(self.RADII)[choices].view(-1, 1, 1, 1), self.device)
        return {key: radii * noise for key, noise in self._noise(inputs, generators).items()}

    def _remember(self, number: int, rows: Rows, gradients: CanvasGradients) -> None:
        """Take note of the gradients at a neighbor."""

    def _noise(self, inputs: ModelInputs, generators: Sequence[Generator]) -> CanvasOffsets:
        """Draw uniform noise from -1 to 1 for each canvas."""
        shapes = {key: inputs.canvas(model).shape[1:] for key, model in self.readers.items()}
        drawn = {
            key: torch.stack([torch.rand(shape, generator=generator) for generator in generators])
            for key, shape in shapes.items()
        }
        return {key: to_device(values * 2 - 1, self.device) for key, values in drawn.items()}


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
        size = batch.originals.shape[-2:]
        self.directions = [
            {key: torch.zeros(len(batch), 3, *key.canvas_size(*size), device=self.device) for key in self.readers}
            for _ in range(self.neighbors)
        ]

    def _offsets(self, number: int, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]) -> CanvasOffsets:
        return {
            key: self.RADIUS * noise + self.SHARE * self.directions[number][key][rows.index]
            for key, noise in self._noise(inputs, generators).items()
        }

    def _remember(self, number: int, rows: Rows, gradients: CanvasGradients) -> None:
        for key, direction in self.directions[number].items():
            direction[rows.index] = normalize_gradient(gradients[key]) - self.DECAY * direction[rows.index]
