"""The row of one model in the results of an evaluation, from its answers to all photos."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from onlymymodel.data.attributes import AttributeLabels
from onlymymodel.evaluate.attribute_scores import AttributeTruths
from onlymymodel.evaluate.face_verification import GalleryMatches, match_gallery
from onlymymodel.evaluate.judges import Judge, JudgeAnswer, Scores, reason_excluded
from onlymymodel.evaluate.object_counts import count_objects
from onlymymodel.evaluate.original_matches import NONE_OF_THEM, match_originals
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Answer, Row
from onlymymodel.surrogates.class_mapping import map_classes
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.detector import Detections
from onlymymodel.surrogates.gallery import cosines_of
from onlymymodel.surrogates.kept_objects import answer_of_objects


@dataclass
class Collected:
    """A model's answers as they come in, by version and channel.

    Attributes:
        keeps_scores: whether the scores are needed, too.
        keeps_objects: whether the objects of a detector are.
        answers, scores: None where the model failed.
        found: objects; None where the model failed.
    """

    keeps_scores: bool
    keeps_objects: bool
    answers: dict[str, dict[str, list[Answer]]] = field(default_factory=dict)
    scores: dict[str, dict[str, list[Scores | None]]] = field(default_factory=dict)
    found: dict[str, dict[str, list[Detections | None]]] = field(default_factory=dict)

    def add(self, version: str, channel: str, answer: JudgeAnswer) -> None:
        """Append the answer to the next photo."""
        self.answers.setdefault(version, {}).setdefault(channel, []).append(answer.answer)
        if self.keeps_scores:  # all are kept: what they are compared with is known only after the last photo
            self.scores.setdefault(version, {}).setdefault(channel, []).append(answer.scores)
        if self.keeps_objects:
            self.found.setdefault(version, {}).setdefault(channel, []).append(answer.found)


def make_row(
    judge: Judge,
    collected: Collected,
    photos: Sequence[str],
    labels: Sequence[int],
    authorized: ModelCard,
    used: Sequence[ModelCard],
    attributes: AttributeLabels | None = None,
) -> Row:
    """Return the row of a model.

    Args:
        judge: the model and its role.
        collected: its answers.
        photos: names of the photos.
        labels: the authorized model's right classes.
        authorized: card of the authorized model.
        used: cards of the models that took part.
        attributes: labels of the photos' attributes; None where there are none.
    """
    card = judge.model.card
    row = Row(
        model=card.uri,
        role=judge.role,
        sha256=card.sha256,
        family=card.family,
        parent=card.parent,
        truth="own",
        truths=(),
        answers={
            version: {channel: tuple(indices) for channel, indices in channels.items()}
            for version, channels in collected.answers.items()
        },
        exclusion=reason_excluded(card, used) if judge.role == "held-out" else "",
        kind=card.kind,
    )
    if card.threshold is not None:
        return _with_originals(row, collected, photos, card.threshold)
    if card.kind == "attributes":
        return _with_attributes(row, card, photos, labels, attributes)
    row = _with_classes(row, card, labels, authorized)
    if collected.found:
        row = replace(row, objects=count_objects(collected.found))
        return _keeping_objects(row, collected, card) if row.role == "authorized" else row
    return replace(row, matches=_matches(collected, row.truths, card.classes - 1)) if card.gallery else row


def _with_classes(row: Row, card: ModelCard, labels: Sequence[int], authorized: ModelCard) -> Row:
    """Return the row of a model with classes, with the right ones."""
    classes = map_classes(authorized, card)
    mapped = tuple(classes[label] for label in labels) if classes else ()
    knows_labels = any(index is not None for index in mapped)
    truths: tuple[Answer, ...] = mapped if knows_labels else row.answers[CLEAN][AS_WRITTEN]
    if card.asked and not knows_labels:  # an answer that names no class is no reference
        truths = tuple(None if truth is None or truth >= card.classes - 2 else truth for truth in truths)
    row = replace(
        row,
        truth="label" if knows_labels else "own",
        truths=truths,
        unmapped=_unmapped(authorized, labels, mapped) if knows_labels else (),
    )
    return replace(row, names={index: card.name_of(index) for index in occurring(row)})


def _keeping_objects(row: Row, collected: Collected, card: ModelCard) -> Row:
    """Return the row of an authorized detector, which is right where it finds every object of the original again."""
    clean = collected.found[CLEAN][AS_WRITTEN]
    answers = {
        version: {
            channel: tuple(
                None if before is None or now is None else answer_of_objects(before, now, card.classes - 1)
                for before, now in zip(clean, photos, strict=True)
            )
            for channel, photos in channels.items()
        }
        for version, channels in collected.found.items()
    }
    row = replace(row, answers=answers)
    return replace(row, names={index: card.name_of(index) for index in occurring(row)})


def _with_attributes(
    row: Row, card: ModelCard, photos: Sequence[str], labels: Sequence[int], attributes: AttributeLabels | None
) -> Row:
    """Return the row of a model of attributes; the labels are answers that the authorized model has to keep."""
    names = card.labels or tuple(map(str, range(card.classes)))
    truths = AttributeTruths(names)
    if attributes is not None:
        known = tuple(name for name in names if attributes.bit_of(name) is not None)
        codes = attributes.of_model(known)
        truths = AttributeTruths(names, known, tuple(codes.get(photo) for photo in photos))
    is_authorized = row.role == "authorized"
    row = replace(row, attributes=truths, truth="label" if is_authorized else "own")
    row = replace(row, truths=tuple(labels) if is_authorized else row.answers[CLEAN][AS_WRITTEN])
    return replace(row, names={code: card.name_of(code) for code in occurring(row)})


def occurring(row: Row) -> list[int]:
    """Return the answers and truths that occur, sorted."""
    answers = {answer for channels in row.answers.values() for indices in channels.values() for answer in indices}
    return sorted(index for index in answers | {*row.truths} if index is not None)


def _with_originals(row: Row, collected: Collected, photos: Sequence[str], threshold: float) -> Row:
    """Return the row of an embedder, whose right answer is the original of the photo."""
    matches, answers = match_originals(collected.scores, threshold)
    names = dict(enumerate([*photos, NONE_OF_THEM]))
    return replace(row, truths=matches.persons, answers=answers, names=names, matches=matches)


def _matches(collected: Collected, truths: Sequence[Answer], people: int) -> GalleryMatches | None:
    """Return whom a model found among its `people` identities; None if it never answered."""
    split = {
        version: {
            channel: [None if scores is None else cosines_of(scores) for scores in by_photo]
            for channel, by_photo in channels.items()
        }
        for version, channels in collected.scores.items()
    }
    thresholds = [pair[1] for channels in split.values() for photos in channels.values() for pair in photos if pair]
    if not thresholds:
        return None
    cosines = {
        version: {channel: [pair and pair[0] for pair in by_photo] for channel, by_photo in channels.items()}
        for version, channels in split.items()
    }
    # the class after the identities is the stranger, who is not in the gallery
    persons = [truth if truth is not None and truth < people else None for truth in truths]
    return match_gallery(cosines, cosines[CLEAN][AS_WRITTEN], persons, thresholds[-1])


def _unmapped(authorized: ModelCard, labels: Sequence[int], mapped: Sequence[Answer]) -> tuple[str, ...]:
    """Return the names of the occurring classes that a model does not have."""
    missing = {label for label, index in zip(labels, mapped, strict=True) if index is None}
    return tuple(authorized.name_of(label) for label in sorted(missing))
