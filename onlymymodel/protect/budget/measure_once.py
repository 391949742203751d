"""Measure a pair of photos once: a written file is measured by its bounds, by the verdict and for the record."""

import hashlib
from collections.abc import Callable
from threading import Lock

from cachetools import LRUCache, cached
from torch import Tensor

PAIRS = 8  # that are remembered

Measure = Callable[[Tensor, Tensor], float]


def measured_once(measure: Measure) -> Measure:
    """Return a function of two photos that remembers its last results.

    Args:
        measure: of two (C,H,W) uint8 photos; it takes far longer than hashing them.
    """
    return cached(LRUCache[tuple[bytes, bytes], float](PAIRS), key=_key, lock=Lock())(measure)


def _key(first: Tensor, second: Tensor) -> tuple[bytes, bytes]:
    return _digest(first), _digest(second)


def _digest(photo: Tensor) -> bytes:
    digest = hashlib.sha256(str(tuple(photo.shape)).encode())
    digest.update(photo.cpu().contiguous().numpy().data)
    return digest.digest()
