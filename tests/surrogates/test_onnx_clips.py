"""Clips of ONNX graphs: the same outputs and gradients as `torch.clamp`, by a faster layer."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from tiny_onnx import write_onnx
from torch import nn

from onlymymodel import load_model


def write_clipped(path: Path, *limits: float) -> Path:
    """Write the small network with a clip of one or two limits in the place of its activation."""
    model = onnx.load(write_onnx(path))
    names = ["low", "high"][: len(limits)]
    for name, value in zip(names, limits, strict=True):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    (relu,) = (node for node in model.graph.node if node.op_type == "Relu")
    relu.CopyFrom(helper.make_node("Clip", [*relu.input, *names], list(relu.output)))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("limits", [(0.0, 0.7), (-0.5, 0.25), (0.3, 0.3), (-0.1,)])
def test_a_clip_is_that_of_the_onnx_runtime(tmp_path: Path, limits: tuple[float, ...]) -> None:
    path = write_clipped(tmp_path / "net.onnx", *limits)
    net = load_model(f"onnx:{path}").net
    pixels = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    (expected,) = onnxruntime.InferenceSession(path).run(["logits"], {"pixels": pixels.numpy()})
    torch.testing.assert_close(net(pixels).detach(), torch.from_numpy(expected))


def test_the_gradient_is_that_of_clamp_in_one_kernel(tmp_path: Path) -> None:
    net = load_model(f"onnx:{write_clipped(tmp_path / 'net.onnx', -0.5, 0.25)}").net
    (clip,) = (module for module in net.modules() if isinstance(module, nn.Hardtanh))
    values = torch.linspace(-1, 1, 1000).requires_grad_()  # none equals a limit
    weights = torch.rand(1000, generator=torch.Generator().manual_seed(1))
    gradients = [
        torch.autograd.grad((weights * clipped).sum(), values)[0]
        for clipped in (clip(values), values.clamp(-0.5, 0.25))
    ]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
    assert 0 < int((gradients[0] == 0).sum()) < len(values)
