"""Decode the outputs of detectors: one row of `FORMATS` and one function for each format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.surrogates.detector import Candidates, Detector, found_score
from onlymymodel.surrogates.uri import ModelUri


@dataclass(frozen=True)
class Format:
    """One row of `FORMATS`.

    Attributes:
        decode: the network's outputs, and height and width of its input in pixels, to candidates.
        outputs: how many outputs the network has.
        overlap: see `Detector`.
    """

    decode: Callable[[Any, int, int], Candidates]
    outputs: int = 1
    overlap: float | None = None


def yolov5(output: Any, height: int, width: int) -> Candidates:
    """YOLOv5 (and v7): (B,N,5+C), rows of center x, center y, width, height in pixels, objectness and class scores."""
    rows = _one(output)
    return Candidates(_shares(rows[..., :4], height, width), rows[..., 4:5] * rows[..., 5:])


def yolov8(output: Any, height: int, width: int) -> Candidates:
    """YOLOv8, v9 and 11: (B,4+C,N), columns of center x, center y, width, height in pixels, and class scores."""
    rows = _one(output).transpose(1, 2)
    return Candidates(_shares(rows[..., :4], height, width), rows[..., 4:])


def detr(output: Any, _height: int, _width: int) -> Candidates:
    """DETR: logits (B,Q,C+1), whose last class is no object, and boxes (B,Q,4) as shares, by their centers."""
    logits, boxes = _two(output)
    return Candidates(_corners(boxes), logits.softmax(-1)[..., :-1])


def rt_detr(output: Any, _height: int, _width: int) -> Candidates:
    """RT-DETR and Deformable DETR: logits (B,Q,C) of independent classes, and boxes as of `detr`."""
    logits, boxes = _two(output)
    return Candidates(_corners(boxes), logits.sigmoid())


def torchvision(output: Sequence[dict[str, Tensor]], height: int, width: int) -> Candidates:
    """torchvision's detectors: for each photo boxes in pixels, scores and labels, of which 0 is the background."""
    most = max(len(photo["scores"]) for photo in output)
    classes = output[0]["classes"]  # an empty tensor of as many columns as the network has classes
    boxes, scores = [], []
    for photo in output:
        missing = most - len(photo["scores"])
        size = torch.tensor([width, height, width, height]).to(photo["boxes"])
        hot = torch.nn.functional.one_hot(photo["labels"] - 1, classes.shape[1]) * photo["scores"][:, None]
        boxes.append(torch.nn.functional.pad(photo["boxes"] / size, (0, 0, 0, missing)))
        scores.append(torch.nn.functional.pad(hot, (0, 0, 0, missing)))
    return Candidates(torch.stack(boxes), torch.stack(scores))


FORMATS = {
    "yolov5": Format(yolov5, overlap=0.45),
    "yolov8": Format(yolov8, overlap=0.45),
    "detr": Format(detr, outputs=2),
    "rt-detr": Format(rt_detr, outputs=2),
}


def format_of(uri: ModelUri) -> Format:
    """Return the format that the option `format` names.

    Raises:
        UserError: there is none, or it is unknown.
    """
    name = uri.options.get("format", "")
    if name not in FORMATS:
        words = did_you_mean(name, FORMATS) if name else f": add format= and one of {', '.join(FORMATS)}"
        raise UserError(f"model {uri.text!r}: say how the outputs of the detector are read{words}")
    return FORMATS[name]


def make_detector(uri: ModelUri, network: torch.nn.Module) -> Detector:
    """Return a network as the detector that a URI describes.

    Raises:
        UserError: see `format_of` and `found_score`.
    """
    kind = format_of(uri)
    return Detector(OneAtATime(network), kind.decode, found_score(uri), kind.overlap)


class OneAtATime(torch.nn.Module):
    """A network that gets one photo at a time, since exported detectors often accept a batch of one only.

    Args:
        network: maps (1,3,height,width) to a tensor or several.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, network_input: Tensor) -> tuple[Tensor, ...]:
        rows = [self.network(photo[None]) for photo in network_input]
        rows = [(row,) if isinstance(row, Tensor) else tuple(row) for row in rows]
        return tuple(torch.cat(parts) for parts in zip(*rows, strict=True))


def _one(output: Any) -> Tensor:
    return _of_objects(output if isinstance(output, Tensor) else output[0])


def _two(output: Any) -> tuple[Tensor, Tensor]:
    """Return logits and boxes: the boxes are the output of four columns, the second one if both have four."""
    first, second = map(_of_objects, output)
    return (first, second) if second.shape[-1] == 4 else (second, first)


def _of_objects(output: Tensor) -> Tensor:
    """Return an output that has numbers for each of several objects. Raises ValueError if it has not."""
    if output.ndim != 3:
        raise ValueError(f"an output of the shape {tuple(output.shape)} is not of this format=")
    return output


def _shares(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return boxes by their centers in pixels as corners in shares of the input."""
    return _corners(boxes) / torch.tensor([width, height, width, height]).to(boxes)


def _corners(boxes: Tensor) -> Tensor:
    """Return boxes by their centers as boxes by their corners."""
    from torchvision.ops import box_convert  # torchvision takes seconds to import

    corners: Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners
