"""ONNX files as judges."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import network_input
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.onnx_file import (
    NEEDS_EXTRA,
    graph_fingerprint,
    onnx_preprocess,
    onnx_sha256,
    read_graph,
    require_one_each,
)
from onlymymodel.surrogates.uri import ModelUri, override_card, override_preprocess


class OnnxBlackBox:
    """An ONNX file run by ONNX Runtime on the CPU; the resize before it is ours (`Preprocess`)."""

    def __init__(self, uri: ModelUri) -> None:
        self.uri = uri
        path = uri.file()
        self.session = _session(uri, path)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        require_one_each(uri, len(inputs), len(outputs))
        self.input = inputs[0].name
        preprocess = override_preprocess(onnx_preprocess(uri, inputs[0].shape[2:4]), uri)
        try:
            scores = self._scores(torch.zeros(1, 3, preprocess.height, preprocess.width))
        except Exception as error:  # its exceptions share no public base class
            raise UserError(f"model {uri.text!r}: ONNX Runtime fails on a photo: {_first_line(error)}") from error
        if scores.ndim != 2 or scores.shape[0] != 1 or scores.shape[1] < 2:
            raise UserError(f"model {uri.text!r} gives {scores.shape} for one photo, where (1, classes) are needed")
        weights = graph_fingerprint(read_graph(uri, path))
        card = ModelCard(uri.public, onnx_sha256(uri, path), scores.shape[1], preprocess, weights=weights)
        self.card = override_card(card, uri)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`. Images go through one at a time, as many graphs take no more."""
        rows = [self._scores(network_input(image, self.card.preprocess))[0] for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)

    def _scores(self, network_input: torch.Tensor) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self.session.run(None, {self.input: network_input.numpy()})[0]
        return scores.astype(np.float32, copy=False)


def _session(uri: ModelUri, path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: they are raised, and the rest is of no use to a user
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no public base class
        raise UserError(f"model {uri.text!r}: ONNX Runtime cannot run {path.name}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
