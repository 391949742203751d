"""Fold batch norms into the convolutions before them: the same function of a frozen network in less time.

Only the optimizer uses the folded copy; answers, hashes and verdicts are those of the network as it was loaded.
"""

import copy
import threading
import warnings
from collections import Counter
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from onlymymodel.surrogates.classifier import Classifier

_folded: WeakKeyDictionary[Classifier, Classifier] = WeakKeyDictionary()
_unchanged: WeakSet[Classifier] = WeakSet()
# tracing replaces methods of `nn.Module` for its duration: no other thread may run a network meanwhile
TRACING = threading.Lock()


def folded(model: Classifier) -> Classifier:
    """Return a copy whose batch norms are folded, which shares all other weights; `model` itself if there are none.

    Logits agree to about 1e-6 of the largest. A network that cannot be traced is returned unchanged. Other threads that
    run networks hold `TRACING`.
    """
    if model in _folded:
        return _folded[model]
    if model in _unchanged:
        return model
    with TRACING:
        pairs = _foldable(model.net)
    if not pairs:
        _unchanged.add(model)
        return model
    copied = Classifier(_fold(model.net, pairs), model.card, model.assumed).to(model.mean)
    _folded[model] = copied
    return copied


class _Tracer(fx.Tracer):
    """Record calls of modules; those without submodules are not looked into, as many have control flow."""

    def is_leaf_module(self, module: nn.Module, path: str) -> bool:
        return isinstance(module, nn.BatchNorm2d) or not any(module.children()) or super().is_leaf_module(module, path)


def _foldable(net: nn.Module) -> list[tuple[str, str]]:
    """Return the paths of each convolution and the batch norm that alone reads its output; both are called once."""
    modules = dict(net.named_modules(remove_duplicate=False))
    if not any(isinstance(module, nn.BatchNorm2d) for module in modules.values()):
        return []
    if isinstance(net, fx.GraphModule):
        graph = net.graph
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph = _Tracer().trace(net)
        except Exception:  # noqa: BLE001 - a network may do anything with what stands for its input
            return []
    calls = [node for node in graph.nodes if node.op == "call_module"]
    count = Counter(id(modules[str(node.target)]) for node in calls)
    pairs = []
    for node in calls:
        source = node.args[0] if node.args else None
        if not (isinstance(source, fx.Node) and source.op == "call_module" and len(source.users) == 1):
            continue
        conv, norm = modules[str(source.target)], modules[str(node.target)]
        once = count[id(conv)] == count[id(norm)] == 1
        # a subclass may do something else with its weights or its output
        if once and type(conv) is nn.Conv2d and _is_norm(norm):
            pairs.append((str(source.target), str(node.target)))
    return pairs


def _is_norm(module: nn.Module) -> bool:
    """Return whether a module normalizes by recorded statistics, as torch's, or timm's with an activation."""
    with_activation = type(module).__name__ == "BatchNormAct2d" and type(module).__module__.startswith("timm.")
    known = type(module) is nn.BatchNorm2d or with_activation
    return known and getattr(module, "running_mean", None) is not None and not module.training


def _fold(net: nn.Module, pairs: list[tuple[str, str]]) -> nn.Module:
    """Return a copy with fused convolutions; modules keep their names, a batch norm becomes what is left of it."""
    shared: dict[int, torch.Tensor] = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    copied = copy.deepcopy(net, shared)  # which are thereby not copied
    for conv_path, norm_path in pairs:
        conv, norm = copied.get_submodule(conv_path), copied.get_submodule(norm_path)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        rest: nn.Module = nn.Identity()
        if type(norm) is not nn.BatchNorm2d:
            rest = nn.Sequential(norm.drop, norm.act)  # type: ignore[arg-type]
        for path, module in ((conv_path, fuse_conv_bn_eval(conv, norm)), (norm_path, rest)):
            copied.set_submodule(path, module)
    return copied
