"""The gradient that a client of federated learning sends, and the labels and inputs that it reveals directly."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.options import Mode

Gradient = tuple[Tensor, ...]
Statistics = list[tuple[Tensor, Tensor]]  # mean and variance by channel, of each batch norm's input


def client_copy(network: nn.Module, mode: Mode, dtype: torch.dtype | None = None) -> nn.Module:
    """Return a copy of a network in the state in which the client computes its gradient.

    In `train` mode its batch norms use the statistics of the batch. Dropout stays off, since an outsider does not know
    what was dropped.
    """
    copied = copy.deepcopy(network).to(dtype=dtype).eval()
    for norm in _batch_norms(copied):
        norm.train(mode == "train")
    return copied


def loss_gradient(network: nn.Module, pixels: Tensor, labels: Tensor, *, differentiable: bool = False) -> Gradient:
    """Return the gradient of a batch's mean cross-entropy by every parameter, frozen or not; buffers do not change.

    Args:
        pixels: (B,C,H,W) in [0,1].
        labels: (B,) long, or (B,classes) probabilities.
        differentiable: whether the gradient is differentiable by pixels and labels, for gradient matching.
    """
    parameters = {name: value.detach().requires_grad_() for name, value in network.named_parameters()}
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        loss = F.cross_entropy(compute_logits(network, pixels, parameters), labels)
        return torch.autograd.grad(
            loss, tuple(parameters.values()), create_graph=differentiable, materialize_grads=True
        )


def client_update(
    network: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    *,
    steps: int = 1,
    rate: float = 0.1,
    differentiable: bool = False,
) -> Gradient:
    """Return what a client of FedAvg sends: (weights before - weights after) / (rate * steps) of local SGD steps.

    Every step uses all the client's pictures (McMahan et al., AISTATS 2017, with the whole data as the batch). One step
    is the gradient itself; several are the mean of the gradients along the way.

    Args:
        pixels: (B,C,H,W) in [0,1].
        labels: (B,) long, or (B,classes) probabilities.
        steps: number of local steps.
        rate: step size of each.
        differentiable: whether the update is differentiable by pixels and labels.
    """
    if steps == 1:
        return loss_gradient(network, pixels, labels, differentiable=differentiable)
    first = {name: value.detach().requires_grad_() for name, value in network.named_parameters()}
    current = first
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        for _ in range(steps):
            loss = F.cross_entropy(compute_logits(network, pixels, current), labels)
            parts = torch.autograd.grad(
                loss, tuple(current.values()), create_graph=differentiable, materialize_grads=True
            )
            current = {name: value - rate * part for (name, value), part in zip(current.items(), parts, strict=True)}
            if not differentiable:
                current = {name: value.detach().requires_grad_() for name, value in current.items()}
    changes = zip(first.values(), current.values(), strict=True)
    update = tuple((before - after) / (rate * steps) for before, after in changes)
    return update if differentiable else tuple(part.detach() for part in update)


def compute_logits(network: nn.Module, pixels: Tensor, parameters: dict[str, Tensor] | None = None) -> Tensor:
    """Return (B,classes) logits; batch norms write into copies of their buffers."""
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    logits: Tensor = functional_call(network, {**(parameters or {}), **buffers}, (pixels,))
    return logits


def flatten_gradient(gradient: Sequence[Tensor]) -> Tensor:
    """Return all entries of a gradient as one vector."""
    return torch.cat([part.flatten() for part in gradient])


def has_signal(gradient: Sequence[Tensor]) -> bool:
    """Return whether a gradient is finite and not zero, so that it can be matched."""
    norm = flatten_gradient(gradient).double().norm()
    return bool(norm.isfinite()) and norm.item() > 0


def recover_labels(network: nn.Module, gradient: Sequence[Tensor], count: int) -> Tensor:
    """Return the (count,) labels of a batch in ascending order, read from the gradient of the last linear layer.

    The gradient of a bias is the mean over the batch of probability - truth: for a batch of one its only negative entry
    is the label. Without a bias and for a batch of one this is iDLG's rule (Zhao et al., arXiv 2001.02610): the label's
    row of the weights' gradient points against all others. The other rules are ours. For larger batches the most
    negative entry of the bias is taken repeatedly, each time less one label's share, which is exact only if the
    probabilities are small. Without a bias the rows with the smallest sums are taken, which holds for features that are
    not negative and labels that do not repeat (as in GradInversion, Yin et al., CVPR 2021, which takes smallest
    entries).

    Raises:
        UserError: the network has no linear layer, or too few outputs for so many labels.
    """
    parts = dict(zip((name for name, _ in network.named_parameters()), gradient, strict=True))
    heads = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not heads:
        raise UserError("labels are read from the gradient of a last linear layer, and this network has none")
    weight, bias = (parts.get(f"{heads[-1]}.{part}".removeprefix(".")) for part in ("weight", "bias"))
    assert weight is not None
    if bias is not None:
        labels = _most_negative(bias, count)
    elif count == 1 and len(weight) > 2:
        rows = F.normalize(weight, dim=1, eps=torch.finfo(weight.dtype).tiny)
        labels = (rows @ rows.T).sum(1).argmin()[None]
    elif count <= len(weight):
        labels = weight.sum(1).argsort()[:count]
    else:
        raise UserError(f"{count} labels cannot be read from a last layer of {len(weight)} outputs without a bias")
    return labels.sort().values


def invert_linear_layer(weight: Tensor, bias: Tensor) -> Tensor:
    """Return the (inputs,) input of a linear layer for a batch of one, from the gradients of its weight and bias.

    It is (dL/dW_k) / (dL/db_k), which holds for every output k; the k with the largest |dL/db_k| is used.

    Args:
        weight: (outputs, inputs) gradient of the weight.
        bias: (outputs,) gradient of the bias.

    Raises:
        ValueError: the gradient of the bias is zero.
    """
    k = bias.abs().argmax()
    if not bias[k]:
        raise ValueError("the input cannot be computed: the gradient of the bias is zero")
    return weight[k] / bias[k]


def running_statistics(network: nn.Module) -> Statistics:
    """Return running mean and variance of each batch norm, in order of definition; empty without batch norms."""
    pairs = [(norm.running_mean, norm.running_var) for norm in _batch_norms(network)]
    return [(mean, variance) for mean, variance in pairs if mean is not None and variance is not None]


def batch_statistics(network: nn.Module, pixels: Tensor) -> Statistics:
    """Return mean and variance of each batch norm's input for a batch (B,C,H,W), in order of definition."""
    with torch.no_grad(), record_statistics(network) as statistics:
        compute_logits(network, pixels)
        return list(statistics.values())


@contextmanager
def record_statistics(network: nn.Module) -> Iterator[dict[nn.Module, tuple[Tensor, Tensor]]]:
    """Record mean and variance of each batch norm's last input while the context is open, in order of definition."""
    empty = (torch.empty(0), torch.empty(0))
    statistics: dict[nn.Module, tuple[Tensor, Tensor]] = dict.fromkeys(_batch_norms(network), empty)

    def record(module: nn.Module, inputs: tuple[Tensor]) -> None:
        dims = [dim for dim in range(inputs[0].ndim) if dim != 1]
        variance, mean = torch.var_mean(inputs[0], dims, correction=0)
        statistics[module] = (mean, variance)

    handles = [norm.register_forward_pre_hook(record) for norm in statistics]
    try:
        yield statistics
    finally:
        for handle in handles:
            handle.remove()


def _most_negative(bias: Tensor, count: int) -> Tensor:
    """Return the indices of the most negative entries, one at a time, each reduced by one label's share once taken."""
    rest, labels = bias.clone(), []
    for _ in range(count):
        labels.append(rest.argmin())
        rest[labels[-1]] += 1 / count
    return torch.stack(labels)


def _batch_norms(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
