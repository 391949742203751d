"""Folded batch norms: the same logits and gradients, untouched originals, and odd networks left alone."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
import torchvision
from face_scenes import TWO
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess
from onlymymodel.surrogates.face_detector import find_faces
from onlymymodel.surrogates.fingerprint import parameters_sha256
from onlymymodel.surrogates.folding import TRACING, folded
from onlymymodel.surrogates.load import load_model

SIDE = 64
HOW = Preprocess(height=SIDE, width=SIDE, fit="squash")


def classifier(net: nn.Module, seed: int = 0) -> Classifier:
    """A Classifier whose batch norms have statistics and weights unlike those of a new one."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5), (module.running_var, 0.5, 2), (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
            ):  # fmt: skip
                if tensor is not None:
                    tensor.data.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return Classifier(net, ModelCard("m", "m", 5, HOW))


def norms(model: Classifier) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def logits_and_gradient(model: Classifier) -> tuple[Tensor, Tensor]:
    pixels = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).to(model.mean).requires_grad_()
    logits = model.logits(pixels)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), pixels)
    return logits.detach(), gradient


def assert_same_function(model: Classifier, other: Classifier) -> None:
    """Logits in float32; gradients too in float64, since rounding may flip a ReLU."""
    wanted, logits = logits_and_gradient(model)[0], logits_and_gradient(other)[0]
    assert (logits - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    exact = copy.deepcopy(model).double()
    assert norms(folded(exact)) == norms(other)
    for value, other_value in zip(logits_and_gradient(exact), logits_and_gradient(folded(exact)), strict=True):
        assert (other_value - value).abs().max() <= 1e-9 * value.abs().max()


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (lambda: timm.create_model("resnet10t", num_classes=5), 0),
        (lambda: timm.create_model("test_resnet", num_classes=5), 0),
        (lambda: timm.create_model("test_efficientnet", num_classes=5), 0),
        (lambda: torchvision.models.resnet18(num_classes=5), 0),
        (lambda: torchvision.models.mobilenet_v3_small(num_classes=5), 0),
        (lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=5), 0),
        (lambda: torchvision.models.densenet121(num_classes=5), 62),  # most come before their convolution
    ],
)
def test_a_folded_network_is_the_same_function(make: Callable[[], nn.Module], left: int) -> None:
    torch.manual_seed(0)
    model = classifier(make())
    before, hashed = logits_and_gradient(model), parameters_sha256(model.net)
    names = [name for name, _ in model.net.named_modules()]
    copied = folded(model)
    assert norms(model) > norms(copied) == left
    assert_same_function(model, copied)
    assert copied.card is model.card
    assert set(names) <= {name for name, _ in copied.net.named_modules()} | {f"{name}.drop" for name in names} | {
        f"{name}.act" for name in names
    }
    # the network itself is as it was, and further copies cost nothing
    assert all(map(torch.equal, logits_and_gradient(model), before))
    assert parameters_sha256(model.net) == hashed
    assert folded(model) is copied
    assert not any(parameter.requires_grad for parameter in copied.parameters())


def test_only_the_fused_weights_are_new() -> None:
    model = classifier(torchvision.models.resnet18(num_classes=5))
    own = {id(parameter) for parameter in model.parameters()}
    new = [name for name, parameter in folded(model).net.named_parameters() if id(parameter) not in own]
    assert "fc.weight" not in new
    assert all(torch.get_default_dtype() == dict(folded(model).net.named_parameters())[name].dtype for name in new)


@pytest.mark.parametrize("affine", [True, False])
def test_an_onnx_network_is_folded_too(affine: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {"filters": (4, 3, 3, 3), "scale": (4,), "shift": (4,), "mean": (4,), "var": (4,), "rows": (5, 4)}
    weights = {name: rng.uniform(0.5, 1.5, shape).astype(np.float32) for name, shape in shapes.items()}
    if not affine:
        weights["scale"], weights["shift"] = np.ones(4, np.float32), np.zeros(4, np.float32)
    nodes = [
        helper.make_node("Conv", ["pixels", "filters"], ["a"], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["flat"]),
        helper.make_node("Gemm", ["flat", "rows"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    made: Any = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, tmp_path / "net.onnx")
    model = load_model(f"onnx:{tmp_path / 'net.onnx'}")
    assert (norms(model), norms(folded(model))) == (1, 0)
    assert_same_function(model, folded(model))


class Pair(nn.Module):
    """A convolution and a batch norm, with a linear end; subclasses use them in ways that may not be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.end = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(3, 5)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.end(self.body(pixels).mean((2, 3)))
        return logits

    def body(self, pixels: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(pixels))
        return normed


class OutputReadTwice(Pair):
    def body(self, pixels: Tensor) -> Tensor:
        out = self.conv(pixels)
        normed: Tensor = self.norm(out) + out
        return normed


class ConvolvesTwice(Pair):
    def body(self, pixels: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(self.conv(pixels)))
        return normed


class NormalizesTwice(Pair):
    def body(self, pixels: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.norm(self.conv(pixels)))
        return normed


class SharesUnderAnotherName(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.again = self.conv

    def body(self, pixels: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.again(self.conv(pixels)))
        return normed


class Standardized(nn.Conv2d):
    """A convolution that changes its weights on the way."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.weight.mean()


class OwnConvolution(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.conv = Standardized(3, 3, 3, padding=1)


class Branches(Pair):
    def body(self, pixels: Tensor) -> Tensor:
        return super().body(pixels if pixels.mean() > 0 else -pixels)


def test_a_pair_is_folded() -> None:
    assert norms(folded(classifier(Pair()))) == 0


@pytest.mark.parametrize(
    "kind", [OutputReadTwice, ConvolvesTwice, NormalizesTwice, SharesUnderAnotherName, OwnConvolution, Branches]
)
def test_what_cannot_be_folded_is_left_as_it_is(kind: type[Pair]) -> None:
    model = classifier(kind())
    assert folded(model) is model


def test_networks_without_batch_norms_are_not_copied() -> None:
    model = classifier(torchvision.models.squeezenet1_1(num_classes=5))
    assert folded(model) is model


def test_a_network_that_cannot_be_traced_is_traced_once() -> None:
    calls = []

    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, pixels: Tensor) -> Tensor:
            calls.append(pixels)
            return self.norm(pixels) if pixels.sum() > 0 else pixels

    model = classifier(Untraceable().eval())
    assert [folded(model) for _ in range(3)] == [model] * 3
    assert len(calls) == 1


def test_no_network_is_traced_while_another_thread_looks_for_faces() -> None:
    """Tracing replaces methods of every `nn.Module`: a network that another thread runs meanwhile would fail."""
    model = classifier(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval())
    with ThreadPoolExecutor(1) as pool:
        with TRACING:
            waiting = pool.submit(folded, model)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        assert norms(waiting.result(60)) == 0
    photo = TWO[:64, :64]
    with ThreadPoolExecutor(1) as pool:
        with TRACING:
            looking = pool.submit(find_faces, np.ascontiguousarray(photo))
            with pytest.raises(TimeoutError):
                looking.result(1)
        looking.result(60)
