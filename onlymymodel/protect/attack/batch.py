"""A batch of photos that are attacked together, and their targets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from onlymymodel.protect.attack.model_inputs import find_landmarks
from onlymymodel.protect.budget.batch import BatchBudget
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.working_size import budget_at_working_size
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.detector import Detections
from onlymymodel.surrogates.device_copy import to_device
from onlymymodel.surrogates.resize import resize

# returns the (5,2) landmarks, on the CPU, of one face on (C,H,W) uint8 pixels; None where it is not found
Locate = Callable[[Tensor], Tensor | None]


class SurrogateTargets(NamedTuple):
    """The classes in the loss of one surrogate.

    Attributes:
        classes: (B,) long, indices of the surrogate's classes.
        signs: (B,) 1 to move away from the class, -1 to move toward it, 0 where the surrogate takes no part in the row.
    """

    classes: Tensor
    signs: Tensor


@dataclass(frozen=True)
class AttackRow:
    """One photo, or one face of a photo, at the photo's own size.

    Attributes:
        original: (C,H,W) uint8, C 3 (RGB) or 1 (gray, stays gray).
        label: the class that the authorized model must keep.
        classes, signs: of each surrogate, see `SurrogateTargets`.
        generator: on the CPU; the only source of this row's randomness, so that it does not depend on its batch.
        mask: (1,H,W) of 0 and 1; where it is 0 nothing changes. None for the whole photo.
        landmarks: (5,2) in pixels of the photo, on the CPU, of the face to work on; None to use the largest one.
        locate: finds that face again on changed pixels; None to use the largest one.
        deployments: names of those through which the label has to be kept, too.
        objects: those of the photo that the authorized model must keep, if it is a detector; see `kept_objects`.
    """

    original: Tensor
    label: int
    classes: tuple[int, ...]
    signs: tuple[float, ...]
    budget: Budget
    generator: Generator
    mask: Tensor | None = None
    landmarks: Tensor | None = None
    locate: Locate | None = None
    deployments: tuple[str, ...] = ()
    objects: Detections | None = None


@dataclass(frozen=True)
class AttackBatch:
    """Rows at one working size, as the optimizer takes them. No row depends on another.

    Attributes:
        originals: (B,C,h,w) in [0,1].
        labels: (B,) long, see `AttackRow`.
        targets: for each surrogate its classes.
        budgets: one for each row, at working size; all with the same linf.
        generators: one for each row.
        mask: (B,1,h,w) of 0 and 1; None where all of every photo may change.
        landmarks: (B,5,2) in pixels of the working size, on the CPU; None where no model aligns faces.
        objects: of each row, see `AttackRow`; None where the authorized model is no detector.
    """

    originals: Tensor
    labels: Tensor
    targets: Sequence[SurrogateTargets]
    budgets: Sequence[Budget]
    generators: Sequence[Generator]
    mask: Tensor | None = None
    landmarks: Tensor | None = None
    objects: Sequence[Detections] | None = None

    def __len__(self) -> int:
        return len(self.originals)

    @cached_property
    def budget(self) -> BatchBudget:
        """The budgets of all rows, prepared for their originals."""
        return BatchBudget(self.budgets, self.originals, self.mask)


@dataclass(frozen=True)
class Rows:
    """Some rows of a batch.

    Attributes:
        numbers: of the rows in the batch.
        index: the same as (B,) long on the batch's device: indexing by a tensor of the host waits for a GPU.
    """

    numbers: Sequence[int]
    index: Tensor

    @classmethod
    def of(cls, numbers: Sequence[int], device: torch.device) -> Self:
        """Return the rows with these numbers of a batch on a device."""
        return cls(numbers, to_device(torch.tensor(numbers, dtype=torch.long), device))

    def __len__(self) -> int:
        return len(self.numbers)


def make_batch(rows: Sequence[AttackRow], size: tuple[int, int], models: Sequence[Classifier]) -> AttackBatch:
    """Bring rows to one working size.

    Args:
        rows: at least one, all of the same number of channels.
        size: height and width at which the optimizer works.
        models: those that the optimizer asks; where one of them aligns faces, missing landmarks are searched.
    """
    originals = torch.stack([_resize(row.original, size) for row in rows])
    device = originals.device
    limits = [_at_working_size(row, working) for row, working in zip(rows, originals, strict=True)]
    masks = [mask for _, mask in limits]
    return AttackBatch(
        originals=originals,
        labels=torch.tensor([row.label for row in rows], device=device),
        targets=[
            SurrogateTargets(
                torch.tensor([row.classes[index] for row in rows], device=device),
                torch.tensor([row.signs[index] for row in rows], device=device),
            )
            for index in range(len(rows[0].classes))
        ],
        budgets=[budget for budget, _ in limits],
        generators=[row.generator for row in rows],
        mask=None if all(row.mask is None for row in rows) else torch.stack(masks),
        landmarks=_landmarks(rows, originals, models),
        objects=[row.objects for row in rows if row.objects is not None] or None,
    )


def _resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a (C,H,W) uint8 photo as (C,h,w) in [0,1]."""
    return resize(pixels[None], size, "bilinear")[0]


def _at_working_size(row: AttackRow, working: Tensor) -> tuple[Budget, Tensor]:
    """Return the budget of a row at working size, and its (1,h,w) mask."""
    if row.mask is None:
        mask, smaller = working.new_ones(1, 1, 1), torch.ones_like(working[:1])
    else:
        # a pixel of the smaller photo may change if any of the pixels that it covers may
        mask, smaller = row.mask, F.adaptive_max_pool2d(row.mask, working.shape[1:])
    if row.budget.bounds and working.shape != row.original.shape:
        return budget_at_working_size(row.budget, row.original, working, mask, smaller), smaller
    return row.budget, smaller


def _landmarks(rows: Sequence[AttackRow], originals: Tensor, models: Sequence[Classifier]) -> Tensor | None:
    """Return (B,5,2) landmarks at working size: those of the row, scaled, or else those of the largest face."""
    if not any(model.aligns for model in models):
        return None
    landmarks = []
    for row, photo in zip(rows, originals, strict=True):
        if row.landmarks is None:
            largest = find_landmarks(models, photo[None])
            assert largest is not None
            landmarks.append(largest[0])
        else:
            (height, width), (h, w) = row.original.shape[1:], photo.shape[1:]
            landmarks.append(row.landmarks * torch.tensor([w / width, h / height]))
    return torch.stack(landmarks)
