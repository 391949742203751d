"""The optional parts of a photo's record, for tests that know that they are set."""

from dataclasses import replace

from msgspec import UNSET

from onlymymodel.protect.answer_records import ModelAnswers, SurrogateAnswers
from onlymymodel.protect.photo_record import Distance, FaceRecord, PhotoRecord
from onlymymodel.protect.region import Box


def answers_of(record: PhotoRecord | FaceRecord) -> ModelAnswers:
    """Return the authorized model's answers."""
    assert record.authorized is not None
    return record.authorized


def surrogates_of(record: PhotoRecord | FaceRecord) -> tuple[SurrogateAnswers, ...]:
    """Return the surrogates' answers."""
    assert record.surrogates is not None
    return record.surrogates


def faces_of(record: PhotoRecord) -> tuple[FaceRecord, ...]:
    """Return the faces that were protected one by one."""
    assert record.faces is not None
    return record.faces


def boxes_of(record: PhotoRecord) -> tuple[Box, ...]:
    """Return the boxes of the faces that could change."""
    assert record.region is not None
    assert record.region.boxes is not UNSET
    return record.region.boxes


def without_seconds(record: PhotoRecord) -> PhotoRecord:
    """Return the record without the one field that no two runs share."""
    return replace(record, seconds=None)


def measured(distance: Distance) -> float:
    """Return a distance that was measured."""
    assert isinstance(distance, int | float)
    return float(distance)
