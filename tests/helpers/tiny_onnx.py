"""A small ONNX network written node by node, so that no exporter is needed."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 5


def write_onnx(
    path: Path,
    *,
    seed: int = 0,
    batch: int | str = "n",
    side: int | str = 12,
    outputs: int = 1,
    flat: bool = True,
    operator: str = "Relu",
    beside: str | None = None,
    output: str = "logits",
) -> Path:
    """Write conv, `operator`, mean, linear; pixels (batch,3,side,side) -> logits (batch, CLASSES).

    Args:
        path: the file.
        seed: of the weights.
        batch, side: of the input; a text leaves them open.
        outputs: how many outputs the graph has.
        flat: without it the output is the (batch,4,1,1) mean.
        operator: a node of one input and one output.
        output: name of the last linear layer's output.
        beside: name of a file beside `path` for the weights; None keeps them inside.
    """
    rng = np.random.default_rng(seed)
    weights = {
        "filters": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "rows": rng.normal(size=(CLASSES, 4)).astype(np.float32),
        "bias": rng.normal(size=CLASSES).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "filters"], ["a"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node(operator, ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "rows", "bias"], [output], transB=1),
    ]
    names = ([output] if flat else ["mean"]) + ["flat"] * (outputs - 1)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model: Any = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path, save_as_external_data=beside is not None, location=beside, size_threshold=0)
    return path
