"""Objects of one photo among what a detector finds in another: the same class, and an IoU of 0.5 or more."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from onlymymodel.surrogates.detector import Detections

SAME_OBJECT = 0.5  # least intersection over union, as in PASCAL VOC's protocol (Everingham et al., IJCV 2010)


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


def scores_at(objects: Detections, boxes: Tensor, scores: Tensor) -> Tensor:
    """Return the largest score of each object's class among the candidates that overlap its box enough.

    Args:
        objects: of the clean photo.
        boxes: (N,4) of the candidates, which get no gradient.
        scores: (N,C) of the candidates, see `Candidates`.

    Returns:
        (objects,), 0 where no candidate does.
    """
    from torchvision.ops import box_iou

    near = box_iou(boxes.detach().float(), objects.boxes.to(boxes).float()) >= SAME_OBJECT
    at_boxes = torch.where(near, scores.float()[:, objects.classes.to(scores.device)], 0.0)
    return torch.cat([at_boxes, at_boxes.new_zeros(1, len(objects))]).amax(0)


def mirror_boxes(objects: Detections) -> Detections:
    """Return the objects as they are on the mirrored photo."""
    left, top, right, bottom = objects.boxes.unbind(1)
    return replace(objects, boxes=torch.stack([1 - right, top, 1 - left, bottom], dim=1))
