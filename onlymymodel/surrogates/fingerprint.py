"""Hashes that identify weights: of all parameters exactly, and of the filters only, in any file and naming."""

import hashlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn


def parameters_sha256(net: nn.Module) -> str:
    """Return the sha256 over parameters and buffers in order of their names, independent of any file format.

    Of frozen TorchScript, whose weights are constants of its code, it is that of its file.
    """
    state = net.state_dict()
    if isinstance(net, torch.jit.ScriptModule) and not state:
        return hashlib.sha256(net.save_to_buffer()).hexdigest()
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        for tensor in _tensors(value):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors of a value of a state dict, which of a quantized layer is a tuple of weight and bias."""
    if isinstance(value, Tensor):
        yield value.dequantize() if value.is_quantized else value
    elif isinstance(value, tuple):
        for part in value:
            yield from _tensors(part)


def fingerprint(tensors: Iterable[Tensor]) -> str:
    """Return a hash over the contents of a network's matrices and filters, in any order; "" if it has none.

    A copy in half precision (float16) has the same fingerprint. Vectors and scalars are left out: they are biases,
    normalization, counters and constants, which exporters and wrappers drop, add and fold. An export that folds
    them into the filters, or transposes matrices, has other weights and another fingerprint.
    """
    digests = sorted({_digest(tensor.detach()) for tensor in tensors if _is_matrix(tensor)})
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def _is_matrix(tensor: Tensor) -> bool:
    # of the integer tensors only quantized weights count: wider integers are indices
    weights = tensor.is_floating_point() or tensor.dtype in (torch.int8, torch.uint8)
    return weights and len(_sides(tensor)) >= 2


def _sides(tensor: Tensor) -> list[int]:
    return [side for side in tensor.shape if side != 1]


def _digest(tensor: Tensor) -> str:
    values = tensor.float().half() if tensor.is_floating_point() else tensor
    digest = hashlib.sha256(f"{_sides(tensor)}".encode())
    digest.update(values.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
