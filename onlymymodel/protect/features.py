"""What a network computes on its way: its feature maps, in order of work."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.uri import did_you_mean


@contextmanager
def tapped(layer: nn.Module) -> Iterator[Callable[[], Tensor]]:
    """While open, keep the last output of a module; the function given returns it."""
    outputs: list[Tensor] = []
    # a copy: the next module may work in place
    handle = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output.clone()))
    try:
        yield lambda: outputs[-1]
    finally:
        handle.remove()


def feature_maps(model: Classifier, crop: Tensor) -> list[nn.Module]:
    """Every module whose output has more than one place, in the order in which they finish.

    Args:
        crop: (1,3,height,width), any network input.

    Raises:
        UserError: there is none.
    """
    found: list[nn.Module] = []

    def note(module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim >= 3 and output[0, 0].numel() > 1:
            found.append(module)

    handles = [module.register_forward_hook(note) for path, module in model.net.named_modules() if path]
    try:
        model.logits(crop)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise UserError(f"{model.card.uri} has no feature map; name one of its modules with --layer")
    return found


def feature_layer(model: Classifier, crop: Tensor, name: str, depth: float = 1.0) -> nn.Module:
    """The module of that name, or with `auto` the feature map at that share of the way, 1 being the last.

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
