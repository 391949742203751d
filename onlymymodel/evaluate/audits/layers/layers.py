"""The layers of any network and their outputs, by forward hooks."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.evaluate.audits.jacobian import Function

BATCH = 64
MAX_PREFIX_TOKENS = 5  # class token and registers of a transformer


@dataclass(frozen=True)
class Layer:
    """One output of a network.

    Attributes:
        path: path of the module, as in `named_modules`.
        call: index of the module's call in one forward pass; activations are often shared.
    """

    path: str
    call: int = 0

    @property
    def name(self) -> str:
        """The path, with the number of the call unless it is the first."""
        return f"{self.path} (call {self.call + 1})" if self.call else self.path


def list_layers(net: nn.Module, pixels: Tensor) -> list[Layer]:
    """Return every output that depends on the batch, in order of computation, without repetitions.

    An output with the same numbers as the one before is left out: containers, whose output is that of their last
    module, dropout in eval mode, reshaping.

    Args:
        net: (B,C,S,S) -> anything, in eval mode.
        pixels: (at least 2,C,S,S), any pictures.

    Raises:
        UserError: the network has no such output.
    """
    layers: list[Layer] = []
    previous = pixels[:2].flatten(1)  # a module that flattens the pixels is no layer either
    single = dict(_record_outputs(net, pixels[:1]))
    for layer, output in _record_outputs(net, pixels[:2]):
        alone = single.get(layer)
        if alone is None or output.ndim < 2 or len(output) != 2 * len(alone) or not output.is_floating_point():
            continue
        flat = output.reshape(2, -1)
        if not torch.equal(flat, previous.to(flat)):
            layers.append(layer)
        previous = flat
    if not layers:
        raise UserError(f"{type(net).__name__} has no module whose output could be audited")
    return layers


def choose_layers(
    net: nn.Module, pixels: Tensor, names: Sequence[str] = (), max_layers: int | None = None
) -> list[Layer]:
    """Return the layers of these names, or all; at most `max_layers`, spread evenly, with the first and the last.

    Raises:
        UserError: a name is unknown.
    """
    layers = list_layers(net, pixels)
    by_name = {layer.name: layer for layer in layers}
    for name in names:
        if name not in by_name:
            raise UserError(f"{type(net).__name__} has no layer {name!r}{did_you_mean(name, by_name)}")
    chosen = [by_name[name] for name in names] if names else layers
    if max_layers is None or len(chosen) <= max_layers:
        return chosen
    return [chosen[round(index)] for index in torch.linspace(0, len(chosen) - 1, max_layers).tolist()]


@torch.no_grad()
def layer_outputs(net: nn.Module, layer: Layer, pixels: Tensor) -> Tensor:
    """Return the (N,...) outputs of a layer for (N,C,S,S) pictures, in the network's type."""
    like = next(iter(net.parameters()), pixels)
    return torch.cat([_output(net, layer, part.to(like)) for part in torch.split(pixels, BATCH)])


@torch.no_grad()
def answers_with_noise(net: nn.Module, layer: Layer, pixels: Tensor, noise: float, seed: int) -> Tensor:
    """Return the network's answers for (N,C,S,S) pictures if Gaussian noise is added to a layer's output.

    Args:
        noise: standard deviation of the noise on every number of the output.
        seed: seed of the noise.
    """
    generator, like, calls = torch.Generator().manual_seed(seed), next(iter(net.parameters()), pixels), [0]

    def disturb(_module: nn.Module, _inputs: object, output: object) -> object:
        tensor, calls[0] = _first_tensor(output), calls[0] + 1
        if tensor is None or calls[0] != layer.call + 1:
            return None
        noisy = tensor + noise * torch.randn(tensor.shape, generator=generator).to(tensor)
        return (noisy, *output[1:]) if isinstance(output, tuple) else noisy

    handle, answers = net.get_submodule(layer.path).register_forward_hook(disturb), []
    try:
        for part in torch.split(pixels, BATCH):
            calls[0] = 0
            answers.append(net(part.to(like)))
    finally:
        handle.remove()
    return torch.cat(answers)


def parameters_on_device(net: nn.Module, layers: Sequence[Layer], pixels: Tensor) -> list[float]:
    """Return for each layer the share of the network's parameters that is used up to its output.

    A module's own parameters count once it, or a module inside it, has returned.
    """
    order = [layer for layer, _ in _record_outputs(net, pixels[:1])]
    total, shares = sum(parameter.numel() for parameter in net.parameters()), []
    for layer in layers:
        used = {
            id(parameter): parameter.numel()
            for done in order[: order.index(layer) + 1]
            for parameter in net.get_submodule(done.path).parameters(recurse=False)
        }
        shares.append(sum(used.values()) / total if total else 0.0)
    return shares


def layer_function(net: nn.Module, layer: Layer) -> Function:
    """Return a differentiable function from one picture (C,S,S) to the output of a layer."""
    return lambda x: _output(net, layer, x[None])[0]


def batch_function(net: nn.Module, layer: Layer) -> Function:
    """Return a differentiable function from (N,C,S,S) pictures to the outputs of a layer."""
    return lambda pixels: _output(net, layer, pixels)


def float64_copy(network: nn.Module) -> nn.Module:
    """Return a copy in float64 and in eval mode whose parameters need no gradient."""
    return copy.deepcopy(network).double().eval().requires_grad_(False)


def to_maps(outputs: Tensor) -> Tensor:
    """Return outputs as (N,c,h,w) maps of the same numbers if they are channels last or a transformer's tokens.

    Tokens (N,p+s*s,d) become (N,(1+p)*d,s,s): p prefix tokens (class token, registers) are repeated at every position.
    Channels are taken to be last only if the map is then square. Other outputs are returned unchanged.
    """
    if outputs.ndim == 4 and outputs.shape[1] == outputs.shape[2] != outputs.shape[3]:
        return outputs.permute(0, 3, 1, 2)
    if outputs.ndim == 3:
        side = math.isqrt(outputs.shape[1])
        if side > 1 and outputs.shape[1] - side**2 <= MAX_PREFIX_TOKENS:
            prefix, patches = torch.split(outputs, [outputs.shape[1] - side**2, side**2], 1)
            maps = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
            return torch.cat([maps, prefix.flatten(1)[..., None, None].expand(-1, -1, side, side)], 1)
    return outputs


class _LayerReached(Exception):
    """Ends a forward pass once the output of the layer is recorded."""


def _output(net: nn.Module, layer: Layer, pixels: Tensor) -> Tensor:
    """Return the layer's output with the batch as its first dimension."""
    calls: list[Tensor] = []

    def record(_module: nn.Module, _inputs: object, output: object) -> None:
        tensor = _first_tensor(output)
        if tensor is not None:
            calls.append(tensor)
            if len(calls) > layer.call:
                raise _LayerReached

    handle = net.get_submodule(layer.path).register_forward_hook(record)
    try:
        net(pixels)
    except _LayerReached:
        pass
    finally:
        handle.remove()
    output = calls[layer.call]
    # windowed attention folds its windows into the batch
    return output if len(output) == len(pixels) else output.reshape(len(pixels), -1)


@torch.no_grad()
def _record_outputs(net: nn.Module, pixels: Tensor) -> list[tuple[Layer, Tensor]]:
    calls: dict[str, int] = {}
    outputs: list[tuple[Layer, Tensor]] = []

    def record(path: str, output: object) -> None:
        tensor = _first_tensor(output)
        if tensor is not None:
            outputs.append((Layer(path, calls.get(path, 0)), tensor.clone()))  # the next module may work in place
            calls[path] = calls.get(path, 0) + 1

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: record(path, output))
        for path, module in net.named_modules()
        if path
    ]
    try:
        net(pixels.to(next(iter(net.parameters()), pixels)))
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _first_tensor(output: object) -> Tensor | None:
    """Return the output, or the first of several, such as those of attention with its weights."""
    if isinstance(output, tuple) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.ndim else None
