"""What a client of federated learning sends: the gradient of its loss by the weights; and what can be read off it."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from onlymymodel.errors import UserError

Gradient = tuple[Tensor, ...]
Mode = Literal["eval", "train"]
Statistics = list[tuple[Tensor, Tensor]]  # mean and variance by channel, of each batch norm's input


def client(network: nn.Module, mode: Mode, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy of a network as whoever computes the gradient uses it.

    In `train` mode its batch norms use the batch's own statistics; dropout stays off, since nobody outside knows what
    was dropped.
    """
    twin = copy.deepcopy(network).to(dtype=dtype).eval()
    for norm in _batch_norms(twin):
        norm.train(mode == "train")
    return twin


def loss_gradient(network: nn.Module, pixels: Tensor, labels: Tensor, *, differentiable: bool = False) -> Gradient:
    """The gradient of a batch's mean cross-entropy by every parameter, frozen or not; buffers stay as they are.

    Args:
        pixels: (B,C,H,W) in [0,1].
        labels: (B,) long, or (B,classes) probabilities.
        differentiable: by pixels and labels, for gradient matching.
    """
    parameters = {name: value.detach().requires_grad_() for name, value in network.named_parameters()}
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        loss = F.cross_entropy(answers(network, pixels, parameters), labels)
        return torch.autograd.grad(
            loss, tuple(parameters.values()), create_graph=differentiable, materialize_grads=True
        )


def answers(network: nn.Module, pixels: Tensor, parameters: dict[str, Tensor] | None = None) -> Tensor:
    """(B,classes) logits; batch norms write into copies of their buffers."""
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    logits: Tensor = functional_call(network, {**(parameters or {}), **buffers}, (pixels,))
    return logits


def flat(gradient: Sequence[Tensor]) -> Tensor:
    """All entries of a gradient as one vector."""
    return torch.cat([part.flatten() for part in gradient])


def recover_labels(network: nn.Module, gradient: Sequence[Tensor], count: int) -> Tensor:
    """The (count,) labels of a batch in ascending order, read off the last linear layer's gradient.

    A bias's gradient is the mean over the batch of probability - truth: at a batch of one its only negative entry is
    the label. Without a bias and at a batch of one this is iDLG's rule (Zhao et al., arXiv 2001.02610): the label's row
    of the weights' gradient points against all others. Otherwise ours: for larger batches the most negative entry
    of the bias is taken again and again, each time less one label's share, which is exact only where the probabilities
    are small; without a bias the rows with the least sums, which holds for features that are not negative and labels
    that do not repeat (as in GradInversion, Yin et al., CVPR 2021, which takes least entries).

    Raises:
        UserError: the network has no linear layer, or it has too few outputs for so many labels.
    """
    parts = dict(zip((name for name, _ in network.named_parameters()), gradient, strict=True))
    heads = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not heads:
        raise UserError("labels are read off the gradient of a last linear layer, and this network has none")
    weight, bias = (parts.get(f"{heads[-1]}.{part}".removeprefix(".")) for part in ("weight", "bias"))
    assert weight is not None
    if bias is not None:
        found = _take_least(bias, count)
    elif count == 1 and len(weight) > 2:
        rows = F.normalize(weight, dim=1, eps=torch.finfo(weight.dtype).tiny)
        found = (rows @ rows.T).sum(1).argmin()[None]
    elif count <= len(weight):
        found = weight.sum(1).argsort()[:count]
    else:
        raise UserError(f"{count} labels cannot be read off a last layer of {len(weight)} outputs without a bias")
    return found.sort().values


def read_linear(weight: Tensor, bias: Tensor) -> Tensor:
    """The input (inputs,) of a linear layer at a batch of one, from the gradients of its weight (outputs, inputs) and
    bias (outputs,): (dL/dW_k) / (dL/db_k), which holds for every output k, taken where dL/db_k is largest.

    Raises:
        ValueError: the bias's gradient is zero.
    """
    k = bias.abs().argmax()
    if not bias[k]:
        raise ValueError("no input can be read where the bias's gradient is zero")
    return weight[k] / bias[k]


def running_statistics(network: nn.Module) -> Statistics:
    """Running mean and variance of each batch norm, in order of definition; empty where there is none."""
    pairs = [(norm.running_mean, norm.running_var) for norm in _batch_norms(network)]
    return [(mean, variance) for mean, variance in pairs if mean is not None and variance is not None]


def batch_statistics(network: nn.Module, pixels: Tensor) -> Statistics:
    """Mean and variance of each batch norm's input at a batch (B,C,H,W), in order of definition."""
    with torch.no_grad(), watched(network) as seen:
        answers(network, pixels)
        return list(seen.values())


@contextmanager
def watched(network: nn.Module) -> Iterator[dict[nn.Module, tuple[Tensor, Tensor]]]:
    """While open, keep mean and variance of each batch norm's last input, in order of definition."""
    nothing = (torch.empty(0), torch.empty(0))
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = dict.fromkeys(_batch_norms(network), nothing)

    def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
        over = [dim for dim in range(inputs[0].ndim) if dim != 1]
        variance, mean = torch.var_mean(inputs[0], over, correction=0)
        seen[module] = (mean, variance)

    handles = [norm.register_forward_pre_hook(note) for norm in seen]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _take_least(votes: Tensor, count: int) -> Tensor:
    rest, found = votes.clone(), []
    for _ in range(count):
        found.append(rest.argmin())
        rest[found[-1]] += 1 / count
    return torch.stack(found)


def _batch_norms(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
