"""ONNX files: what they say of their input, their hash, and their conversion to a network with gradients."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onlymymodel.data.manifest import sha256_file
from onlymymodel.errors import UserError
from onlymymodel.surrogates.classifier import Preprocess
from onlymymodel.surrogates.fingerprint import fingerprint
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.uri import ModelUri

NEEDS_EXTRA = "ONNX models need an extra: pip install 'onlymymodel[onnx]'"


def load_onnx(uri: ModelUri) -> Loaded:
    """`onnx:file`, as a network with gradients, by onnx2torch."""
    path = uri.file()
    try:
        import onnx2torch
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    graph = read_graph(uri, path)
    held = {tensor.name for tensor in graph.graph.initializer}
    inputs = [value for value in graph.graph.input if value.name not in held]
    require_one_each(uri, len(inputs), len(graph.graph.output))
    weights = graph_fingerprint(graph)
    try:
        net = onnx2torch.convert(graph)
    except Exception as error:  # whatever stops a conversion, the file can still be run as it is
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"model {uri.text!r} has no gradients: onnx2torch cannot convert it ({reason}); "
            "it can still judge, with --heldout, by ONNX Runtime"
        ) from error
    sides = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim][2:4]
    return Loaded(net, onnx_preprocess(uri, sides), sha256=onnx_sha256(uri, path), weights=weights)


def read_graph(uri: ModelUri, path: Path, *, weights: bool = True) -> Any:
    """The parsed file; without its `weights` those that lie in files beside it are left there."""
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    try:
        graph = onnx.load(path, format="protobuf", load_external_data=weights)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"model {uri.text!r}: {path.name} is not a whole ONNX file ({reason})") from error
    if not graph.graph.node:
        raise UserError(f"model {uri.text!r}: {path.name} is not an ONNX file")
    return graph


def onnx_sha256(uri: ModelUri, path: Path) -> str:
    """sha256 of the file; where it keeps weights in files beside it, over their hashes too."""
    graph = read_graph(uri, path, weights=False)
    beside = {
        entry.value for tensor in graph.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    own = sha256_file(path)
    if not beside:
        return own
    hashes = [own, *(sha256_file(path.parent / name) for name in sorted(beside))]
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def graph_fingerprint(graph: Any) -> str:
    """The `fingerprint` of a parsed file's weights, which are its initializers."""
    from onnx import TensorProto, numpy_helper

    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
    kinds = {**dict.fromkeys(floats, np.float32), TensorProto.INT8: np.int8, TensorProto.UINT8: np.uint8}
    held = (tensor for tensor in graph.graph.initializer if tensor.data_type in kinds)
    # astype copies: what it is given may not be written to, which torch wants
    return fingerprint(torch.from_numpy(numpy_helper.to_array(one).astype(kinds[one.data_type])) for one in held)


def require_one_each(uri: ModelUri, inputs: int, outputs: int) -> None:
    """Refuse graphs in which it would have to be guessed where the photo goes in or the logits come out."""
    if (inputs, outputs) != (1, 1):
        raise UserError(f"model {uri.text!r} has {inputs} inputs and {outputs} outputs, where one of each is needed")


def onnx_preprocess(uri: ModelUri, sides: list[Any]) -> Preprocess:
    """Pixels in [0,1] straight into the graph, at its own input size, unless the URI's options say otherwise."""
    if len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides):
        height, width = sides
    elif "size" in uri.options:
        height = width = 224  # overridden by the option
    else:
        raise UserError(
            f"model {uri.text!r}: the graph leaves its input size open; add ?size=224 or what it was trained on"
        )
    return Preprocess(height=height, width=width, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
