"""Every layer of any network: what it puts out, by forward hooks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.jacobian import Function
from onlymymodel.surrogates.uri import did_you_mean

BATCH = 64


@dataclass(frozen=True)
class Layer:
    """One output of a network.

    Attributes:
        path: of the module, as in `named_modules`.
        call: which of the module's calls in one pass, 0 the first; activations are often shared.
    """

    path: str
    call: int = 0

    @property
    def name(self) -> str:
        """The path, with the number of the call where it is not the first."""
        return f"{self.path} (call {self.call + 1})" if self.call else self.path


def layers_of(net: nn.Module, pixels: Tensor) -> list[Layer]:
    """Every output that depends on the batch, in the order of work; one that repeats the numbers before it is left out.

    Left out are so the containers that end with what their last module said, dropout in eval mode, reshaping.

    Args:
        net: (B,C,S,S) -> anything, in eval mode.
        pixels: (at least 2,C,S,S), any pictures.

    Raises:
        UserError: there is none.
    """
    found: list[Layer] = []
    last = pixels[:2].flatten(1)  # what flattens the pixels is no layer either
    once = dict(_run(net, pixels[:1]))
    for layer, output in _run(net, pixels[:2]):
        alone = once.get(layer)
        if alone is None or output.ndim < 2 or len(output) != 2 * len(alone) or not output.is_floating_point():
            continue
        numbers = output.reshape(2, -1)
        if not torch.equal(numbers, last.to(numbers)):
            found.append(layer)
        last = numbers
    if not found:
        raise UserError(f"{type(net).__name__} has no module whose output could be seen")
    return found


def chosen_layers(net: nn.Module, pixels: Tensor, names: Sequence[str] = (), most: int | None = None) -> list[Layer]:
    """The layers of those names, or all; of them at most `most`, spread evenly, the first and the last among them.

    Raises:
        UserError: there is no such layer.
    """
    found = layers_of(net, pixels)
    by_name = {layer.name: layer for layer in found}
    for name in names:
        if name not in by_name:
            raise UserError(f"{type(net).__name__} has no layer {name!r}{did_you_mean(name, by_name)}")
    chosen = [by_name[name] for name in names] if names else found
    if most is None or len(chosen) <= most:
        return chosen
    return [chosen[round(place)] for place in torch.linspace(0, len(chosen) - 1, most).tolist()]


@torch.no_grad()
def outputs_of(net: nn.Module, layer: Layer, pixels: Tensor) -> Tensor:
    """(N,C,S,S) pictures -> (N,...) outputs of a layer, in the network's type."""
    like = next(iter(net.parameters()), pixels)
    return torch.cat([_output(net, layer, part.to(like)) for part in torch.split(pixels, BATCH)])


def layer_function(net: nn.Module, layer: Layer) -> Function:
    """One picture (C,S,S) -> the output of a layer, differentiable."""
    return lambda x: _output(net, layer, x[None])[0]


def as_maps(outputs: Tensor) -> Tensor:
    """The same numbers as (N,c,h,w) maps where they are some: channels last, or a transformer's tokens.

    Tokens (N,p+s*s,d) become (N,(1+p)*d,s,s): p prefix tokens (class token, registers) are said again at every place.
    Channels are taken for last where only so the map is square. Anything else is returned as it is.
    """
    if outputs.ndim == 4 and outputs.shape[1] == outputs.shape[2] != outputs.shape[3]:
        return outputs.permute(0, 3, 1, 2)
    if outputs.ndim == 3:
        side = math.isqrt(outputs.shape[1])
        if side > 1 and outputs.shape[1] - side**2 <= 5:
            prefix, patches = torch.split(outputs, [outputs.shape[1] - side**2, side**2], 1)
            places = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
            return torch.cat([places, prefix.flatten(1)[..., None, None].expand(-1, -1, side, side)], 1)
    return outputs


class _Done(Exception):
    """The layer has spoken; what follows is not needed."""


def _output(net: nn.Module, layer: Layer, pixels: Tensor) -> Tensor:
    """The layer's output with the batch as its first side."""
    calls: list[Tensor] = []

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        tensor = _tensor(output)
        if tensor is not None:
            calls.append(tensor)
            if len(calls) > layer.call:
                raise _Done

    handle = net.get_submodule(layer.path).register_forward_hook(note)
    try:
        net(pixels)
    except _Done:
        pass
    finally:
        handle.remove()
    output = calls[layer.call]
    # windows of attention are counted with the batch
    return output if len(output) == len(pixels) else output.reshape(len(pixels), -1)


@torch.no_grad()
def _run(net: nn.Module, pixels: Tensor) -> list[tuple[Layer, Tensor]]:
    calls: dict[str, int] = {}
    found: list[tuple[Layer, Tensor]] = []

    def note(path: str, output: object) -> None:
        tensor = _tensor(output)
        if tensor is not None:
            found.append((Layer(path, calls.get(path, 0)), tensor.clone()))  # the next module may work in place
            calls[path] = calls.get(path, 0) + 1

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: note(path, output))
        for path, module in net.named_modules()
        if path
    ]
    try:
        net(pixels.to(next(iter(net.parameters()), pixels)))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _tensor(output: object) -> Tensor | None:
    """The output, or the first of several, as those of attention with its weights."""
    if isinstance(output, tuple) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.ndim else None
