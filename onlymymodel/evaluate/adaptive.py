"""Adaptive adversary: fine-tune a model on protected photos with their correct labels.

Cross-fitted, so that memorization is not counted as success: every photo is read by a copy that was fine-tuned on
other photos only.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from onlymymodel.errors import UserError, number_of
from onlymymodel.evaluate.channels import CHANNELS, AnyChannel
from onlymymodel.evaluate.harness import Pair
from onlymymodel.evaluate.results import CLEAN, Answer, Results, Row
from onlymymodel.evaluate.rows import occurring
from onlymymodel.evaluate.students import Student
from onlymymodel.progress import track
from onlymymodel.surrogates.black_box import to_pixels
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.deployments import DEPLOYMENTS

Images = Sequence[NDArray[np.uint8]]

log = logging.getLogger(__name__)


class Adaptation(TypedDict):
    """Settings of `adapt`; see its arguments."""

    folds: int
    epochs: int
    batch: int
    seed: int


# settings of an evaluation; recorded in its results
ADAPTATION: Final[Adaptation] = {"folds": 2, "epochs": 5, "batch": 8, "seed": 0}
LEARNING_RATES = (3e-5, 3e-4)  # of which the adversary keeps the one that reads most; the first of several
EXCLUSION = (
    "adapted: trained further on these protected photos and their originals with the right labels, and judged on those "
    "left out"
)


class Diverged(UserError):
    """Training that ended in a network whose outputs are not finite."""


@dataclass(frozen=True)
class AdaptedModel:
    """Copies of a model, each fine-tuned without one fold of the photos.

    Attributes:
        copies: one copy for each fold.
        fold_of: fold of each photo.
    """

    copies: tuple[Classifier, ...]
    fold_of: tuple[int, ...]

    def answers(self, images: Images) -> list[int]:
        """Return class indices for versions of the photos, in their order, each by the copy that never saw its photo.

        Raises:
            Diverged: training diverged.
        """
        return [_answer(self.copies[fold], image) for fold, image in zip(self.fold_of, images, strict=True)]


def adapt(
    model: Classifier,
    images: Images,
    labels: Sequence[int],
    *,
    folds: int = 2,
    epochs: int = 10,
    learning_rate: float = 3e-4,
    batch: int = 8,
    seed: int = 0,
    also_clean: Images | None = None,
) -> AdaptedModel:
    """Fine-tune copies of a model on protected photos, so that each photo is left out by one of them.

    The photos are assigned to the folds at random. For each fold a copy of the network is fine-tuned on the photos of
    all other folds (cross-entropy, Adam, all parameters). The copies stay in eval mode: batch norm keeps its
    statistics, dropout stays off. `model` is not changed. The same arguments give the same copies on the same machine.

    Args:
        model: model with gradients; its device is used.
        images: protected photos, HWC uint8 (C 1 or 3), of any sizes.
        labels: correct class index of each photo.
        folds: number of folds, from 2 to the number of photos.
        epochs: passes over the training photos.
        learning_rate: learning rate of Adam, above 0, at most 1; small models need up to 1e-3, and an adversary would
            try several.
        batch: photos in each step.
        seed: seed of the folds and of the order of the photos.
        also_clean: the unprotected originals, in the order of `images`; each copy is then trained on the originals of
            its own training photos as well, and never on those of the photos left out.

    Raises:
        UserError: labels are out of range, counts differ, there are too few photos or folds, a setting is out of its
            range, or the model has no parameters.
    """
    _check_photos(model, images, labels, folds, also_clean)
    _check_settings(epochs, learning_rate, batch)
    generator = Generator().manual_seed(seed)
    fold_of = torch.randperm(len(images), generator=generator) % folds
    crops, truth = _crops(model, images), torch.tensor(labels, device=model.mean.device)
    if also_clean is not None:  # an original shares its photo's fold
        crops, truth = torch.cat([crops, _crops(model, also_clean)]), torch.cat([truth, truth])
        fold_of = torch.cat([fold_of, fold_of])
    copies = []
    for fold in range(folds):
        student = copy.deepcopy(model)
        optimizer = torch.optim.Adam(_unfreeze(student), learning_rate)
        training = (fold_of != fold).nonzero()[:, 0]
        for _ in range(epochs):
            order = training[torch.randperm(len(training), generator=generator)]
            for rows in torch.split(order, batch):
                _train_step(student, optimizer, crops[rows], truth[rows])
        copies.append(student)
    return AdaptedModel(tuple(copies), tuple(fold_of[: len(images)].tolist()))


def adapted_rows(
    results: Results,
    students: Sequence[Student],
    pairs: Sequence[Pair],
    *,
    progress: bool = True,
) -> list[Row]:
    """Return one more row for every student, see `find_students`, but those whose training diverges.

    The model is fine-tuned on the protected photos of each run as they were written, and on their originals, at the
    learning rate of `LEARNING_RATES` at which most of the protected photos left out are read. Its answers to the clean
    photos are those after fine-tuning for the first run, to originals that were left out: where they are wrong,
    training has broken the model, and its answers to the protected photos show nothing.

    Args:
        results: an evaluation.
        students: of its judges; they have a class for every label.
        pairs: all photos of the evaluation.
        progress: show a progress bar.
    """
    rows = []
    for student in track(students, "adapting", unit="model", progress=progress):
        row = results.rows[student.index]
        try:
            answers = _adapted_answers(results, student.model, row.truths, pairs)
        except Diverged as error:
            log.warning("%s at each learning rate that was tried, so that it has no row as fine-tuned", error)
            continue
        row = replace(row, model=f"{row.model} (adapted)", answers=answers, exclusion=EXCLUSION)
        rows.append(replace(row, names={index: student.model.card.name_of(index) for index in occurring(row)}))
    return rows


def _adapted_answers(
    results: Results, model: Classifier, truths: Sequence[Answer], pairs: Sequence[Pair]
) -> dict[str, dict[str, tuple[Answer, ...]]]:
    """Return the answers of a row of `adapted_rows`.

    Raises:
        Diverged: see `_strongest`.
    """
    # the adversary reads what a deployment makes of a photo by its own preprocessing
    ways: dict[str, AnyChannel] = {**CHANNELS, **DEPLOYMENTS}
    answers: dict[str, dict[str, tuple[Answer, ...]]] = {}
    labels = [truth for truth in truths if truth is not None]  # all, since the model knows every label
    originals = [pair.original for pair in pairs]
    for run in results.runs:
        photos = [pair.protected[run.name] for pair in pairs]
        adapted = _strongest(model, photos, labels, originals)
        versions = {run.name: photos} if answers else {CLEAN: originals, run.name: photos}
        for version, images in versions.items():
            answers[version] = {
                name: tuple(adapted.answers([ways[name].apply(image) for image in images])) for name in results.channels
            }
    return answers


def _strongest(model: Classifier, photos: Images, labels: Sequence[int], originals: Images) -> AdaptedModel:
    """Return the copies whose learning rate reads most of the protected photos that each left out.

    Raises:
        Diverged: training diverged at every learning rate.
    """
    read: list[tuple[int, AdaptedModel]] = []
    for rate in LEARNING_RATES:
        adapted = adapt(model, photos, labels, **ADAPTATION, learning_rate=rate, also_clean=originals)
        try:
            answers = adapted.answers(photos)
        except Diverged as error:
            diverged = error
        else:
            right = sum(answer == label for answer, label in zip(answers, labels, strict=True))
            read.append((right, adapted))
    if not read:
        raise diverged
    return max(read, key=lambda one: one[0])[1]


def _check_photos(
    model: Classifier, images: Images, labels: Sequence[int], folds: int, also_clean: Images | None
) -> None:
    if len(labels) != len(images):
        photos = number_of(len(images), "photo has", "photos have")
        raise UserError(f"{photos} {number_of(len(labels), 'label')}: give one for each photo")
    if also_clean is not None and len(also_clean) != len(images):
        photos = number_of(len(images), "protected photo has", "protected photos have")
        raise UserError(f"{photos} {number_of(len(also_clean), 'original')}: give one for each photo")
    if folds < 2:
        raise UserError(
            f"an adapted model needs 2 folds or more, one to answer and the others to learn from, not {folds}"
        )
    if len(images) < folds:
        photos = number_of(len(images), "photo is", "photos are")
        raise UserError(f"{photos} too few for {folds} folds: give more photos, or fewer folds")
    for number, label in enumerate(labels, start=1):
        if not 0 <= label < model.card.classes:
            raise UserError(
                f"photo {number} of {len(labels)}: {model.card.uri} has no class {label}, "
                f"only 0 to {model.card.classes - 1}"
            )


def _check_settings(epochs: int, learning_rate: float, batch: int) -> None:
    if epochs < 1 or batch < 1:
        raise UserError(f"adaptation needs 1 epoch and a batch of 1 or more, not {epochs} and {batch}")
    if not 0 < learning_rate <= 1:
        raise UserError(f"the learning rate of an adaptation must be above 0 and at most 1, not {learning_rate}")


def _crops(model: Classifier, images: Images) -> Tensor:
    """Return the network's inputs, (B,3,height,width) in [0,1]."""
    preprocess, device = model.card.preprocess, model.mean.device
    with torch.no_grad():
        return torch.cat([preprocess.center(preprocess.canvas(to_pixels(image, device))) for image in images])


def _unfreeze(student: Classifier) -> list[nn.Parameter]:
    parameters = [parameter for parameter in student.net.parameters() if parameter.is_floating_point()]
    if not parameters:
        raise UserError(f"{student.card.uri} has no parameters to train: only models with gradients can be fine-tuned")
    for parameter in parameters:
        parameter.requires_grad_(True)
    return parameters


def _train_step(student: Classifier, optimizer: torch.optim.Optimizer, crops: Tensor, truth: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(F.cross_entropy(student.logits(crops), truth))
    optimizer.step()


def _answer(student: Classifier, image: NDArray[np.uint8]) -> int:
    with torch.inference_mode():
        logits = student(to_pixels(image, student.mean.device))
    if not logits.isfinite().all():
        raise Diverged(f"{student.card.uri} diverged in training")
    return int(logits.argmax(1))
