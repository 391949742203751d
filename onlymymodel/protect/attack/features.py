"""Feature maps of a network, in the order in which they are computed."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.surrogates.classifier import Classifier


@contextmanager
def capture_output(layer: nn.Module) -> Iterator[Callable[[], Tensor]]:
    """Keep the last output of a module while open; yields a function that returns it.

    Raises:
        UserError: by that function, if the network did not call the module, or its output is no tensor.
    """
    outputs: list[object] = []
    # a copy: the next module may work in place
    handle = layer.register_forward_hook(
        lambda _module, _inputs, output: outputs.append(output.clone() if isinstance(output, Tensor) else output)
    )

    def last() -> Tensor:
        if not outputs or not isinstance(outputs[-1], Tensor):
            fault = f"gives {type(outputs[-1]).__name__} instead of a tensor" if outputs else "is never called"
            raise UserError(f"the layer, {type(layer).__name__}, {fault}; name another module with --layer")
        return outputs[-1]

    try:
        yield last
    finally:
        handle.remove()


def feature_maps(model: Classifier, crop: Tensor) -> list[nn.Module]:
    """List every module whose output has more than one spatial position, in the order in which they finish.

    Args:
        crop: (1,3,height,width), any network input.

    Raises:
        UserError: the network has no such module.
    """
    modules: list[nn.Module] = []

    def record(module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim >= 3 and output[0, 0].numel() > 1:
            modules.append(module)

    handles = [module.register_forward_hook(record) for path, module in model.net.named_modules() if path]
    try:
        model.logits(crop)
    finally:
        for handle in handles:
            handle.remove()
    if not modules:
        raise UserError(f"{model.card.uri} has no feature map; name one of its modules with --layer")
    return modules


def feature_layer(model: Classifier, crop: Tensor, name: str, depth: float = 1.0) -> nn.Module:
    """Return the module of that name, or for `auto` the feature map at a fraction of the network's depth.

    Args:
        crop: (1,3,height,width), any network input.
        depth: above 0 and at most 1, where 1 is the last feature map.

    Raises:
        UserError: no such module, or no feature map at all.
    """
    if name == "auto":
        maps = feature_maps(model, crop)
        return maps[max(math.ceil(depth * len(maps)), 1) - 1]
    modules: dict[str, nn.Module] = {path: module for path, module in model.net.named_modules() if path}
    if name not in modules:
        raise UserError(f"{model.card.uri} has no layer {name!r}{did_you_mean(name, modules)}")
    return modules[name]
