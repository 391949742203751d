"""Small detectors whose behavior is known in closed form."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from toys import PLAIN

from onlymymodel.surrogates.classifier import Classifier, ModelCard
from onlymymodel.surrogates.detector import Candidates, Detector

BOXES = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])
CLASSES = 2


class Corners(nn.Module):
    """One candidate in the upper left and one in the lower right quarter: red is class 0, green is class 1."""

    def forward(self, pixels: Tensor) -> Tensor:
        quarters = [pixels[:, :2, :8, :8], pixels[:, :2, 8:, 8:]]
        return torch.stack([quarter.mean((2, 3)) for quarter in quarters], dim=1)


def decode(scores: Tensor, _height: int, _width: int) -> Candidates:
    return Candidates(BOXES.expand(len(scores), -1, -1).to(scores), scores)


def corners(name: str = "corners") -> Classifier:
    """A detector of bright red and green quarters of 16-pixel photos: found from a brightness of 0.5 on."""
    labels = ("red", "green", "nothing")
    card = ModelCard(name, sha256=name, classes=3, preprocess=PLAIN, task="detection", labels=labels)
    return Classifier(Detector(Corners(), decode, 0.5, None), card)


class Quarters(nn.Module):
    """One candidate in each quarter of the photo, whatever its size: red is class 0, green is class 1."""

    def forward(self, pixels: Tensor) -> Tensor:
        h, w = pixels.shape[-2] // 2, pixels.shape[-1] // 2
        halves = [pixels[:, :2, rows, columns] for rows, columns in _quarters(h, w)]
        return torch.stack([quarter.mean((2, 3)) for quarter in halves], dim=1)


def _quarters(h: int, w: int) -> list[tuple[slice, slice]]:
    rows, columns = (slice(None, h), slice(h, None)), (slice(None, w), slice(w, None))
    return [(row, column) for row in rows for column in columns]


def decode_quarters(scores: Tensor, _height: int, _width: int) -> Candidates:
    corners_ = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]
    boxes = torch.tensor([[left, top, left + 0.5, top + 0.5] for left, top in corners_])
    return Candidates(boxes.expand(len(scores), -1, -1).to(scores), scores)


def quarters() -> Classifier:
    """A detector of bright red and green quarters that move with the photo; also as `python:detectors:quarters`."""
    labels = ("red", "green", "nothing")
    card = ModelCard("quarters", sha256="quarters", classes=3, preprocess=PLAIN, task="detection", labels=labels)
    return Classifier(Detector(Quarters(), decode_quarters, 0.5, None), card)


def quarter_photo(upper_left: float, lower_right: float, size: int = 16) -> Tensor:
    """(1,3,size,size) in [0,1]: red of a brightness in the upper left quarter, green in the lower right one."""
    photo, half = torch.full((1, 3, size, size), 0.2), size // 2
    photo[0, 0, :half, :half] = upper_left
    photo[0, 1, half:, half:] = lower_right
    return photo


def as_factory() -> Classifier:
    """The same, as `python:detectors:as_factory`."""
    return corners()


def write_yolo(path: Path, layout: str) -> Path:
    """Write a detector of two candidates of 16-pixel photos, whose class scores are the means of red and green.

    The boxes are those of `BOXES` by their centers in pixels; layout is `yolov5` or `yolov8`.
    """
    boxes = np.array([[4, 4, 8, 8], [12, 12, 8, 8]], np.float32)
    objectness = 1 if layout == "yolov5" else 0
    width = 4 + objectness + CLASSES
    rows = np.zeros((2 * width, 3), np.float32)
    bias = np.zeros((2, width), np.float32)
    bias[:, :4] = boxes
    bias[:, 4 : 4 + objectness] = 1
    for candidate in range(2):
        for index in range(CLASSES):
            rows[candidate * width + 4 + objectness + index, index] = 1
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "rows", "bias"], ["all"], transB=1),
        helper.make_node("Reshape", ["all", "shape"], ["byrow"]),
    ]
    if layout == "yolov8":
        nodes.append(helper.make_node("Transpose", ["byrow"], ["out"], perm=[0, 2, 1]))
    output = "out" if layout == "yolov8" else "byrow"
    weights: dict[str, Any] = {"rows": rows, "bias": bias.reshape(-1), "shape": np.array([1, 2, width], np.int64)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model: Any = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path
