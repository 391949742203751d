"""Attacks from outside this package: the base class, and what one is given.

Whatever such an attack proposes, the budget, the mask, the rounding to 8 bits, the repair of the authorized margin and
the verdict on the written file are those of every other run.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from onlymymodel.protect.attack.batch import SurrogateTargets
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.kept_objects import Objects, crop_margins


class Attack(ABC):
    """An attack from outside this package, in the style of torchattacks.

    `omm protect --attack python:module:factory` calls the factory, such as a subclass of this, without arguments. A
    package offers attacks by name in the entry-point group `onlymymodel.attacks`, whose entries are such factories.

    Attributes:
        takes_batches: whether `propose` takes several photos at once. It must then draw every random number of a photo
            from that photo's generator, so that no photo depends on its batch. By default it is given one photo at a
            time, with the global random numbers of torch, NumPy and Python seeded from that photo's generator.
    """

    takes_batches: ClassVar[bool] = False

    @abstractmethod
    def propose(self, batch: "AttackInputs") -> Tensor:
        """Propose a change of each photo.

        What it raises, and a change that is no finite tensor of the photos' shape, fails these photos, not the run.

        Args:
            batch: the photos, the models and the budget.

        Returns:
            (B,C,H,W) the change, in pixels of [0,1]. It is projected into the budget and the mask afterwards, so that
            an attack need not know them.
        """


@dataclass(frozen=True)
class AttackInputs:
    """Inputs of an attack from outside: photos of one size, and the models and limits that apply to them.

    Attributes:
        photos: (B,C,H,W) float32 in [0,1], C 3 (RGB) or 1 (gray).
        labels: (B,) long, the classes that the authorized model must keep.
        authorized: the model that must keep its prediction; it takes pixels in [0,1] of any size.
        surrogates: the models to mislead, which stand in for unknown ones; at least one.
        targets: for each surrogate, the classes to move away from or toward.
        budgets: one for each photo; all with the same linf.
        generators: one for each photo, on the CPU.
        mask: (B,1,H,W) of 0 and 1; where it is 0 nothing may change. None where all of every photo may.
        landmarks: (B,5,2) of the faces, in pixels, on the CPU; None where no model aligns faces.
        recipe: the run's settings.
        objects: those of each photo that the authorized model must keep, if it is a detector.
    """

    photos: Tensor
    labels: Tensor
    authorized: Classifier
    surrogates: tuple[Classifier, ...]
    targets: tuple[SurrogateTargets, ...]
    budgets: tuple[Budget, ...]
    generators: tuple[Generator, ...]
    mask: Tensor | None
    landmarks: Tensor | None
    recipe: Recipe
    objects: Objects = None

    @property
    def epsilon(self) -> float:
        """Largest change of any channel of any pixel, in pixels of [0,1]."""
        return self.budgets[0].linf

    @property
    def classes(self) -> Tensor:
        """(B,) long, the classes that `model` is to leave, for attacks that take a model and labels."""
        leaves = self._single
        return torch.zeros_like(self.labels) if leaves is None else leaves.classes

    @property
    def model(self) -> nn.Module:
        """The surrogates as one module that maps (B,C,H,W) pixels in [0,1] to logits, for attacks that take one model.

        It is the surrogate itself where there is one, to be moved away from a class. Otherwise it has two classes, of
        which the photos are to leave the first, 0: its logit is the mean over the surrogates of the log-odds of the
        class to leave (or minus those of the class to reach), whatever lists of classes the surrogates have.
        """
        if self._single is None:
            return MeanLogOdds(self)
        (model,) = self.surrogates
        return model if self.landmarks is None or not model.aligns else _AtLandmarks(model, self.landmarks)

    @property
    def _single(self) -> SurrogateTargets | None:
        return self.targets[0] if len(self.surrogates) == 1 and bool((self.targets[0].signs == 1).all()) else None

    def losses(self, photos: Tensor) -> Tensor:
        """Return for each photo the mean cross-entropy of the surrogates at the classes to leave, to be increased.

        Surrogates that are to reach a class count with the opposite sign.

        Args:
            photos: (B,C,H,W) in [0,1], changed versions of `photos`.

        Returns:
            (B,), differentiable.
        """
        losses = [
            target.signs * F.cross_entropy(model.at(photos, self.landmarks).float(), target.classes, reduction="none")
            for model, target in zip(self.surrogates, self.targets, strict=True)
        ]
        return torch.stack(losses).sum(0) / self._active.clamp_min(1)

    def authorized_margins(self, photos: Tensor) -> Tensor:
        """Return the authorized model's margins, see `crop_margins`: (B,), differentiable.

        Args:
            photos: as in `losses`.
        """
        preprocess = self.authorized.card.preprocess
        crop = preprocess.center(preprocess.canvas(photos, self.landmarks))
        return crop_margins(self.authorized, crop, self.labels, self.objects)

    def project(self, delta: Tensor) -> Tensor:
        """Return the changes inside the budget, the mask and [0,1]; this is done to what `propose` returns, too.

        Args:
            delta: (B,C,H,W).
        """
        masks = [None] * len(self.photos) if self.mask is None else list(self.mask[:, None])
        rows = zip(self.budgets, delta, self.photos, masks, strict=True)
        return torch.cat([budget.project(change[None], photo[None], mask) for budget, change, photo, mask in rows])

    @property
    def _active(self) -> Tensor:
        """(B,) number of surrogates that take part in each photo."""
        return torch.stack([target.signs.abs() for target in self.targets]).sum(0)


class MeanLogOdds(nn.Module):
    """Several surrogates as one module with two classes, see `AttackInputs.model`.

    Args:
        inputs: the surrogates, and the classes that they are to leave or to reach. Where they are of one photo, the
            module may be asked about any number of versions of it at once.
    """

    def __init__(self, inputs: AttackInputs) -> None:
        super().__init__()
        self.networks = nn.ModuleList(inputs.surrogates)  # so that libraries find their device
        self.surrogates, self.targets = inputs.surrogates, inputs.targets
        self.active, self.landmarks = inputs._active, inputs.landmarks
        self.eval()

    def forward(self, photos: Tensor) -> Tensor:
        """Return (B,2) logits of (B,C,H,W) photos in [0,1]."""
        total = torch.zeros(len(photos), device=photos.device)
        for model, target in zip(self.surrogates, self.targets, strict=True):
            logits = model.at(photos, _landmarks_of(photos, self.landmarks)).float()
            classes = target.classes.expand(len(photos))[:, None]
            others = logits.scatter(1, classes, -torch.inf).logsumexp(1)
            total = total + target.signs * (logits.gather(1, classes)[:, 0] - others)
        return torch.stack([total / self.active.clamp_min(1), torch.zeros_like(total)], dim=1)


class _AtLandmarks(nn.Module):
    """A network that aligns faces, at given landmarks."""

    def __init__(self, classifier: Classifier, landmarks: Tensor) -> None:
        super().__init__()
        self.classifier, self.landmarks = classifier, landmarks
        self.eval()

    def forward(self, photos: Tensor) -> Tensor:
        return self.classifier.at(photos, _landmarks_of(photos, self.landmarks))


def _landmarks_of(photos: Tensor, landmarks: Tensor | None) -> Tensor | None:
    """Return the landmarks of photos that may be several versions of one."""
    return None if landmarks is None else landmarks.expand(len(photos), -1, -1)
