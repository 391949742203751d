"""The judges that an adversary can fine-tune: those with gradients that have the authorized model's classes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onlymymodel.errors import UserError
from onlymymodel.evaluate.judges import Judge
from onlymymodel.surrogates.black_box import BlackBox, ClassifierBlackBox
from onlymymodel.surrogates.class_mapping import ClassMap, map_classes
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.load import load_model
from onlymymodel.surrogates.uri import ModelUri


@dataclass(frozen=True)
class Student:
    """A judge that can be fine-tuned.

    Attributes:
        index: of the judge, and of its row in the results.
        model: its network.
        classes: its class for each class of the authorized model.
    """

    index: int
    model: Classifier
    classes: ClassMap

    def knows(self, labels: Iterable[int]) -> bool:
        """Return whether it has a class for each of the authorized model's classes that occur."""
        return all(self.classes[label] is not None for label in labels)


def find_students(judges: Sequence[Judge], photos: int, folds: int) -> tuple[Student, ...]:
    """Return the held-out models that can be fine-tuned, as far as that is known before any is asked.

    Args:
        judges: the judges of an evaluation.
        photos: number of photos.
        folds: number of parts of the photos, each of which is left out once.

    Raises:
        UserError: no model can be, the network of a model cannot be loaded, or there are too few photos.
    """
    if photos < folds:
        raise UserError(
            f"--adapt needs {folds} photos or more: a judge is fine-tuned on some, and reads those left out"
        )
    (authorized,) = (judge.model.card for judge in judges if judge.role == "authorized")
    students = []
    for index, judge in enumerate(judges):
        classes = map_classes(authorized, judge.model.card) if judge.role == "held-out" else None
        model = None if classes is None else _network(judge.model)
        if classes is not None and model is not None:
            students.append(Student(index, model, classes))
    return _require(students)


def that_know(students: Iterable[Student], labels: Iterable[int]) -> tuple[Student, ...]:
    """Return the students that have a class for every label of the authorized model.

    Raises:
        UserError: none has.
    """
    occurring = set(labels)
    return _require([student for student in students if student.knows(occurring)])


def _require(students: Sequence[Student]) -> tuple[Student, ...]:
    if not students:
        raise UserError("no judge can be fine-tuned: name one that has gradients and the authorized model's classes")
    return tuple(students)


def _network(model: BlackBox) -> Classifier | None:
    """Return the network of a judge, where it has parameters: an adversary has the weights of its own model."""
    if model.card.kind in ("attributes", "embedder", "detector"):
        return None  # it has no classes that whole photos could be labelled with
    uri = getattr(model, "uri", None)
    if isinstance(model, ClassifierBlackBox):
        network = model.classifier
    elif isinstance(uri, ModelUri) and uri.scheme == "onnx":
        network = load_model(uri.relative_to(Path()))
    else:
        return None
    return network if any(parameter.is_floating_point() for parameter in network.net.parameters()) else None
