"""Equal weights have equal fingerprints in any file, loader and naming; other weights do not."""

import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import safetensors.torch
import timm
import torch
from onnx import numpy_helper
from tiny_onnx import CLASSES, write_onnx
from tiny_timm import save, tiny
from torch import Tensor, nn
from toys import PLAIN

from onlymymodel.evaluate.judges import shared_origin
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.fingerprint import fingerprint
from onlymymodel.surrogates.load import load_black_box, load_model

CHECKPOINT = "checkpoint:{}?arch=timm:test_vit&classes=7"
FOLDER: list[Path] = []  # where the factories below find their weights


def made() -> nn.Module:
    """The network of net.safetensors, as `python:test_fingerprint:made`."""
    net = timm.create_model("test_vit", num_classes=7)
    net.load_state_dict(safetensors.torch.load_file(FOLDER[-1] / "net.safetensors"))
    assert isinstance(net, nn.Module)
    return net


class Wrapped(nn.Module):
    """A network that normalizes its pixels itself and calls its parameters otherwise."""

    mean: Tensor

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.inner(pixels - self.mean)
        return out


def wrapped() -> nn.Module:
    return Wrapped(made())


class OnnxTwin(nn.Module):
    """The network of `write_onnx` with the weights of net.onnx."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.Linear(4, CLASSES)
        self.first.weight, self.last.weight = nn.Parameter(weights["filters"]), nn.Parameter(weights["rows"])

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.last(self.first(pixels).relu().mean((2, 3)))
        return out


def twin() -> nn.Module:
    graph = onnx.load(FOLDER[-1] / "net.onnx")
    return OnnxTwin({weight.name: torch.tensor(numpy_helper.to_array(weight)) for weight in graph.graph.initializer})


class Brightness(nn.Module):
    """A network without parameters."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.mean((2, 3))


class Darkness(Brightness):
    """Another one."""

    def forward(self, pixels: Tensor) -> Tensor:
        return 1 - super().forward(pixels)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights of `tiny` in net.safetensors; the factories of this module can be named."""
    monkeypatch.setitem(sys.modules, "test_fingerprint", sys.modules[__name__])
    FOLDER.append(tmp_path)
    save(tiny().state_dict(), tmp_path / "net.safetensors")
    return tmp_path


def saved_again(folder: Path, how: str) -> str:
    """The URI of a judge with the weights of net.safetensors, or of net.onnx."""
    state = tiny().state_dict()
    if how == "torch file":
        save(state, folder / "copy.pth")
    elif how == "half precision":
        save({key: value.half() for key, value in state.items()}, folder / "copy.pth")
    elif how == "double precision":
        save({key: value.double() for key, value in state.items()}, folder / "copy.pth")
    elif how == "wrapped in another order":
        save({"model": {f"module.{key}": state[key] for key in reversed(state)}, "epoch": 3}, folder / "copy.pth")
    else:
        return f"python:test_fingerprint:{how}"
    return CHECKPOINT.format(folder / "copy.pth")


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", ["torch file", "half precision", "double precision", "wrapped in another order", "made", "wrapped"]
)
def test_weights_are_recognized_from_any_loader(how: str, folder: Path) -> None:
    surrogate = load_model(CHECKPOINT.format(folder / "net.safetensors"))
    judge = load_black_box(saved_again(folder, how), allow_python=True)
    assert judge.card.sha256 != surrogate.card.sha256
    assert judge.card.weights == surrogate.card.weights != ""
    assert shared_origin(judge.card, [surrogate.card]) == ("weights", surrogate.card)


def test_an_onnx_file_written_again_has_the_same_weights(folder: Path) -> None:
    write_onnx(folder / "net.onnx")
    (folder / "beside").mkdir()
    graph: Any = onnx.load(folder / "net.onnx")
    graph.producer_name = "another"
    onnx.save(graph, folder / "again.onnx")
    write_onnx(folder / "beside" / "net.onnx", beside="net.data")
    surrogate = load_model(f"onnx:{folder / 'net.onnx'}")
    again = [load_black_box(f"onnx:{folder / name}") for name in ("again.onnx", "beside/net.onnx")]
    twins = load_black_box("python:test_fingerprint:twin?size=12", allow_python=True)
    for judge in (*again, twins):
        assert judge.card.sha256 != surrogate.card.sha256
        assert shared_origin(judge.card, [surrogate.card]) == ("weights", surrogate.card)


def test_other_weights_of_one_architecture_are_others(folder: Path) -> None:
    state = tiny().state_dict()
    state["head.weight"][0, 0] += 0.01
    save(state, folder / "other.safetensors")
    first, other = (load_model(CHECKPOINT.format(folder / f"{name}.safetensors")) for name in ("net", "other"))
    assert not first.card.same_weights(other.card)
    seeds = [load_black_box(f"onnx:{write_onnx(folder / f'{seed}.onnx', seed=seed)}").card for seed in (0, 1)]
    assert not seeds[0].same_weights(seeds[1])


def test_networks_without_parameters_have_no_weights_in_common(folder: Path) -> None:
    assert folder
    module = sys.modules["test_fingerprint"]
    first, second = (
        load_model(f"python:test_fingerprint:{kind.__name__}?size=8", allow_python=True).card
        for kind in (module.Brightness, module.Darkness)
    )
    assert first.weights == second.weights == ""
    assert shared_origin(first, [second]) is None


def test_cards_without_weight_hashes_are_not_the_same_weights() -> None:
    first, second = (ModelCard(name, sha256="", classes=2, preprocess=PLAIN) for name in "ab")
    assert not first.same_weights(second)


def test_matrices_count_in_any_order_and_other_tensors_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, filters = torch.randn(4, 6, generator=generator), torch.randn(8, 3, 3, 3, generator=generator)
    digest = fingerprint([rows, filters])
    vectors = [
        torch.ones(9),
        torch.ones(1, 3, 1, 1),
        torch.tensor(7),
        torch.arange(6).reshape(2, 3),
        torch.ones(2, 2) > 0,
    ]
    assert fingerprint([*vectors, filters, rows, rows.clone()]) == digest
    assert fingerprint([rows[:, :, None, None], filters.to(memory_format=torch.channels_last)]) == digest
    assert fingerprint([rows.half(), filters.double()]) == digest
    assert fingerprint(vectors) == fingerprint([]) == ""
    quantized = (rows * 10).to(torch.int8)
    assert len({digest, fingerprint([rows]), fingerprint([rows.T, filters]), fingerprint([quantized])}) == 4
