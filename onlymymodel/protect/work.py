"""One photo at work: a row of the batch for the whole photo, or for each of the people on it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from onlymymodel.data.image_io import Photo
from onlymymodel.data.manifest import sha256
from onlymymodel.protect.answers import Answers, look_at
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.context import Context, Source
from onlymymodel.protect.optimizer import push_targets
from onlymymodel.protect.people import MOST, Person, nearest_box, people_on
from onlymymodel.protect.region import Area
from onlymymodel.protect.toward import NOTE, chosen_class, turn_toward


class Aims(NamedTuple):
    """What each surrogate is pushed at: lists over the surrogates of (rows,) tensors.

    Attributes:
        away: the classes that they are no longer to say.
        classes: the classes that they are pushed at, see `turn_toward`.
        signs: 1 away from that class, -1 toward it, 0 not pushed in this row.
    """

    away: list[Tensor]
    classes: list[Tensor]
    signs: list[Tensor]

    def of(self, row: int) -> list[tuple[int | None, int | None]]:
        """For each surrogate the class that it is pushed from and the one it is pushed toward, None for neither."""
        return [
            (int(away[row]) if sign[row] else None, int(target[row]) if sign[row] < 0 else None)
            for away, target, sign in zip(*self, strict=True)
        ]


@dataclass
class Work:
    """One photo at work.

    Attributes:
        original: (C,H,W) uint8.
        before: what the models say of it.
        label: what the authorized model is to read.
        people: who is worked on one by one; empty where the photo is one row.
        owners: (H,W) uint8 number of the person to whom each pixel belongs; None where the photo is one row.
        aims: with a row for each of the people.
        composed: (C,H,W) uint8, the original with the changes found so far.
        changed, undone: the rows whose changes are in it, and those whose changes were put back.
        notes: for the record.
        steps: that the first row took.
    """

    source: Source
    photo: Photo
    area: Area
    original: Tensor
    before: Answers
    label: int
    people: list[Person]
    owners: Tensor | None
    aims: Aims
    composed: Tensor
    notes: list[str]
    changed: set[int] = field(default_factory=set)
    undone: set[int] = field(default_factory=set)
    steps: int = 0

    def rows(self, context: Context) -> list[int]:
        """The rows that are optimized: the first, and those in which somebody is pushed."""
        pushed = [any(bool(sign[row]) for sign in self.aims.signs) for row in range(len(self.people))]
        others = [row for row in range(1, len(self.people)) if pushed[row] or context.recipe.objective == "feature"]
        return [0, *others]

    def label_of(self, row: int) -> int:
        """What the authorized model is to read in a row."""
        return self.people[row].label if self.people else self.label

    def mask(self, row: int) -> Tensor:
        """(1,H,W) float32 of 0 and 1: where a row may change the photo. No pixel is open to two rows."""
        mask = self.area.tensor(self.original)
        return mask if self.owners is None else mask * (self.owners == row)

    def budget(self, row: int, context: Context) -> Budget:
        """What a row may spend: of each bound on the photo as a whole the share that its area is of all rows'."""
        rows = self.rows(context)
        if len(rows) == 1:
            return context.budget
        own, everyone = float(self.mask(row).sum()), sum(float(self.mask(other).sum()) for other in rows)
        return context.budget.part(max(own, 1.0) / max(everyone, 1.0))

    def landmarks(self, row: int) -> Tensor | None:
        """(5,2) in pixels of the photo; None where they are to be searched."""
        return self.people[row].landmarks.to(self.original.device) if self.people else None

    def stream(self, row: int, seed: int) -> Generator:
        """The random numbers of a row."""
        return photo_generator(seed, self.source.data, row)

    def change(self, row: int, pixels: Tensor) -> None:
        """Take over a row's own area from (C,H,W) uint8."""
        self.composed = torch.where(self.mask(row) > 0, pixels, self.composed)
        self.changed.add(row)

    def state_of(self, row: int) -> str:
        """What became of a row's area: changed, put back, or untouched since nobody was pushed there."""
        return "changed" if row in self.changed else "put back" if row in self.undone else "untouched"

    def put_back(self, row: int) -> None:
        """Leave a row's area as it was in the original."""
        self.composed = torch.where(self.mask(row) > 0, self.original, self.composed)
        self.changed.remove(row)
        self.undone.add(row)


def begin(source: Source, photo: Photo, area: Area, original: Tensor, context: Context) -> Work:
    """Ask every model about a photo, and about the people on it where models read faces."""
    before = look_at(original, source.label, context)
    label = before.authorized if source.label is None else source.label
    people, found = people_on(original, label, before, context) if context.works_face_by_face else ([], 0)
    owners = None
    if people:
        boxes = [person.box for person in people]
        owners = torch.from_numpy(nearest_box(boxes, *original.shape[1:])).to(original.device)
    notes = list(photo.notes)
    if found > MOST:
        notes.append(f"{found} faces were found; the {MOST} largest were worked on")
    if context.recipe.toward and label == chosen_class(context.recipe.toward, context.authorized.card):
        notes.append(NOTE)
    aims = _aims(label, before, people, context)
    return Work(source, photo, area, original, before, label, people, owners, aims, original.clone(), notes)


def _aims(label: int, before: Answers, people: Sequence[Person], context: Context) -> Aims:
    """The first row is pushed as the whole photo would be. Of everybody else on it nothing is known but what the models
    say: a surrogate is pushed from its own answer, and not at all where it recognizes nobody or does not read faces."""
    authorized, surrogates, recipe = context.authorized, context.surrogates, context.recipe
    labels = torch.tensor([label, *(person.label for person in people[1:])], device=context.device)
    seen = [before, *(person.before for person in people[1:])]
    answers = [
        torch.tensor([row.surrogates[index] for row in seen], device=context.device) for index in range(len(surrogates))
    ]
    others = torch.arange(len(labels), device=context.device) > 0
    known = push_targets(labels, answers, authorized, surrogates, recipe)
    away = [torch.where(others, answer, target) for answer, target in zip(answers, known, strict=True)]
    classes, signs = turn_toward(away, labels, authorized=authorized, surrogates=surrogates, recipe=recipe)
    for index, (model, answer) in enumerate(zip(surrogates, answers, strict=True)):
        nobody = -1 if model.card.stranger is None else model.card.stranger
        idle = others & (answer == nobody) if model.aligns else others
        signs[index] = torch.where(idle, 0.0, signs[index])
    return Aims(away, classes, signs)


def photo_generator(seed: int, data: bytes, row: int = 0) -> Generator:
    """The random stream of one photo, or of one of the people on it: of the seed, the photo's bytes and the row alone,
    on any worker, in any batch."""
    name = f"{seed}:{sha256(data)}" + (f":{row}" if row else "")
    return Generator().manual_seed(int(sha256(name.encode())[:15], 16))
