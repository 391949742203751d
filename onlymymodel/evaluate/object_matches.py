"""Match the objects that a detector finds before and after protection: same class, IoU of 0.5 or more."""

from collections.abc import Mapping, Sequence

import numpy as np

from onlymymodel.evaluate.results import CLEAN, ObjectCounts
from onlymymodel.surrogates.detector import Detections

SAME_OBJECT = 0.5  # least intersection over union, as in PASCAL VOC's protocol (Everingham et al., IJCV 2010)
Found = Mapping[str, Mapping[str, Sequence[Detections | None]]]  # version -> channel -> photos; None: it failed


def count_found(clean: Detections, after: Detections) -> int:
    """Return how many objects of a clean photo are found again.

    Objects take their turn by their score in the clean photo; each takes the detection of its class that overlaps it
    most, of those that no other object has taken.
    """
    if not len(clean) or not len(after):
        return 0
    from torchvision.ops import box_iou  # torchvision takes seconds to import

    overlaps = box_iou(clean.boxes.float(), after.boxes.float()).numpy().copy()
    overlaps[clean.classes.numpy()[:, None] != after.classes.numpy()[None]] = 0
    found = 0
    for row in np.argsort(-clean.scores.numpy(), kind="stable"):
        best = int(overlaps[row].argmax())
        if overlaps[row, best] >= SAME_OBJECT:
            overlaps[:, best] = 0
            found += 1
    return found


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
