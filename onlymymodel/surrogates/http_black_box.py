"""Served models as black boxes: Open Inference Protocol, version 2, over HTTP (KServe, Triton, MLServer, ...).

Protocol: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.surrogates.assumed import still_assumed
from onlymymodel.surrogates.black_box import BlackBoxError, network_input
from onlymymodel.surrogates.http_endpoint import Endpoint
from onlymymodel.surrogates.model_card import ModelCard, Preprocess
from onlymymodel.surrogates.onnx_file import onnx_preprocess
from onlymymodel.surrogates.options import (
    declared_classes,
    least_outputs,
    numeric_option,
    override_card,
    override_preprocess,
)
from onlymymodel.surrogates.query_count import QueryCount
from onlymymodel.surrogates.schemes import READING_OPTIONS
from onlymymodel.surrogates.uri import ModelUri

SCORE_TYPES = ("FP16", "FP32", "FP64")
MAX_NAME, MAX_DIMENSIONS, MAX_SIZE = 200, 8, 2**24  # of tensors in a server's metadata


@dataclass(frozen=True)
class Tensor:
    """An input or output in the server's metadata.

    Attributes:
        name: of the tensor.
        datatype: in the protocol's words, such as FP32.
        shape: sizes of its dimensions; -1 for any size.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


class HttpBlackBox(QueryCount):
    """`http(s)://host:port/v2/models/NAME[/versions/V]?options`, which gets one image in each query.

    FP32 inputs get pixels in [0,1], normalized if `mean` and `std` are given; UINT8 inputs get pixels in [0,255]. The
    images are resized and cropped here, by `Preprocess`. Additional options: `input` and `output` (names, if the model
    has several), `timeout` (seconds for one query, 10 by default), `retries` (2 by default), `budget` (total number of
    queries; over several runs only with an `AnswerCache`). Unknown options are passed on to the server.

    The card's sha256 covers address, tensor names and metadata; the weights of the server are unknown.

    Args:
        uri: of the scheme `http` or `https`.
        sleep: waits for a number of seconds between two tries.

    Raises:
        UserError: the server's model cannot be used as an image classifier, or an option is wrong.
        BlackBoxError: the server does not answer.
    """

    def __init__(self, uri: ModelUri, *, sleep: Callable[[float], None] = time.sleep) -> None:
        timeout = numeric_option(uri, "timeout", 10, float, 1e-3, 3600)
        self.endpoint = Endpoint(uri, timeout, int(numeric_option(uri, "retries", 2, int, 0, 10)), sleep)
        super().__init__(uri)
        if "keep" in uri.options:
            raise UserError(f"model {uri.public!r}: a server gives all of its attributes: leave keep= out")
        uri = replace(uri, text=uri.public)  # the server's own options may be secret: errors do not show them
        metadata = self.endpoint.metadata()
        self.input = _select_tensor(uri, metadata, "input")
        self.output = _select_tensor(uri, metadata, "output")
        self.channels_last = _channels_last(uri, self.input)
        preprocess = _preprocess(uri, self.input, self.channels_last)
        facts = [self.endpoint.address, self.endpoint.query, self.input.name, self.output.name, metadata]
        sha256 = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        self.card = override_card(ModelCard(uri.public, sha256, _classes(uri, self.output), preprocess), uri)
        # 8-bit pixels are never normalized
        names = [name for name in READING_OPTIONS if self.input.datatype != "UINT8" or name not in ("mean", "std")]
        self.assumed = still_assumed(names, preprocess, uri)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`.

        Raises:
            QueryBudgetExhausted: no further query may be sent.
            BlackBoxError: no answer, or one that is not (1, classes) finite scores.
        """
        rows = [self._scores(image) for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)

    def _scores(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = network_input(image, self.card.preprocess)
        if self.channels_last:
            pixels = pixels.permute(0, 2, 3, 1)
        if self.input.datatype == "UINT8":
            pixels = (pixels * 255).round().byte()
        tensor = {"name": self.input.name, "shape": list(pixels.shape), "datatype": self.input.datatype}
        request = {"inputs": [{**tensor, "data": pixels.flatten().tolist()}], "outputs": [{"name": self.output.name}]}
        answer = self.endpoint.infer(json.dumps(request).encode(), self.count_query)
        return self._read_scores(answer)

    def _read_scores(self, answer: dict[str, object]) -> NDArray[np.float32]:
        """Return the (classes,) scores in the server's answer.

        Raises:
            BlackBoxError: it has none, or they are not as the metadata promise.
        """
        outputs, classes = answer.get("outputs"), self.card.classes
        tensors = [output for output in outputs if isinstance(output, dict)] if isinstance(outputs, list) else []
        named = [tensor for tensor in tensors if tensor.get("name") == self.output.name]
        if len(named) != 1:
            raise self._unusable(f"has no output {self.output.name!r}")
        output = named[0]
        if output.get("datatype") not in SCORE_TYPES:
            raise self._unusable(
                f"has scores of datatype {output.get('datatype')!r}, where one of {SCORE_TYPES} is needed"
            )
        if output.get("shape") not in ([1, classes], [classes]):
            raise self._unusable(f"has scores of shape {output.get('shape')!r}, where [1, {classes}] is needed")
        data = output.get("data")
        if isinstance(data, list) and len(data) == 1 and isinstance(data[0], list):
            data = data[0]  # nested, as the protocol allows
        if not isinstance(data, list) or len(data) != classes or any(type(value) not in (int, float) for value in data):
            raise self._unusable(f"does not hold {classes} numbers")
        try:
            with np.errstate(over="ignore"):
                scores = np.array(data, np.float64).astype(np.float32)
        except OverflowError:  # an integer larger than any float
            scores = np.full(classes, np.inf, np.float32)
        if not np.isfinite(scores).all():
            raise self._unusable("has scores that are not finite")
        return scores

    def _unusable(self, reason: str) -> BlackBoxError:
        return BlackBoxError(f"model {self.card.uri}: the server's answer {reason}"[:500])


def _select_tensor(uri: ModelUri, metadata: dict[str, object], role: Literal["input", "output"]) -> Tensor:
    """Return the only input or output, or the one that the option of that name selects."""
    listed = metadata.get(f"{role}s")
    entries = listed if isinstance(listed, list) else []
    tensors = {tensor.name: tensor for tensor in map(_parse_tensor, entries) if tensor is not None}
    if not tensors or len(tensors) != len(entries):
        raise UserError(f"model {uri.text!r}: the server's metadata do not describe its {role}s")
    selected = uri.options.get(role)
    if selected is None:
        if len(tensors) > 1:
            raise UserError(f"model {uri.text!r} has several {role}s: add {role}= and one of {', '.join(tensors)}")
        return next(iter(tensors.values()))
    if selected not in tensors:
        raise UserError(f"model {uri.text!r} has no {role} {selected!r}{did_you_mean(selected, tensors)}")
    return tensors[selected]


def _parse_tensor(entry: object) -> Tensor | None:
    if not isinstance(entry, dict):
        return None
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str) or not isinstance(shape, list):
        return None
    if not name.isprintable() or len(name) > MAX_NAME or not datatype.isalnum() or len(datatype) > MAX_NAME:
        return None  # names and types are shown to the user
    if len(shape) > MAX_DIMENSIONS or not all(type(size) is int and -1 <= size <= MAX_SIZE for size in shape):
        return None
    return Tensor(name, datatype, tuple(shape))


def _channels_last(uri: ModelUri, tensor: Tensor) -> bool:
    """Return whether an image input is NHWC, not NCHW.

    Raises:
        UserError: it is neither.
    """
    shape = tensor.shape
    if tensor.datatype not in ("FP32", "UINT8"):
        raise UserError(f"model {uri.text!r} takes {tensor.datatype} at {tensor.name!r}, where FP32 or UINT8 is needed")
    if len(shape) != 4 or shape[0] not in (-1, 1) or (shape[1] == 3) == (shape[3] == 3):
        raise UserError(
            f"model {uri.text!r} takes {list(shape)} at {tensor.name!r}, where one RGB image is needed: "
            "[-1, 3, height, width] or [-1, height, width, 3]"
        )
    return shape[3] == 3


def _preprocess(uri: ModelUri, tensor: Tensor, channels_last: bool) -> Preprocess:
    sides = tensor.shape[1:3] if channels_last else tensor.shape[2:4]
    preprocess = override_preprocess(onnx_preprocess(uri, list(sides)), uri)
    size = (preprocess.height, preprocess.width)
    if any(fixed not in (-1, side) for fixed, side in zip(sides, size, strict=True)):
        raise UserError(f"model {uri.text!r} takes images of {sides[0]}x{sides[1]}, not {size[0]}x{size[1]}")
    if tensor.datatype == "UINT8" and {"mean", "std"} & uri.options.keys():
        raise UserError(f"model {uri.text!r} takes UINT8 pixels without normalization: remove mean and std")
    return preprocess


def _classes(uri: ModelUri, tensor: Tensor) -> int:
    *outer, classes = tensor.shape or (0,)
    if tensor.datatype not in SCORE_TYPES or len(outer) > 1 or any(side not in (-1, 1) for side in outer):
        raise UserError(
            f"model {uri.text!r} gives {tensor.datatype} {list(tensor.shape)} at {tensor.name!r}, "
            "where FP32 [-1, classes] is needed"
        )
    count = classes if classes != -1 else declared_classes(uri)
    if count is None:
        raise UserError(f"model {uri.text!r} does not state its number of classes: add classes=1000 or labels=FILE")
    if count < (least := least_outputs(uri.options.get("task", ""))):
        raise UserError(f"model {uri.text!r} gives {count} scores, where {least} or more are needed")
    return count
