"""Load `onnx:` models: the input and hash of an ONNX file, and its conversion to a network with gradients."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from onlymymodel.data.manifest import sha256_file
from onlymymodel.errors import UserError, first_line
from onlymymodel.surrogates.detector import detector_record
from onlymymodel.surrogates.detector_formats import format_of, make_detector
from onlymymodel.surrogates.fingerprint import fingerprint
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.model_card import Preprocess
from onlymymodel.surrogates.onnx_weights import check_size, external_files
from onlymymodel.surrogates.schemes import READING_OPTIONS
from onlymymodel.surrogates.uri import ModelUri

NEEDS_EXTRA = "ONNX models need an extra: pip install 'onlymymodel[onnx]'"


def load_onnx(uri: ModelUri) -> Loaded:
    """Load `onnx:file` as a network with gradients, by onnx2torch.

    Raises:
        UserError: no such file, the extra is not installed, or the graph cannot be converted.
    """
    path = uri.file()
    try:
        import onnx2torch
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    graph = read_graph(uri, path)
    initializers = {tensor.name for tensor in graph.graph.initializer}
    inputs = [value for value in graph.graph.input if value.name not in initializers]
    is_detector = uri.options.get("task") == "detection"
    require_one_each(uri, len(inputs), len(graph.graph.output), format_of(uri).outputs if is_detector else 1)
    weights = graph_fingerprint(uri, graph)
    try:
        net = onnx2torch.convert(graph)
    except Exception as error:  # if it cannot be converted, ONNX Runtime may still run it
        raise UserError(
            f"model {uri.text!r} has no gradients: onnx2torch cannot convert it ({first_line(error)}); "
            "it can still judge, with --heldout, by ONNX Runtime"
        ) from error
    use_fast_clips(net)
    sides = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim][2:4]
    preprocess = onnx_preprocess(uri, sides)
    if is_detector:
        return Loaded(
            make_detector(uri, net),
            replace(preprocess, fit="letterbox"),
            detector_record(uri),
            sha256=onnx_sha256(uri, path),
            weights=weights,
            assumed=READING_OPTIONS,
        )
    return Loaded(
        net,
        preprocess,
        sha256=onnx_sha256(uri, path),
        weights=weights,
        features=names_features(graph.graph.output[0].name),
        assumed=READING_OPTIONS,
    )


def use_fast_clips(net: nn.Module) -> None:
    """Replace the clips of a converted graph by `nn.Hardtanh`: the same function, whose gradient is one fused kernel.

    The gradient of `torch.clamp` takes half of the CPU time of a MobileNet. They differ only where an input equals a
    limit exactly: there the gradient is 0, as of ReLU6.
    """
    from onnx2torch.node_converters.clip import OnnxClip

    for path, module in list(net.named_modules()):
        if not isinstance(module, OnnxClip) or module.min_val is None or module.max_val is None:
            continue
        if module.min_val < module.max_val:  # Hardtanh refuses equal limits
            net.set_submodule(path, nn.Hardtanh(module.min_val, module.max_val))


def read_graph(uri: ModelUri, path: Path, *, weights: bool = True) -> Any:
    """Parse an ONNX file.

    Args:
        uri: of the model, for errors.
        path: of the file.
        weights: whether to read weights that are stored in other files beside it.

    Raises:
        UserError: the extra is not installed, it is not an ONNX file, or `external_files` refuses it.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    check_size(uri, path)
    try:
        graph = onnx.load(path, format="protobuf", load_external_data=False)
        if external_files(uri, graph, path.parent) and weights:
            onnx.external_data_helper.load_external_data_for_model(graph, str(path.parent))
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise UserError(f"model {uri.text!r}: {path.name} is not a complete ONNX file ({first_line(error)})") from error
    if not graph.graph.node:
        raise UserError(f"model {uri.text!r}: {path.name} is not an ONNX file")
    return graph


def onnx_sha256(uri: ModelUri, path: Path) -> str:
    """Return the sha256 of the file; if it stores weights in other files beside it, over their hashes too."""
    graph = read_graph(uri, path, weights=False)
    external = external_files(uri, graph, path.parent)
    sha256 = sha256_file(path)
    if not external:
        return sha256
    hashes = [sha256, *(sha256_file(path.parent / name) for name in external)]
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def graph_fingerprint(uri: ModelUri, graph: Any) -> str:
    """Return the `fingerprint` of a parsed file's weights, which are its initializers.

    Raises:
        UserError: the data of a weight do not have its shape.
    """
    from onnx import TensorProto, numpy_helper

    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
    kinds = {**dict.fromkeys(floats, np.float32), TensorProto.INT8: np.int8, TensorProto.UINT8: np.uint8}
    weights = (tensor for tensor in graph.graph.initializer if tensor.data_type in kinds)
    try:
        # astype copies: the arrays may be read-only, which torch does not accept
        return fingerprint(
            torch.from_numpy(numpy_helper.to_array(part).astype(kinds[part.data_type])) for part in weights
        )
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"model {uri.text!r}: a weight of the file is damaged ({first_line(error)})") from error


def require_one_each(uri: ModelUri, inputs: int, outputs: int, needed: int = 1) -> None:
    """Refuse graphs with several inputs or outputs, of which one would have to be guessed.

    Raises:
        UserError: not exactly one input and one output, or as many as the format of a detector has.
    """
    if (inputs, outputs) != (1, needed):
        words = "one of each is needed" if needed == 1 else f"one input and {needed} outputs are needed"
        raise UserError(f"model {uri.text!r} has {inputs} inputs and {outputs} outputs, where {words}")


def names_features(output: str) -> bool:
    """Return whether exporters give this name to an output of features, such as `embedding` or `image_embeds`."""
    return bool(re.search("embed|feature", output, re.IGNORECASE))


def onnx_preprocess(uri: ModelUri, sides: list[Any]) -> Preprocess:
    """Return the preprocessing of a graph: pixels in [0,1] at its own input size, without normalization.

    Args:
        uri: of the model.
        sides: height and width as the graph states them; anything but a positive integer means any size.

    Raises:
        UserError: the graph accepts any size, and the URI does not set one.
    """
    if len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides):
        height, width = sides
    elif "size" in uri.options:
        height = width = 224  # overridden by the option
    else:
        raise UserError(
            f"model {uri.text!r}: the graph accepts any input size; add ?size=224 or the size it was trained with"
        )
    return Preprocess(height=height, width=width, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
