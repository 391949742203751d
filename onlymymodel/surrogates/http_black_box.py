"""A model on a server as a judge: Open Inference Protocol, version 2, over HTTP (KServe, Triton, MLServer, ...).

The protocol: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import BlackBoxError, BudgetSpent, network_input
from onlymymodel.surrogates.classifier import ModelCard, Preprocess
from onlymymodel.surrogates.http_endpoint import Endpoint
from onlymymodel.surrogates.onnx_file import onnx_preprocess
from onlymymodel.surrogates.uri import (
    ModelUri,
    declared_classes,
    did_you_mean,
    number,
    override_card,
    override_preprocess,
)

SCORES = ("FP16", "FP32", "FP64")
MAX_NAME, MAX_SIDES, MAX_SIDE = 200, 8, 2**24  # of what a server may state


@dataclass(frozen=True)
class Tensor:
    """An input or an output as the server's metadata state it; open sides are -1."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class HttpBlackBox:
    """`http(s)://host:port/v2/models/NAME[/versions/V]?options`, asked about one image at a time.

    FP32 inputs get pixels in [0,1], normalized by `mean` and `std` where these are given; UINT8 inputs get pixels
    in [0,255]. The resize and the crop before it are ours (`Preprocess`). Options beside the usual ones: `input`,
    `output` (names, where there are several), `timeout` (seconds for one query, 10), `retries` (2), `budget`
    (queries in all; over several runs only with an `AnswerBook`). Other options go to the server as they are.

    The card's sha256 says which address, names and metadata answer; of the weights behind it nothing is known.

    Args:
        sleep: waits some seconds between two tries.

    Raises:
        UserError: the server's model cannot be used as an image classifier, an option is wrong.
        BlackBoxError: the server does not answer.
    """

    def __init__(self, uri: ModelUri, *, sleep: Callable[[float], None] = time.sleep) -> None:
        timeout = _option(uri, "timeout", 10, float, 1e-3, 3600)
        self.endpoint = Endpoint(uri, timeout, int(_option(uri, "retries", 2, int, 0, 10)), sleep)
        self.budget = int(_option(uri, "budget", 0, int, 0, 2**53)) if "budget" in uri.options else None
        self.sent = 0
        self.on_query: Callable[[], None] = _nothing
        uri = replace(uri, text=uri.public)  # the server's own options may be secret: errors do without them
        metadata = self.endpoint.metadata()
        self.input = _choose(uri, metadata, "input")
        self.output = _choose(uri, metadata, "output")
        self.channels_last = _channels_last(uri, self.input)
        preprocess = _preprocess(uri, self.input, self.channels_last)
        facts = [self.endpoint.address, self.endpoint.query, self.input.name, self.output.name, metadata]
        sha256 = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        self.card = override_card(ModelCard(uri.public, sha256, _classes(uri, self.output), preprocess), uri)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`.

        Raises:
            BudgetSpent: no further query may be sent.
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
        answer = self.endpoint.infer(json.dumps(request).encode(), self._count)
        return self._read(answer)

    def _count(self) -> None:
        if self.budget is not None and self.sent >= self.budget:
            raise BudgetSpent(f"the budget of {self.budget} queries to {self.card.uri} is spent")
        self.on_query()
        self.sent += 1

    def _read(self, answer: dict[str, object]) -> NDArray[np.float32]:
        """The scores in the server's answer, (classes,)."""
        outputs, classes = answer.get("outputs"), self.card.classes
        held = [out for out in outputs if isinstance(out, dict)] if isinstance(outputs, list) else []
        found = [out for out in held if out.get("name") == self.output.name]
        if len(found) != 1:
            raise self._unusable(f"has no output {self.output.name!r}")
        output = found[0]
        if output.get("datatype") not in SCORES:
            raise self._unusable(f"has scores of datatype {output.get('datatype')!r}, where {SCORES} are known")
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
        except OverflowError:  # an integer beyond every float
            scores = np.full(classes, np.inf, np.float32)
        if not np.isfinite(scores).all():
            raise self._unusable("has scores that are not finite")
        return scores

    def _unusable(self, why: str) -> BlackBoxError:
        return BlackBoxError(f"model {self.card.uri}: the server's answer {why}"[:500])


def _choose(uri: ModelUri, metadata: dict[str, object], role: Literal["input", "output"]) -> Tensor:
    """The one input or output, or the one that the option of that name says."""
    listed = metadata.get(f"{role}s")
    entries = listed if isinstance(listed, list) else []
    tensors = {tensor.name: tensor for tensor in map(_tensor, entries) if tensor is not None}
    if not tensors or len(tensors) != len(entries):
        raise UserError(f"model {uri.text!r}: the server's metadata do not tell its {role}s")
    wanted = uri.options.get(role)
    if wanted is None:
        if len(tensors) > 1:
            raise UserError(f"model {uri.text!r} has several {role}s: add {role}= and one of {', '.join(tensors)}")
        return next(iter(tensors.values()))
    if wanted not in tensors:
        raise UserError(f"model {uri.text!r} has no {role} {wanted!r}{did_you_mean(wanted, tensors)}")
    return tensors[wanted]


def _tensor(entry: object) -> Tensor | None:
    if not isinstance(entry, dict):
        return None
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str) or not isinstance(shape, list):
        return None
    if not name.isprintable() or len(name) > MAX_NAME or not datatype.isalnum() or len(datatype) > MAX_NAME:
        return None  # they are shown to the user
    if len(shape) > MAX_SIDES or not all(type(side) is int and -1 <= side <= MAX_SIDE for side in shape):
        return None
    return Tensor(name, datatype, tuple(shape))


def _channels_last(uri: ModelUri, tensor: Tensor) -> bool:
    """Whether an image input is NHWC, not NCHW."""
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
    chosen = (preprocess.height, preprocess.width)
    if any(fixed not in (-1, side) for fixed, side in zip(sides, chosen, strict=True)):
        raise UserError(f"model {uri.text!r} takes images of {sides[0]}x{sides[1]}, not {chosen[0]}x{chosen[1]}")
    if tensor.datatype == "UINT8" and {"mean", "std"} & uri.options.keys():
        raise UserError(f"model {uri.text!r} takes UINT8 pixels as they are: drop mean and std")
    return preprocess


def _classes(uri: ModelUri, tensor: Tensor) -> int:
    *outer, classes = tensor.shape or (0,)
    if tensor.datatype not in SCORES or len(outer) > 1 or any(side not in (-1, 1) for side in outer):
        raise UserError(
            f"model {uri.text!r} gives {tensor.datatype} {list(tensor.shape)} at {tensor.name!r}, "
            "where FP32 [-1, classes] is needed"
        )
    known = classes if classes != -1 else declared_classes(uri)
    if known is None:
        raise UserError(f"model {uri.text!r} leaves its number of classes open: add classes=1000 or labels=FILE")
    if known < 2:
        raise UserError(f"model {uri.text!r} gives {known} scores, where two or more are needed")
    return known


def _option(uri: ModelUri, key: str, default: float, kind: type[int] | type[float], low: float, high: float) -> float:
    value = number(uri, key, uri.options[key], kind) if key in uri.options else default
    if not (math.isfinite(value) and low <= value <= high):
        raise UserError(f"model {uri.public!r}: {key} must lie in [{low:g}, {high:g}]")
    return value


def _nothing() -> None:
    """Nobody counts."""
