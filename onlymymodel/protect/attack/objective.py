"""Objectives: the gradient that each step of the optimizer climbs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from onlymymodel.errors import UserError
from onlymymodel.protect.attack.batch import AttackBatch, Rows
from onlymymodel.protect.attack.features import capture_output, feature_layer
from onlymymodel.protect.attack.losses import CrossEntropy, Loss, LossOutput
from onlymymodel.protect.attack.model_inputs import ModelInputs, normalize_gradient
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.tables import OBJECTIVES, OWN_LOSSES, ObjectiveKind, resolve
from onlymymodel.protect.attack.views import apply_view
from onlymymodel.surrogates.answers import answer_loss
from onlymymodel.surrogates.class_mapping import map_classes
from onlymymodel.surrogates.classifier import Classifier, Preprocess
from onlymymodel.surrogates.device_copy import to_device

# gradients with respect to resized photos, (B,3,h,w) each, by the preprocessing that resized them
CanvasGradients = dict[Preprocess, Tensor]


class Objective(Protocol):
    """A function of the photos that the optimizer increases."""

    def gradient(self, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
        """Compute the gradient with respect to the pixels of some photos.

        Args:
            inputs: of these photos.
            rows: which photos of the whole batch they are.
            generators: one for each of them.

        Returns:
            (B,C,H,W) the direction to climb, and (B,) the largest confidence of any surrogate, or of the mean of those
            whose logits are fused, see `LossOutput`.
        """


@dataclass(frozen=True)
class _Member:
    """A surrogate on some photos.

    Attributes:
        index: of the surrogate.
        selected: the photos among the rows of a step.
        in_batch: (N,) the same photos in the whole batch.
        generators: one for each of them.
    """

    index: int
    selected: Tensor | slice
    in_batch: Tensor
    generators: Sequence[Generator]


class EnsembleObjective:
    """Mean over the surrogates of the (normalized) gradients of their losses, each under its own random views.

    With `fusion` of logits, surrogates with the same classes have the losses of the mean of their logits, as
    recommended for MI-FGSM (Dong et al., CVPR 2018, sec. 3.4). The mean is of those that are evaluated on a photo.

    Args:
        surrogates: at least one.
        losses: one for each surrogate.
        recipe: its `views`, `copies`, `normalize` and `fusion`.
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
        self.groups = fused_groups(losses) if recipe.fusion == "logits" else [[index] for index in range(len(losses))]
        # models that resize in the same way share a canvas: one backward pass to the pixels for all of them
        self.readers = {model.card.preprocess.resize_key: model for model in surrogates}

    def gradient(self, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
        """See `Objective`. Losses are summed over the batch, so that no photo depends on the others."""
        on_canvases, max_confidence = self._on_canvases(inputs, rows, generators)
        total = sum(inputs.to_pixels(self.readers[key], gradient) for key, gradient in on_canvases.items())
        assert isinstance(total, Tensor)
        return total / len(self.surrogates), max_confidence

    def _on_canvases(
        self, inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]
    ) -> tuple[CanvasGradients, Tensor]:
        """Sum the gradients of all surrogates, see `_of_group`; with the (B,) largest confidence."""
        totals: CanvasGradients = {}
        max_confidence = torch.zeros(len(rows), device=inputs.pixels.device)
        for group in self.groups:
            gradients, confidence = self._of_group(group, inputs, rows, generators)
            add_gradients(totals, gradients)
            max_confidence = torch.maximum(max_confidence, confidence)
        return totals, max_confidence

    def _of_group(
        self, group: Sequence[int], inputs: ModelInputs, rows: Rows, generators: Sequence[Generator]
    ) -> tuple[CanvasGradients, Tensor]:
        """Average the gradient of surrogates whose logits are fused over their views; with the (B,) confidence."""
        of_group = [self.surrogates[index] for index in group]
        totals = {model.card.preprocess.resize_key: torch.zeros_like(inputs.canvas(model)) for model in of_group}
        max_confidence = torch.zeros(len(rows), device=inputs.pixels.device)
        members = [member for index in group if (member := self._member(index, rows, generators)).generators]
        models = [self.surrogates[member.index] for member in members]
        canvases = {model.card.preprocess.resize_key: inputs.canvas(model) for model in models}
        for view_index in range(self.recipe.copies if members else 0):
            outputs = self._outputs(members, inputs, len(rows), view_index)
            loss = torch.stack([output.loss.sum() for output in outputs]).sum()
            gradients = torch.autograd.grad(loss, list(canvases.values()))
            add_gradients(totals, dict(zip(canvases, gradients, strict=True)))
            for member, output in zip(members, outputs, strict=True):
                confidence = torch.maximum(max_confidence[member.selected], output.confidence)
                max_confidence[member.selected] = confidence
        means = {key: total / self.recipe.copies for key, total in totals.items()}
        if self.recipe.normalize:
            means = {key: normalize_gradient(mean) for key, mean in means.items()}
        return means, max_confidence

    def _outputs(
        self, members: Sequence[_Member], inputs: ModelInputs, photos: int, view_index: int
    ) -> list[LossOutput]:
        """Compute the loss of each of some surrogates, of the mean of their logits where they are several."""
        crops = [
            self._view(
                member.index,
                inputs.canvas(self.surrogates[member.index])[member.selected],
                member.in_batch,
                member.generators,
                view_index,
            )
            for member in members
        ]
        if len(members) == 1:
            return [self.losses[members[0].index](crops[0], members[0].in_batch)]
        logits = self._mean_logits(members, crops, photos)
        outputs = []
        for member in members:
            loss = self.losses[member.index]
            assert isinstance(loss, CrossEntropy)
            outputs.append(loss.from_logits(logits[member.selected], member.in_batch))
        return outputs

    def _mean_logits(self, members: Sequence[_Member], crops: Sequence[Tensor], photos: int) -> Tensor:
        """Return the (photos,classes) mean of the logits of the surrogates that are evaluated on each photo."""
        total = torch.zeros(photos, self.surrogates[members[0].index].card.classes, device=crops[0].device)
        number = torch.zeros(photos, 1, device=crops[0].device)
        for member, crop in zip(members, crops, strict=True):
            logits = torch.zeros_like(total)
            logits[member.selected] = self.surrogates[member.index].logits(crop).float()
            total = total + logits
            number[member.selected] += 1
        return total / number.clamp_min(1)

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

    def _member(self, index: int, rows: Rows, generators: Sequence[Generator]) -> _Member:
        """Select the photos on which a surrogate is evaluated."""
        if self.active is None:
            return _Member(index, slice(None), rows.index, generators)
        chosen = [place for place, row in enumerate(rows.numbers) if self.active[index][row]]
        selected = to_device(torch.tensor(chosen, dtype=torch.long), rows.index.device)
        return _Member(index, selected, rows.index[selected], [generators[place] for place in chosen])


def fused_groups(losses: Sequence[Loss]) -> list[list[int]]:
    """Return which surrogates have fused logits: those with cross-entropies of the same classes."""
    groups: list[list[int]] = []
    for index, loss in enumerate(losses):
        group = next((group for group in groups if _have_same_classes(losses[group[0]], loss)), None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    return groups


def _have_same_classes(first: Loss, second: Loss) -> bool:
    if not (isinstance(first, CrossEntropy) and isinstance(second, CrossEntropy)):
        return False
    return map_classes(first.model.card, second.model.card) == tuple(range(second.model.card.classes))


def add_gradients(totals: CanvasGradients, gradients: CanvasGradients) -> None:
    """Add gradients to the totals of their canvases."""
    for key, gradient in gradients.items():
        totals[key] = totals[key] + gradient if key in totals else gradient


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
