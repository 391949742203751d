"""What a step climbs: the push away from other models."""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from onlymymodel.errors import UserError
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.canvas import Canvases, unit
from onlymymodel.protect.features import feature_layer, tapped
from onlymymodel.protect.losses import CrossEntropy, FeatureDistance, Loss, Tap
from onlymymodel.protect.recipe import Recipe
from onlymymodel.protect.views import look
from onlymymodel.surrogates.classifier import Classifier, Preprocess


class Objective(Protocol):
    """Something to climb. `push` gives (B,C,H,W), the direction, and (B,), how sure the surest opponent still is."""

    def push(self, canvases: Canvases, rows: Tensor, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]: ...


class EnsembleObjective:
    """The mean over the surrogates of the (normalized) gradients of their losses, under random views.

    Args:
        surrogates: at least one.
        losses: one for each surrogate.
        recipe: `views`, `copies` and `normalize`.
        pushed: for each surrogate (photos,) bool, whether it is shown the photo at all; always if None.
    """

    def __init__(
        self,
        surrogates: Sequence[Classifier],
        losses: Sequence[Loss],
        recipe: Recipe,
        pushed: Sequence[Tensor] | None = None,
    ) -> None:
        if not surrogates:
            raise UserError("this recipe needs at least one surrogate")
        self.surrogates = surrogates
        self.losses = losses
        self.recipe = recipe
        self.pushed = pushed

    def push(self, canvases: Canvases, rows: Tensor, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
        """See `Objective`; the losses are summed over the batch, so that no photo depends on its neighbors."""
        by_canvas: dict[Preprocess, tuple[Classifier, Tensor]] = {}
        surest = torch.zeros(len(rows), device=canvases.pixels.device)
        for index, model in enumerate(self.surrogates):
            gradient, sureness = self._gradient(index, canvases, rows, generators)
            surest = torch.maximum(surest, sureness)
            key = model.card.preprocess.resize_key
            by_canvas[key] = (model, by_canvas[key][1] + gradient if key in by_canvas else gradient)
        total = sum(canvases.to_pixels(model, gradient) for model, gradient in by_canvas.values())
        assert isinstance(total, Tensor)
        return total / len(self.surrogates), surest

    def _gradient(
        self, index: int, canvases: Canvases, rows: Tensor, generators: Sequence[Generator]
    ) -> tuple[Tensor, Tensor]:
        """One surrogate's mean gradient over its views, on its canvas, and (B,) its largest sureness in them."""
        model, leaf = self.surrogates[index], canvases.of(self.surrogates[index])
        total, surest = torch.zeros_like(leaf), torch.zeros(len(rows), device=leaf.device)
        shown, streams = self._shown(index, rows, generators)
        if not streams:
            return total, surest
        for copy in range(self.recipe.copies):
            crop = look(leaf[shown], model.card.preprocess, self.recipe.views, streams, copy)
            loss, sureness = self.losses[index](crop, rows[shown])
            total += torch.autograd.grad(loss.sum(), leaf)[0]
            surest[shown] = torch.maximum(surest[shown], sureness)
        total /= self.recipe.copies
        return unit(total) if self.recipe.normalize else total, surest

    def _shown(
        self, index: int, rows: Tensor, generators: Sequence[Generator]
    ) -> tuple[Tensor | slice, Sequence[Generator]]:
        """Which of the rows a surrogate is shown, and their streams."""
        if self.pushed is None:
            return slice(None), generators
        shown = self.pushed[index][rows].nonzero()[:, 0]
        return shown, [generators[row] for row in shown.tolist()]


class VarianceReducedObjective(EnsembleObjective):
    """SVRE (Xiong et al., CVPR 2022, algorithm 1): an inner walk on one random surrogate after the other, each gradient
    corrected by what that surrogate and the whole ensemble said at the walk's start.

    Official settings: 4 inner steps for each surrogate, of the outer step's size, inner momentum 1. The order of the
    surrogates is drawn from the recipe's seed, equal for all photos, so that no photo depends on its batch.

    Args:
        originals: (photos,C,H,W) in [0,1].
        budget: the walk stays inside it.
        pushed: see `EnsembleObjective`.
    """

    ROUNDS = 4

    def __init__(
        self,
        surrogates: Sequence[Classifier],
        losses: Sequence[Loss],
        recipe: Recipe,
        originals: Tensor,
        budget: Budget,
        pushed: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__(surrogates, losses, recipe, pushed)
        self.originals, self.budget = originals, budget
        self.order = Generator().manual_seed(recipe.seed)

    def push(self, canvases: Canvases, rows: Tensor, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
        """See `Objective`; the sum of the corrected gradients of the walk."""
        found = [self._on_pixels(index, canvases, rows, generators) for index in range(len(self.surrogates))]
        at_start = [gradient for gradient, _ in found]
        mean = torch.stack(at_start).mean(0)
        surest = torch.stack([sureness for _, sureness in found]).amax(0)
        step = self.recipe.step_share * self.budget.linf
        original, place, total = self.originals[rows], canvases.pixels.detach(), torch.zeros_like(mean)
        for index in torch.randint(len(at_start), (self.ROUNDS * len(at_start),), generator=self.order).tolist():
            here, _ = self._on_pixels(index, canvases.at(place), rows, generators)
            total = total + here - (at_start[index] - mean)
            place = original + self.budget.project(place + step * total.sign() - original, original)
        return total, surest

    def _on_pixels(
        self, index: int, canvases: Canvases, rows: Tensor, generators: Sequence[Generator]
    ) -> tuple[Tensor, Tensor]:
        gradient, sureness = self._gradient(index, canvases, rows, generators)
        return canvases.to_pixels(self.surrogates[index], gradient), sureness


class FeatureObjective:
    """FMD (Only My Model On My Data): J = MSE(f_feat(x), f_feat(x*)) - lambda CE(f_logits(x*), y), to be maximized.

    Args:
        authorized: f; its own features are pushed away while its own answer is held.
        originals: (B,C,H,W) in [0,1], x.
        labels: (B,) long, y.
        recipe: `layer`, `depth` and `feature_lambda`.
        landmarks: of the faces, see `canvas.landmarks_for`.
    """

    def __init__(
        self,
        authorized: Classifier,
        originals: Tensor,
        labels: Tensor,
        recipe: Recipe,
        landmarks: Tensor | None = None,
    ) -> None:
        self.authorized = authorized
        self.labels = labels
        self.weight = recipe.feature_lambda
        crop = authorized.card.preprocess.center(authorized.card.preprocess.canvas(originals, landmarks))
        with torch.no_grad():
            self.layer = feature_layer(authorized, crop[:1], recipe.layer, recipe.depth)
            with tapped(self.layer) as features:
                authorized.logits(crop)
            self.clean = features()

    def push(self, canvases: Canvases, rows: Tensor, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """The gradient of J. No surrogate takes part, so nobody else's certainty is known: it is given as 1."""
        leaf = canvases.of(self.authorized)
        with tapped(self.layer) as features:
            logits = self.authorized.logits(self.authorized.card.preprocess.center(leaf)).float()
        distance = (features().float() - self.clean[rows]).square().flatten(1).mean(1)
        held = F.cross_entropy(logits, self.labels[rows], reduction="none")
        (gradient,) = torch.autograd.grad((distance - self.weight * held).sum(), leaf)
        return canvases.to_pixels(self.authorized, gradient), torch.ones_like(held).detach()


def make_objective(
    originals: Tensor,
    labels: Tensor,
    *,
    authorized: Classifier,
    surrogates: Sequence[Classifier],
    targets: Sequence[Tensor],
    signs: Sequence[Tensor] | None,
    budget: Budget,
    recipe: Recipe,
    landmarks: Tensor | None,
) -> Objective:
    """The objective that `recipe.objective` names; arguments as in `optimize`."""
    if recipe.objective == "feature":
        return FeatureObjective(authorized, originals, labels, recipe, landmarks)
    ways = [torch.ones_like(target) for target in targets] if signs is None else signs
    losses: list[Loss]
    if recipe.objective == "surrogate_features":
        losses = [FeatureDistance(model, originals, recipe.depth, landmarks) for model in surrogates]
    elif recipe.objective == "tap":
        losses = [
            Tap(model, originals, target, way, landmarks)
            for model, target, way in zip(surrogates, targets, ways, strict=True)
        ]
    else:
        losses = [CrossEntropy(*aim) for aim in zip(surrogates, targets, ways, strict=True)]
    pushed = None if all(bool(way.all()) for way in ways) else [way != 0 for way in ways]
    if recipe.objective == "variance_reduced":
        # the walk's end is but a direction: of the budget's bounds the ball will do
        return VarianceReducedObjective(surrogates, losses, recipe, originals, Budget(budget.linf), pushed)
    return EnsembleObjective(surrogates, losses, recipe, pushed)
