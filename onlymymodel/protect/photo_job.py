"""State of one photo while it is protected: one row of the batch for the whole photo, or one for each face."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from onlymymodel.data.image_io import Photo
from onlymymodel.data.manifest import sha256
from onlymymodel.protect.attack.batch import AttackRow
from onlymymodel.protect.attack.deployed_margins import DeployedMargins, readable
from onlymymodel.protect.attack.targets import NOTE, apply_target_class, attack_classes, target_class
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.context import Context, PhotoSource
from onlymymodel.protect.faces import MAX_FACES, PhotoFace, find_photo_faces, find_same_face, nearest_face
from onlymymodel.protect.photo_record import FaceState
from onlymymodel.protect.predictions import Predictions, predict_photo
from onlymymodel.protect.region import Area
from onlymymodel.surrogates.detector import Detections
from onlymymodel.surrogates.kept_objects import kept_objects


class AttackTargets(NamedTuple):
    """The classes that the attack uses: for each surrogate one tensor of shape (rows,).

    Attributes:
        away: classes that the surrogates should no longer predict.
        classes: classes in the loss, see `apply_target_class`.
        signs: 1 away from that class, -1 toward it, 0 not attacked in this row.
    """

    away: list[Tensor]
    classes: list[Tensor]
    signs: list[Tensor]

    def of_row(self, row: int) -> list[tuple[int | None, int | None]]:
        """Return for each surrogate the class that it is pushed from and the one that it is pushed toward, or None."""
        return [
            (int(away[row]) if sign[row] else None, int(target[row]) if sign[row] < 0 else None)
            for away, target, sign in zip(*self, strict=True)
        ]


@dataclass
class PhotoJob:
    """State of one photo while it is protected; it changes as rows are finished.

    Attributes:
        source: the input.
        photo: the decoded photo, with its alpha and metadata.
        area: the part of the photo that may change.
        original: (C,H,W) uint8 pixels.
        clean: predictions on the original.
        label: class index that the authorized model has to keep.
        clean_margins: for each row, of the authorized model on the original, through each deployment of the recipe.
        faces: the faces that are protected separately, one row each; empty where the photo is one row.
        owners: (H,W) uint8 number of the face that each pixel belongs to; None where the photo is one row.
        targets: classes of the attack, for each row.
        composed: (C,H,W) uint8, the original with the changes found so far.
        objects: those that the authorized model has to keep, if it is a detector.
        notes: remarks for the record.
        changed, restored: rows whose changes are in `composed`, and rows whose changes were taken back.
        steps: number of steps that the first row took.
    """

    source: PhotoSource
    photo: Photo
    area: Area
    original: Tensor
    clean: Predictions
    label: int
    clean_margins: list[dict[str, float]]
    faces: list[PhotoFace]
    owners: Tensor | None
    targets: AttackTargets
    composed: Tensor
    notes: list[str]
    objects: Detections | None = None
    changed: set[int] = field(default_factory=set)
    restored: set[int] = field(default_factory=set)
    steps: int = 0

    def unchanged(self) -> "PhotoJob":
        """Return a copy of a job whose rows have not been attacked yet, so that they can be attacked more than once."""
        return replace(self, notes=[*self.notes], changed=set(), restored=set())

    def rows(self, context: Context) -> list[int]:
        """Return the rows that are optimized: the first, and those in which a surrogate is attacked."""
        attacked = [any(bool(sign[row]) for sign in self.targets.signs) for row in range(len(self.faces))]
        by_features = context.recipe.objective == "feature"
        return [0, *(row for row in range(1, len(self.faces)) if attacked[row] or by_features)]

    def label_of(self, row: int) -> int:
        """Return the class index that the authorized model has to keep in a row."""
        return self.faces[row].label if self.faces else self.label

    def mask(self, row: int) -> Tensor | None:
        """Return (1,H,W) float32, 1 where a row may change the photo and 0 elsewhere; None where it may change all.

        Masks of rows do not overlap.
        """
        mask = self.area.tensor(self.original)
        if self.owners is None:
            return mask
        owned = (self.owners == row)[None].float()
        return owned if mask is None else mask * owned

    @cached_property
    def _pixels(self) -> list[int]:
        """Return how many pixels each face may change."""
        mask = self.area.tensor(self.original)
        assert self.owners is not None
        owners = self.owners if mask is None else self.owners[mask[0] > 0]
        counts: list[int] = torch.bincount(owners.flatten(), minlength=len(self.faces)).tolist()
        return counts

    def budget(self, row: int, context: Context) -> Budget:
        """Return a row's budget: the budget of the photo, scaled to the row's share of the area of all rows."""
        rows = self.rows(context)
        if len(rows) == 1:
            return context.budget
        total = sum(self._pixels[other] for other in rows)
        return context.budget.for_fraction(max(self._pixels[row], 1) / max(total, 1))

    def attack_row(self, row: int, context: Context) -> AttackRow:
        """Return the input of the attack for a row."""
        return AttackRow(
            original=self.original,
            label=self.label_of(row),
            classes=tuple(int(classes[row]) for classes in self.targets.classes),
            signs=tuple(float(signs[row]) for signs in self.targets.signs),
            budget=self.budget(row, context),
            generator=photo_generator(context.recipe.seed, self.source.data, row),
            mask=self.mask(row),
            # the first face is the largest one, which models find by themselves
            landmarks=self.faces[row].landmarks if row else None,
            locate=partial(find_same_face, box=self.faces[row].box) if row and context.reads_faces else None,
            deployments=readable(self.clean_margins[row]),
            objects=self.objects,
        )

    def apply_row(self, row: int, pixels: Tensor) -> None:
        """Copy a row's own area from (C,H,W) uint8 pixels into the composed photo."""
        self._compose(row, pixels)
        self.changed.add(row)

    def _compose(self, row: int, pixels: Tensor) -> None:
        mask = self.mask(row)
        self.composed = pixels if mask is None else torch.where(mask > 0, pixels, self.composed)

    def face_state(self, row: int) -> FaceState:
        """Return the state of a row's area, see `FaceRecord.area`."""
        return "changed" if row in self.changed else "put back" if row in self.restored else "untouched"

    def restore_row(self, row: int) -> None:
        """Restore the original pixels in a row's area."""
        self._compose(row, self.original)
        self.changed.remove(row)
        self.restored.add(row)


def start_job(source: PhotoSource, photo: Photo, area: Area, original: Tensor, context: Context) -> PhotoJob:
    """Predict a photo, and the faces on it if they are protected separately, and choose the targets of the attack.

    Args:
        source: the input.
        photo: the decoded input.
        area: the part of the photo that may change.
        original: (C,H,W) uint8 pixels of the photo, on the device of the models.
        context: models and settings.
    """
    objects = kept_objects(context.authorized, original)
    clean = predict_photo(original, source.label, context, objects=objects)
    label = clean.authorized if source.label is None else source.label
    faces, detected = find_photo_faces(original, label, clean, context) if context.protects_each_face else ([], 0)
    owners = None
    if faces:
        boxes = [face.box for face in faces]
        owners = torch.from_numpy(nearest_face(boxes, *original.shape[1:])).to(original.device)
    notes = list(photo.notes)
    if detected > MAX_FACES:
        notes.append(f"{detected} faces were found; the {MAX_FACES} largest were worked on")
    if context.recipe.toward and label == target_class(context.recipe.toward, context.authorized.card):
        notes.append(NOTE)
    targets = _attack_targets(label, clean, faces, context)
    deployed = DeployedMargins(context.authorized, context.recipe.keep_through, objects)
    # the first row has the largest face, which the model finds by itself in what a deployment makes of the photo
    others = [(face.label, face.landmarks) for face in faces[1:] if context.reads_faces]
    margins = [deployed.measure(original, label), *deployed.measure_faces(original, others)]
    margins += [{} for _ in range(len(faces) - len(margins))]
    return PhotoJob(
        source, photo, area, original, clean, label, margins, faces, owners, targets, original, notes, objects
    )


def _attack_targets(label: int, clean: Predictions, faces: Sequence[PhotoFace], context: Context) -> AttackTargets:
    """Return the targets of all rows.

    The targets of the first row are those of the whole photo. Other faces have no label: a surrogate is pushed from
    its own answer, and is not attacked where that answer is the stranger or where it does not align faces.
    """
    authorized, surrogates, recipe = context.authorized, context.surrogates, context.recipe
    labels = torch.tensor([label, *(face.label for face in faces[1:])], device=context.device)
    predictions = [clean, *(face.clean for face in faces[1:])]
    answers = [
        torch.tensor([row.surrogates[index] for row in predictions], device=context.device)
        for index in range(len(surrogates))
    ]
    other_faces = torch.arange(len(labels), device=context.device) > 0
    of_photo = attack_classes(labels, answers, authorized, surrogates, recipe)
    away = [torch.where(other_faces, answer, target) for answer, target in zip(answers, of_photo, strict=True)]
    targets = apply_target_class(away, labels, authorized=authorized, surrogates=surrogates, recipe=recipe)
    signs = []
    for index, (model, answer) in enumerate(zip(surrogates, answers, strict=True)):
        stranger = -1 if model.card.stranger is None else model.card.stranger
        not_attacked = other_faces & (answer == stranger) if model.aligns else other_faces
        if model.card.nothing is not None:  # a detector that finds nothing has nothing to lose
            not_attacked = not_attacked | (answer == model.card.nothing)
        signs.append(torch.where(not_attacked, 0.0, targets[index].signs))
    return AttackTargets(away, [target.classes for target in targets], signs)


def photo_generator(seed: int, data: bytes, row: int = 0) -> Generator:
    """Return the random generator of one photo, or of one face on it.

    It depends only on the seed, the photo's bytes and the row, so that it is the same on any worker and in any batch.
    """
    name = f"{seed}:{sha256(data)}" + (f":{row}" if row else "")
    return Generator().manual_seed(int(sha256(name.encode())[:15], 16))
