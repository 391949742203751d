"""ONNX files as black boxes, run by ONNX Runtime."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from onlymymodel.errors import UserError, first_line
from onlymymodel.surrogates.assumed import still_assumed
from onlymymodel.surrogates.black_box import BlackBox, network_input
from onlymymodel.surrogates.detector import DETECTION, detector_record
from onlymymodel.surrogates.detector_formats import format_of, make_detector
from onlymymodel.surrogates.heads import EMBEDDING, SELF_THRESHOLD
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.model_card import ATTRIBUTES, ModelCard
from onlymymodel.surrogates.onnx_file import (
    NEEDS_EXTRA,
    graph_fingerprint,
    load_onnx,
    names_features,
    onnx_preprocess,
    onnx_sha256,
    read_graph,
    require_one_each,
)
from onlymymodel.surrogates.options import (
    attribute_record,
    embeds_photos,
    least_outputs,
    override_card,
    override_preprocess,
    read_threshold,
    refuse_unused,
    require_gallery,
)
from onlymymodel.surrogates.schemes import READING_OPTIONS
from onlymymodel.surrogates.uri import ModelUri


def load_onnx_judge(uri: ModelUri) -> BlackBox | Loaded:
    """Load `onnx:file` as a black box; an embedder with a gallery as a network, since it needs its embeddings.

    Raises:
        UserError: see `OnnxBlackBox`.
    """
    if "gallery" in uri.options:
        return load_onnx(uri)
    require_gallery(uri)
    return _detector(uri) if uri.options.get("task") == DETECTION else OnnxBlackBox(uri)


def _detector(uri: ModelUri) -> Loaded:
    """Load a detector as a network without gradients, which is then used as a black box."""
    from onlymymodel.surrogates.detector_files import RuntimeNetwork  # torchvision takes seconds to import

    path = uri.file()
    weights = graph_fingerprint(uri, read_graph(uri, path))  # which checks the files that the runtime would open
    session = _session(uri, path)
    inputs = session.get_inputs()
    require_one_each(uri, len(inputs), len(session.get_outputs()), format_of(uri).outputs)
    return Loaded(
        make_detector(uri, RuntimeNetwork(session)),
        replace(onnx_preprocess(uri, inputs[0].shape[2:4]), fit="letterbox"),
        detector_record(uri),
        sha256=onnx_sha256(uri, path),
        weights=weights,
        assumed=READING_OPTIONS,
    )


class OnnxBlackBox:
    """An ONNX file run by ONNX Runtime on the CPU, after the resize and crop of its `Preprocess`.

    Args:
        uri: of the scheme `onnx`.

    Raises:
        UserError: no such file, one that ONNX Runtime cannot run, or one that is not an image classifier.
    """

    def __init__(self, uri: ModelUri) -> None:
        self.uri = uri
        path = uri.file()
        weights = graph_fingerprint(uri, read_graph(uri, path))  # which checks the files that the runtime would open
        self.session = _session(uri, path)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        require_one_each(uri, len(inputs), len(outputs))
        self.embeds = embeds_photos(uri, names_features(outputs[0].name))
        self.input = inputs[0].name
        attributes = uri.options.get("task") == ATTRIBUTES
        refuse_unused(uri, "attributes" if attributes else "embedder" if self.embeds else "classes")
        self.kept: tuple[int, ...] | None = None
        preprocess = override_preprocess(onnx_preprocess(uri, inputs[0].shape[2:4]), uri)
        try:
            scores = self._scores(torch.zeros(1, 3, preprocess.height, preprocess.width))
        except Exception as error:  # its exceptions share no public base class
            raise UserError(f"model {uri.text!r}: ONNX Runtime fails on a photo: {first_line(error)}") from error
        if scores.ndim != 2 or scores.shape[0] != 1 or scores.shape[1] < least_outputs(uri.options.get("task", "")):
            raise UserError(f"model {uri.text!r} gives {scores.shape} for one photo, where (1, classes) are needed")
        classes, record = scores.shape[1], dict[str, Any]()
        if attributes:
            self.kept, record = attribute_record(uri, classes)
            classes = classes if self.kept is None else len(self.kept)
        card = ModelCard(uri.public, onnx_sha256(uri, path), classes, preprocess, weights=weights, **record)
        if self.embeds:
            card = replace(card, task=EMBEDDING, threshold=read_threshold(uri, SELF_THRESHOLD))
        self.card = override_card(card, uri)
        self.assumed = still_assumed(READING_OPTIONS, preprocess, uri)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`. Images go through one at a time, since many graphs accept a batch of one only."""
        rows = [self._scores(network_input(image, self.card.preprocess))[0] for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)

    def _scores(self, network_input: torch.Tensor) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self.session.run(None, {self.input: network_input.numpy()})[0]
        scores = scores.astype(np.float32, copy=False)
        if not self.embeds:
            return scores if self.kept is None else scores[:, list(self.kept)]
        embeddings: NDArray[np.float32] = F.normalize(torch.from_numpy(scores).flatten(1), dim=1).numpy()
        return embeddings


def _session(uri: ModelUri, path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only, which are raised as well
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no public base class
        raise UserError(f"model {uri.text!r}: ONNX Runtime cannot run {path.name}: {first_line(error)}") from error
