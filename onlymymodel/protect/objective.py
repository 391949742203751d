"""What a step climbs: the push away from other models, and the guard of the authorized one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.protect.recipe import Recipe
from onlymymodel.protect.views import look
from onlymymodel.surrogates.classifier import Classifier, Preprocess
from onlymymodel.surrogates.uri import did_you_mean


class Canvases:
    """One photo batch resized once for each distinct preprocessing, with the way back for gradients.

    Args:
        pixels: (B,C,H,W) in [0,1].
        models: whose preprocessing is wanted; models that resize alike share a canvas.
        through: what happens to the photo on its way to the models, differentiable.
    """

    def __init__(
        self,
        pixels: Tensor,
        models: Sequence[Classifier],
        through: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.pixels = pixels.detach().requires_grad_()
        self.resized: dict[Preprocess, Tensor] = {}
        received = self.pixels if through is None else through(self.pixels)
        for model in models:
            key = model.card.preprocess.resize_key
            if key not in self.resized:
                self.resized[key] = key.canvas(received)
        self.leaves = {key: canvas.detach().requires_grad_() for key, canvas in self.resized.items()}

    def of(self, model: Classifier) -> Tensor:
        """The model's canvas, a leaf: gradients stop here until `to_pixels`."""
        return self.leaves[model.card.preprocess.resize_key]

    def to_pixels(self, model: Classifier, gradient: Tensor) -> Tensor:
        """Carry a gradient on the model's canvas back to the photo's pixels, (B,C,H,W)."""
        canvas = self.resized[model.card.preprocess.resize_key]
        return torch.autograd.grad(canvas, self.pixels, gradient, retain_graph=True)[0]


class Objective(Protocol):
    """Something to climb. `push` gives (B,C,H,W), the direction, and (B,), how sure the surest opponent still is."""

    def push(self, canvases: Canvases, rows: Tensor, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]: ...


class EnsembleObjective:
    """Cross-entropy of each surrogate at what it is to be pushed from, under a random view each.

    Args:
        surrogates: at least one.
        targets: (B,) long for each surrogate: the class that it is pushed from.
        recipe: `views` and `normalize`.
    """

    def __init__(self, surrogates: Sequence[Classifier], targets: Sequence[Tensor], recipe: Recipe) -> None:
        if not surrogates:
            raise UserError("this recipe needs at least one surrogate")
        self.surrogates = surrogates
        self.targets = targets
        self.recipe = recipe

    def push(self, canvases: Canvases, rows: Tensor, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
        """The mean over the surrogates of the (normalized) gradients; the losses are summed over the batch."""
        by_canvas: dict[Preprocess, tuple[Classifier, Tensor]] = {}
        surest = torch.zeros(len(rows), device=canvases.pixels.device)
        for model, targets in zip(self.surrogates, self.targets, strict=True):
            gradient, sureness = self._gradient(model, canvases.of(model), targets[rows], generators)
            surest = torch.maximum(surest, sureness)
            gradient = unit(gradient) if self.recipe.normalize else gradient
            key = model.card.preprocess.resize_key
            by_canvas[key] = (model, by_canvas[key][1] + gradient if key in by_canvas else gradient)
        total = sum(canvases.to_pixels(model, gradient) for model, gradient in by_canvas.values())
        assert isinstance(total, Tensor)
        return total / len(self.surrogates), surest

    def _gradient(
        self, model: Classifier, leaf: Tensor, targets: Tensor, generators: Sequence[Generator]
    ) -> tuple[Tensor, Tensor]:
        """One surrogate's mean gradient over its views, and (B,) its largest probability of the target in them."""
        total, surest = torch.zeros_like(leaf), torch.zeros(len(leaf), device=leaf.device)
        for _ in range(self.recipe.copies):
            logits = model.logits(look(leaf, model.card.preprocess, self.recipe.views, generators)).float()
            loss = F.cross_entropy(logits, targets, reduction="none")
            total += torch.autograd.grad(loss.sum(), leaf)[0]
            surest = torch.maximum(surest, torch.exp(-loss.detach()))
        return total / self.recipe.copies, surest


class FeatureObjective:
    """FMD (Only My Model On My Data): J = MSE(f_feat(x), f_feat(x*)) - lambda CE(f_logits(x*), y), to be maximized.

    Args:
        authorized: f; its own features are pushed away while its own answer is held.
        originals: (B,C,H,W) in [0,1], x.
        labels: (B,) long, y.
        recipe: `layer` and `feature_lambda`.
    """

    def __init__(self, authorized: Classifier, originals: Tensor, labels: Tensor, recipe: Recipe) -> None:
        self.authorized = authorized
        self.labels = labels
        self.weight = recipe.feature_lambda
        crop = authorized.card.preprocess.center(authorized.card.preprocess.canvas(originals))
        with torch.no_grad():
            self.layer = feature_layer(authorized, crop[:1], recipe.layer)
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


def unit(gradient: Tensor) -> Tensor:
    """Divide each photo's gradient by its own mean magnitude; a gradient of zero stays zero."""
    size = gradient.abs().flatten(1).mean(1).view(-1, 1, 1, 1)
    return gradient / size.clamp_min(torch.finfo(gradient.dtype).tiny)


def steer(push: Tensor, keep: Tensor) -> Tensor:
    """Bend a push so that it no longer lowers the authorized margin, then add twice the margin's own direction.

    Args:
        push: (B,C,H,W), mean magnitude 1 for each photo.
        keep: (B,C,H,W), gradient of the authorized margin; zero for a photo that needs no help.
    """
    keep = unit(keep)
    along = (push * keep).flatten(1).sum(1) / keep.square().flatten(1).sum(1).clamp_min(1e-12)
    return push - along.clamp_max(0).view(-1, 1, 1, 1) * keep + 2 * keep


@contextmanager
def tapped(layer: nn.Module) -> Iterator[Callable[[], Tensor]]:
    """While open, keep the last output of a module; the function given returns it."""
    outputs: list[Tensor] = []
    # a copy: the next module may work in place
    handle = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output.clone()))
    try:
        yield lambda: outputs[-1]
    finally:
        handle.remove()


def feature_layer(model: Classifier, crop: Tensor, name: str) -> nn.Module:
    """The module of that name, or with `auto` the last one in order of work whose output has more than one place.

    Raises:
        UserError: no such module, or no feature map at all.
    """
    modules: dict[str, nn.Module] = {path: module for path, module in model.net.named_modules() if path}
    if name != "auto":
        if name not in modules:
            raise UserError(f"the authorized model has no layer {name!r}{did_you_mean(name, modules)}")
        return modules[name]
    found: list[nn.Module] = []

    def note(module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim >= 3 and output[0, 0].numel() > 1:
            found.append(module)

    handles = [module.register_forward_hook(note) for module in modules.values()]
    try:
        model.logits(crop)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise UserError("the authorized model has no feature map; name one of its modules with --layer")
    return found[-1]
