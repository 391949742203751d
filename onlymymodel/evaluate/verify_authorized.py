"""Check what the authorized model reads in a protected file: through deployments, and at each face."""

from collections.abc import Iterator, Mapping

from msgspec import UnsetType
from torch import Tensor

from onlymymodel.errors import UserError, number_of
from onlymymodel.protect.attack.deployed_margins import DeployedMargins
from onlymymodel.protect.context import Context
from onlymymodel.protect.faces import find_same_faces
from onlymymodel.protect.photo_record import PhotoRecord
from onlymymodel.protect.predictions import Predictions, predict_face
from onlymymodel.surrogates.deployments import get_deployments
from onlymymodel.surrogates.detector import Detections, detector_of
from onlymymodel.surrogates.kept_objects import kept_objects
from onlymymodel.surrogates.model_card import ModelCard
from onlymymodel.surrogates.object_matches import count_found

# logits; another machine or thread count sums in another order
MARGIN_TOLERANCE = 1e-3
SCORE_TOLERANCE = 1e-3  # of a detector's scores, in [0,1]


def impossible_claims(record: PhotoRecord, card: ModelCard) -> Iterator[str]:
    """Yield a sentence for each claim of a line that the authorized model cannot be asked about."""
    faces = record.faces or ()
    for label in dict.fromkeys([record.label, *(face.label for face in faces)]):
        if label is not None and not 0 <= label < card.answers:
            yield f"the authorized model has no class {label}"
    if not isinstance(record.objects, UnsetType):
        if card.kind != "detector":
            yield "its line has objects, and the authorized model is no detector"
        elif unknown := [one.label for one in record.objects if not 0 <= one.label < card.classes - 1]:
            yield f"its line has an object of the class {unknown[0]}, which the authorized model does not have"
    try:
        for promised in (record.promised, *(face.promised for face in faces)):
            get_deployments(tuple(promised))
    except UserError as error:
        yield f"its deployments cannot be checked: {error}"


def lost_deployments(
    pixels: Tensor, record: PhotoRecord, label: int, objects: Detections | None, context: Context
) -> Iterator[str]:
    """Yield a sentence for each deployment through which the authorized model was recorded to read the photo."""
    deployed = DeployedMargins(context.authorized, tuple(record.promised), objects)
    for lost in _lost(deployed.measure(pixels, label)):
        yield f"the authorized model misreads it through {lost}"


def _lost(margins: Mapping[str, float]) -> list[str]:
    """Return the deployments through which a margin is not positive, with the margin."""
    return [f"{name} (margin {margin:.3f})" for name, margin in margins.items() if margin <= 0]


def missing_objects(clean: Tensor, objects: Detections | None, context: Context) -> Iterator[str]:
    """Yield a sentence if an object that an authorized detector finds in the original is not recorded.

    Args:
        clean: (C,H,W) uint8 pixels of the original.
        objects: those that are recorded; None where none are.
        context: models and settings.
    """
    found = None if objects is None else kept_objects(context.authorized, clean)
    if objects is None or found is None:
        return
    # on another machine a score may lie on the other side of the threshold
    sure = found.scores >= detector_of(context.authorized).found + SCORE_TOLERANCE
    expected = Detections(found.boxes[sure], found.scores[sure], found.classes[sure])
    if missing := len(expected) - count_found(expected, objects):
        finds = "that the authorized model finds in its original"
        yield f"{number_of(missing, f'object {finds} is', f'objects {finds} are')} not in its line"


def misread_faces(
    pixels: Tensor, record: PhotoRecord, photo_predictions: Predictions, context: Context
) -> Iterator[str]:
    """Yield a sentence for each protected face that the authorized model was recorded to keep and now misreads.

    Args:
        pixels: (C,H,W) uint8 pixels of the protected photo.
        record: its record.
        photo_predictions: predictions on the photo.
        context: models and settings.
    """
    changed = [
        (face, face.authorized) for face in record.faces or () if face.authorized is not None and face.area == "changed"
    ]
    landmarks = find_same_faces(pixels, [face.box for face, _ in changed])
    found = [(face, points) for (face, _), points in zip(changed[1:], landmarks[1:], strict=True) if points is not None]
    names = tuple(dict.fromkeys(name for face, _ in found for name in face.promised))
    margins = DeployedMargins(context.authorized, names).measure_faces(
        pixels, [(face.label, points) for face, points in found]
    )
    for (face, _), through in zip(found, margins, strict=True):
        for lost in _lost({name: margin for name, margin in through.items() if name in face.promised}):
            yield f"the authorized model misreads the face of {face.label_name} through {lost}"
    # the first face is checked with the whole photo
    for (face, answers), points in zip(changed[1:], landmarks[1:], strict=True):
        if points is None:
            yield f"the face of {face.label_name} is not found any more"
            continue
        answer = predict_face(pixels, points, face.label, photo_predictions, context).authorized
        if answer != face.label and answers.margin_after is not None and answers.margin_after >= MARGIN_TOLERANCE:
            yield f"the authorized model reads {answer} at the face of {face.label_name}"
