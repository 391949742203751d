"""Objectives: the gradient that each step of the optimizer climbs."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Generator, Tensor

from onlymymodel.errors import UserError
from onlymymodel.protect.attack.batch import AttackBatch, Rows
from onlymymodel.protect.attack.features import capture_output, feature_layer
from onlymymodel.protect.attack.losses import Loss
from onlymymodel.protect.attack.model_inputs import ModelInputs, normalize_gradient
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.tables import OBJECTIVES, OWN_LOSSES, ObjectiveKind, resolve
from onlymymodel.protect.attack.views import apply_view
from onlymymodel.surrogates.answers import answer_loss
from onlymymodel.surrogates.classifier import Classifier, Preprocess
from onlymymodel.surrogates.device_copy import to_device


class Objective(Protocol):
    """A function of the photos that the optimizer increases."""

    def gradient(self, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
        """Compute the gradient with respect to the pixels of some photos.

        Args:
            inputs: of these photos.
            rows: which photos of the whole batch they are.
            generators: one for each of them.

        Returns:
            (B,C,H,W) the direction to climb, and (B,) the largest confidence of any surrogate, see `LossOutput`.
        """


class EnsembleObjective:
    """Mean over the surrogates of the (normalized) gradients of their losses, each under its own random views.

    Args:
        surrogates: at least one.
        losses: one for each surrogate.
        recipe: its `views`, `copies` and `normalize`.
        batch: the photos; a surrogate whose sign is 0 for a photo is not evaluated on it.
    """

    def __init__(
        self, surrogates: Sequence[Classifier], losses: Sequence[Loss], recipe: Recipe, batch: AttackBatch
    ) -> None:
        if not surrogates:
            raise UserError("this recipe needs at least one stand-in")
        self.surrogates, self.losses, self.recipe = surrogates, losses, recipe
        active = [(targets.signs != 0).tolist() for targets in batch.targets]  # once, so that no step waits for a GPU
        self.active = None if all(map(all, active)) else active

    def gradient(self, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
        """See `Objective`. Losses are summed over the batch, so that no photo depends on the others."""
        # models that resize in the same way share a canvas: one backward pass to the pixels for all of them
        by_canvas: dict[Preprocess, tuple[Classifier, Tensor]] = {}
        max_confidence = torch.zeros(len(rows), device=inputs.pixels.device)
        for index, model in enumerate(self.surrogates):
            gradient, confidence = self._on_canvas(index, inputs, rows, generators)
            max_confidence = torch.maximum(max_confidence, confidence)
            key = model.card.preprocess.resize_key
            by_canvas[key] = (model, by_canvas[key][1] + gradient if key in by_canvas else gradient)
        total = sum(inputs.to_pixels(model, gradient) for model, gradient in by_canvas.values())
        assert isinstance(total, Tensor)
        return total / len(self.surrogates), max_confidence

    def _on_canvas(
        self, index: int, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]
    ) -> tuple[Tensor, Tensor]:
        """Average the gradient of one surrogate over its views, with respect to its canvas; and its (B,) confidence."""
        canvas = inputs.canvas(self.surrogates[index])
        total, max_confidence = torch.zeros_like(canvas), torch.zeros(len(rows), device=canvas.device)
        selected, in_batch, selected_generators = self._select(index, rows, generators)
        if not selected_generators:
            return total, max_confidence
        for view_index in range(self.recipe.copies):
            crop = self._view(index, canvas[selected], in_batch, selected_generators, view_index)
            loss, confidence = self.losses[index](crop, in_batch)
            total += torch.autograd.grad(loss.sum(), canvas)[0]
            max_confidence[selected] = torch.maximum(max_confidence[selected], confidence)
        total /= self.recipe.copies
        return normalize_gradient(total) if self.recipe.normalize else total, max_confidence

    def _view(
        self,
        index: int,
        canvas: Tensor,
        rows: Tensor,  # noqa: ARG002
        generators: Sequence[Generator],
        view_index: int,
    ) -> Tensor:
        """Read the input of one surrogate through a random view, unless its loss needs the photo as it is.

        Args:
            index: of the surrogate.
            canvas: (B,3,h,w) in [0,1].
            rows: (B,) which photos of the whole batch these are.
            generators: one for each photo.
            view_index: number of this view among the copies of one step.

        Returns:
            (B,3,height,width), differentiable in `canvas`.
        """
        names = ("center",) if self._needs_center(index) else self.recipe.views
        return apply_view(canvas, self.surrogates[index].card.preprocess, names, generators, view_index)

    def _needs_center(self, index: int) -> bool:
        """Return whether the loss of one surrogate needs the photo as it is."""
        own = OWN_LOSSES.get(self.surrogates[index].card.kind)
        return own is not None and own.center_view

    def _select(
        self, index: int, rows: Rows, generators: Sequence[Generator]
    ) -> tuple[Tensor | slice, Tensor, Sequence[Generator]]:
        """Select the rows on which a surrogate is evaluated: among the rows, in the batch, and their generators."""
        if self.active is None:
            return slice(None), rows.index, generators
        chosen = [place for place, row in enumerate(rows.numbers) if self.active[index][row]]
        selected = to_device(torch.tensor(chosen, dtype=torch.long), rows.index.device)
        return selected, rows.index[selected], [generators[place] for place in chosen]


class VarianceReducedObjective(EnsembleObjective):
    """SVRE (Xiong et al., CVPR 2022, algorithm 1): an ensemble gradient with reduced variance.

    Inner steps use one random surrogate at a time. Each gradient is corrected by the gradients of that surrogate and of
    the whole ensemble at the start.

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
        """See `Objective`; the sum of the corrected gradients of the inner steps."""
        starts = [self._on_pixels(index, inputs, rows, generators) for index in range(len(self.surrogates))]
        at_start = [gradient for gradient, _ in starts]
        mean = torch.stack(at_start).mean(0)
        max_confidence = torch.stack([confidence for _, confidence in starts]).amax(0)
        step_sizes = self.step_sizes[rows.index]
        originals, inner, total = self.originals[rows.index], inputs.pixels.detach(), torch.zeros_like(mean)
        for index in torch.randint(len(at_start), (self.ROUNDS * len(at_start),), generator=self.order).tolist():
            gradient, _ = self._on_pixels(index, inputs.at(inner), rows, generators)
            total = total + gradient - (at_start[index] - mean)
            inner = originals + self.budget.project(inner + step_sizes * total.sign() - originals, rows.numbers)
        return total, max_confidence

    def _on_pixels(
        self, index: int, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]
    ) -> tuple[Tensor, Tensor]:
        gradient, confidence = self._on_canvas(index, inputs, rows, generators)
        return inputs.to_pixels(self.surrogates[index], gradient), confidence


class FeatureObjective:
    """FMD (Only My Model On My Data): J = MSE(f_feat(x), f_feat(x*)) - lambda CE(f_logits(x*), y), to be maximized.

    Args:
        authorized: f; its features move away from the clean ones while its prediction is kept.
        recipe: its `layer`, `depth` and `feature_lambda`.
        batch: originals x and labels y.
    """

    def __init__(self, authorized: Classifier, recipe: Recipe, batch: AttackBatch) -> None:
        self.authorized, self.labels, self.weight = authorized, batch.labels, recipe.feature_lambda
        preprocess = authorized.card.preprocess
        crop = preprocess.center(preprocess.canvas(batch.originals, batch.landmarks))
        with torch.no_grad():
            self.layer = feature_layer(authorized, crop[:1], recipe.layer, recipe.depth)
            with capture_output(self.layer) as features:
                authorized.logits(crop)
            self.clean = features()

    def gradient(self, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """See `Objective`. No surrogate takes part, so the confidence is 1."""
        canvas = inputs.canvas(self.authorized)
        with capture_output(self.layer) as features:
            logits = self.authorized.logits(self.authorized.card.preprocess.center(canvas)).float()
        distance = (features().float() - self.clean[rows.index]).square().flatten(1).mean(1)
        cross_entropy = answer_loss(self.authorized.card, logits, self.labels[rows.index])
        (gradient,) = torch.autograd.grad((distance - self.weight * cross_entropy).sum(), canvas)
        return inputs.to_pixels(self.authorized, gradient), torch.ones_like(cross_entropy).detach()


def _loss_of(model: Classifier, kind: ObjectiveKind) -> type[Loss]:
    """Return the loss of a surrogate: that of the objective, or its own where that one needs classes."""
    own = OWN_LOSSES.get(model.card.kind) if kind.uses_classes else None
    loss: type[Loss] = resolve(kind.loss if own is None else own.loss)
    return loss


def make_objective(
    batch: AttackBatch, *, authorized: Classifier, surrogates: Sequence[Classifier], recipe: Recipe
) -> Objective:
    """Make the objective that `recipe.objective` names, see `tables.OBJECTIVES`."""
    kind = OBJECTIVES[recipe.objective]
    if not kind.loss:
        return FeatureObjective(authorized, recipe, batch)
    losses = [
        _loss_of(model, kind).for_surrogate(model, targets, batch, recipe)
        for model, targets in zip(surrogates, batch.targets, strict=True)
    ]
    ensemble: type[EnsembleObjective] = resolve(kind.ensemble)
    return ensemble(surrogates, losses, recipe, batch)
