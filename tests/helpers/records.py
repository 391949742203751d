"""Records of photos, and their optional parts for tests that know that they are set."""

from dataclasses import replace

from msgspec import UNSET

from onlymymodel.protect.answer_records import DeploymentMargins, ModelAnswers, SurrogateAnswers
from onlymymodel.protect.photo_record import Distance, FaceRecord, PhotoRecord, Status
from onlymymodel.protect.region import Box


def record_with_margins(name: str, status: Status, **margins: tuple[float, float]) -> PhotoRecord:
    """Return the record of a photo with the margins before and after through each deployment."""
    return PhotoRecord(
        source=name,
        source_sha256=None,
        status=status,
        reason="",
        label=0,
        label_source="given",
        deployments={key: DeploymentMargins(before=before, after=after) for key, (before, after) in margins.items()},
    )


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
