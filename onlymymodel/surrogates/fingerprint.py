"""By which weights are known again, whatever file, library or names they come with."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor


def fingerprint(tensors: Iterable[Tensor]) -> str:
    """Hash over the contents of a network's matrices and filters, in no order; "" where it has none.

    A copy in half precision (float16) has the same one. Vectors and numbers do not enter: those are biases,
    normalization, counters and constants, which exporters and wrappers drop, add and fold. An export that folded
    them into the filters, or turned matrices around, holds other weights and is not known again.
    """
    digests = sorted({_digest(tensor.detach()) for tensor in tensors if _is_matrix(tensor)})
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def _is_matrix(tensor: Tensor) -> bool:
    # of the integers only the quantized ones: the wider ones are indices
    weights = tensor.is_floating_point() or tensor.dtype in (torch.int8, torch.uint8)
    return weights and len(_sides(tensor)) >= 2


def _sides(tensor: Tensor) -> list[int]:
    return [side for side in tensor.shape if side != 1]


def _digest(tensor: Tensor) -> str:
    values = tensor.float().half() if tensor.is_floating_point() else tensor
    digest = hashlib.sha256(f"{_sides(tensor)}".encode())
    digest.update(values.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
