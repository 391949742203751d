"""The record of an object that an authorized detector has to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onlymymodel.surrogates.detector import Detections


@dataclass(frozen=True, kw_only=True)
class KeptObject:
    """An object that the authorized detector finds in the original.

    Attributes:
        label: class index.
        name: of the class.
        box: left, top, right, bottom in shares of what the detector sees, which is the whole photo on gray.
        score: with which it is found, in [0,1].
    """

    label: int
    name: str
    box: tuple[float, float, float, float]
    score: float


def record_objects(objects: Detections, names: Sequence[str]) -> tuple[KeptObject, ...]:
    """Return the records of objects.

    Args:
        objects: see `kept_objects`.
        names: of the classes in index order; empty where they are not known.
    """
    rows = zip(objects.classes.tolist(), objects.boxes.tolist(), objects.scores.tolist(), strict=True)
    return tuple(
        KeptObject(label=label, name=names[label] if names else str(label), box=tuple(box), score=round(score, 6))
        for label, box, score in rows
    )


def objects_of(records: Sequence[KeptObject]) -> Detections:
    """Return the objects that `record_objects` recorded."""
    import torch

    from onlymymodel.surrogates.detector import Detections

    return Detections(
        torch.tensor([record.box for record in records], dtype=torch.double).reshape(-1, 4),
        torch.tensor([record.score for record in records]),
        torch.tensor([record.label for record in records], dtype=torch.long),
    )
