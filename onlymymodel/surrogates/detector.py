"""Object detectors: candidates with scores, the objects that are found, and presence scores that make a classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onlymymodel.data.pixels import to_tensor
from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import BlackBox, ClassifierBlackBox
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.options import number, read_keep, read_names
from onlymymodel.surrogates.uri import ModelUri

DETECTION = "detection"  # the task of a detector
NOTHING = "nothing"  # its last class: no object is found
FOUND = 0.5  # score from which an object counts as found
SMALLEST_SCORE = 1e-6  # whose logit is the least that a class gets


class Candidates(NamedTuple):
    """Candidates of a network, before non-maximum suppression.

    Attributes:
        boxes: (B,N,4) left, top, right, bottom, as shares of the network's input.
        scores: (B,N,C) in [0,1], of each class.
    """

    boxes: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Detections:
    """Objects that are found in one photo, the most certain first.

    Attributes:
        boxes: (N,4) left, top, right, bottom, as shares of what the detector saw.
        scores: (N,) in [0,1].
        classes: (N,) long.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def answer(self, nothing: int) -> int:
        """Return the class of the most certain object, or the class `nothing` where none is found."""
        return int(self.classes[0]) if len(self) else nothing


@runtime_checkable
class Detects(Protocol):
    """A judge that says where objects are."""

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Find the objects in an HWC uint8 image."""
        ...


class Detector(nn.Module):
    """A detector as a classifier: maps (B,3,height,width) network input to (B,C+1) logits.

    The logit of a class is that of its largest score, the last one, of `nothing`, that of the score from which an
    object counts as found.

    Args:
        network: gives what `decode` reads.
        decode: the network's output, and height and width of its input, to candidates.
        found: score from which an object counts as found, above 0 and below 1.
        overlap: intersection over union above which the less certain of two boxes of one class is dropped; None for a
            network that gives each object once.
        kept: indices of the classes that count; None for all. The others are neither found nor have a logit above that
            of `SMALLEST_SCORE`.
    """

    def __init__(
        self,
        network: nn.Module,
        decode: Callable[[Any, int, int], Candidates],
        found: float,
        overlap: float | None,
        kept: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.decode, self.found, self.overlap = network, decode, found, overlap
        self.kept = None if kept is None else tuple(kept)

    def candidates(self, network_input: Tensor) -> Candidates:
        """Return the candidates of (B,3,height,width) network input, differentiable."""
        return self.decode(self.network(network_input), network_input.shape[-2], network_input.shape[-1])

    def forward(self, network_input: Tensor) -> Tensor:
        return self.presence(self.candidates(network_input).scores)

    def presence(self, scores: Tensor) -> Tensor:
        """Return the (B,C+1) logits of (B,N,C) scores of candidates."""
        scores = scores.float()  # in bfloat16 the largest score would be 1
        empty = (
            torch.zeros_like(scores[:, :1]) if scores.shape[1] else scores.new_zeros(len(scores), 1, scores.shape[2])
        )
        largest = torch.cat([scores, empty], dim=1).amax(1)
        if self.kept is not None:
            largest = largest * torch.isin(torch.arange(largest.shape[1]), torch.tensor(self.kept)).to(largest)
        threshold = torch.full_like(largest[:, :1], self.found)
        return score_logits(torch.cat([largest, threshold], dim=1))

    def detect(self, network_input: Tensor) -> list[Detections]:
        """Return what is found in each photo of (B,3,height,width) network input."""
        boxes, scores = self.candidates(network_input)
        return [self._found(*photo) for photo in zip(boxes.detach(), scores.detach(), strict=True)]

    def _found(self, boxes: Tensor, scores: Tensor) -> Detections:
        """Return the objects among (N,4) boxes with (N,C) scores: each box has its best class."""
        best, classes = scores.max(1)
        kept = (best >= self.found).nonzero()[:, 0]
        kept = kept[best[kept].argsort(descending=True, stable=True)]
        if self.overlap is not None:
            from torchvision.ops import batched_nms  # torchvision takes seconds to import

            kept = kept[batched_nms(boxes[kept].float(), best[kept].float(), classes[kept], self.overlap)]
        if self.kept is not None:
            kept = kept[torch.isin(classes[kept].cpu(), torch.tensor(self.kept)).to(kept.device)]
        return Detections(boxes[kept].cpu(), best[kept].cpu(), classes[kept].cpu())


def score_logits(scores: Tensor) -> Tensor:
    """Return the logits of scores, which are limited to `SMALLEST_SCORE` at both ends."""
    return scores.clamp(SMALLEST_SCORE, 1 - SMALLEST_SCORE).logit()


class DetectorBlackBox(ClassifierBlackBox):
    """A detector without its gradients, which also says where the objects are."""

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """See `Detects`."""
        model = self.classifier
        with torch.inference_mode():
            return detector_of(model).detect(model.network_input(to_tensor(image)[None].to(model.mean.device)))[0]


def as_judge(model: Classifier) -> BlackBox:
    """Return a model as a black box, without its gradients."""
    return DetectorBlackBox(model) if model.card.kind == "detector" else ClassifierBlackBox(model)


def detector_of(model: Classifier) -> Detector:
    """Return the detector inside a classifier of the kind `detector`."""
    if not isinstance(model.net, Detector):
        raise TypeError(f"{model.card.uri} is no detector")
    return model.net


def found_score(uri: ModelUri, default: float = FOUND) -> float:
    """Return the score from which an object counts as found: the option `threshold`, or the default.

    Raises:
        UserError: it is not between 0 and 1.
    """
    score = number(uri, "threshold", uri.options.get("threshold", str(default)), float)
    if not 0 < score < 1:
        raise UserError(f"model {uri.text!r}: the threshold of a detector is a score between 0 and 1")
    return score


def detector_record(uri: ModelUri, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the fields of the card of a detector.

    Args:
        uri: of the model, whose option `labels` takes the place of the names.
        names: of its classes, without `nothing`.

    Raises:
        UserError: see `read_names`.
    """
    names = read_names(uri) if "labels" in uri.options else tuple(names)
    return {"task": DETECTION, "labels": (*names, NOTHING) if names else ()}


def with_kept_classes(uri: ModelUri, net: nn.Module, record: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """Return a detector whose classes are limited to those of the option `keep`, and the fields of its card.

    Raises:
        UserError: see `read_keep`.
    """
    names = record.get("labels", ())[:-1]
    kept = read_keep(uri, names)
    if kept is None or not isinstance(net, Detector):
        return net, record
    limited = Detector(net.network, net.decode, net.found, net.overlap, kept)
    return limited, {**record, "keep": tuple(names[index] for index in kept)}
