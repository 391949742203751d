"""Count the objects that a detector finds before and after protection."""

from collections.abc import Mapping, Sequence

from onlymymodel.evaluate.results import CLEAN, ObjectCounts
from onlymymodel.surrogates.detector import Detections
from onlymymodel.surrogates.object_matches import count_found

Found = Mapping[str, Mapping[str, Sequence[Detections | None]]]  # version -> channel -> photos; None: it failed


def count_objects(found: Found) -> dict[str, dict[str, ObjectCounts]]:
    """Count the objects of the clean photos, and those that are found again, in every version and channel.

    The clean photo went through the same channel, so that what the channel hides is not taken for protection. Where the
    detector failed on a photo, its objects count as found.
    """
    return {
        version: {channel: _counts(found[CLEAN][channel], photos) for channel, photos in channels.items()}
        for version, channels in found.items()
    }


def _counts(clean: Sequence[Detections | None], after: Sequence[Detections | None]) -> ObjectCounts:
    pairs = [(before, now) for before, now in zip(clean, after, strict=True) if before is not None and len(before)]
    again = [len(before) if now is None else count_found(before, now) for before, now in pairs]
    return ObjectCounts(
        objects=sum(len(before) for before, _ in pairs),
        found=sum(again),
        photos=len(pairs),
        photos_without=sum(count == 0 for count in again),
    )
