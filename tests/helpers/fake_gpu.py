"""A device that computes nothing, for tests of what a GPU has to do.

Tensors on torch's `meta` device have shapes and types, and no values. An operation on tensors of the host and of the
device raises, as on a GPU. What the host and the device tell each other is noted:

- `reads`: the host asks for values of the device and waits for all that is queued; it is told one value for all.
- `copies`: values go to the device from memory that is not pinned, which waits, too.
"""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental import _config
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from onlymymodel.surrogates import device_copy

DEVICE = torch.device("meta")
PACKAGE = Path(device_copy.__file__).parents[1]
aten = torch.ops.aten
INDEXING = (aten.index.Tensor, aten.index_put_.default)


class FakeGpu(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """See the module; entered by `fake_gpu`.

    Attributes:
        told: the value that the host is told where it reads.
        reads: functions of the package that read, such as `guard_looks.margins`, in order.
        copies: functions of the package that copy and wait.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.told = 0
        self.reads: list[str] = []
        self.copies: list[str] = []
        self._pinned: list[Tensor] = []

    def clear(self) -> None:
        """Forget what was noted."""
        self.reads.clear()
        self.copies.clear()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        with self:  # in inference mode, functions arrive before they are decomposed into the ones below
            found = func.decompose(*args, **kwargs)
        if found is not NotImplemented:
            return found
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        here = [tensor for tensor in tensors if tensor.device != DEVICE]
        there = len(here) < len(tensors)
        if func is aten._pin_memory.default:
            self._pinned.append(args[0].clone())
            return self._pinned[-1]
        if there and (told := self._read(func, args, kwargs)) is not None:
            return told
        to_device = func is aten._to_copy.default and kwargs.get("device") == DEVICE
        if (here and not there and to_device) or (there and func is aten.copy_.default):
            self._copy(here, non_blocking=bool(kwargs.get("non_blocking")))
        elif there and func in INDEXING:
            self.copies += [_place() for part in args[1] if part is not None and part.device != DEVICE]
        elif there and any(tensor.dim() for tensor in here):
            raise RuntimeError(f"{func}: tensors of the host and of the device")
        return func(*args, **kwargs)

    def _read(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Return what the host is told where it asks for values, and note it."""
        asked = args[0]
        if func is aten.equal.default:
            told: Any = bool(self.told)
        elif func is aten._local_scalar_dense.default:
            told = torch.full((), self.told, dtype=asked.dtype).item()
        elif func is aten._to_copy.default and kwargs.get("device", DEVICE) != DEVICE:
            told = torch.full(asked.shape, self.told, dtype=kwargs.get("dtype") or asked.dtype)
        elif func is aten.copy_.default and asked.device != DEVICE:
            told = asked.fill_(self.told)
        else:
            by_mask = func in INDEXING and any(part is not None and part.dtype == torch.bool for part in args[1])
            self.reads += [_place()] if by_mask or func is aten.nonzero.default else []  # how many there are: all
            return None
        self.reads.append(_place())
        return told

    def _copy(self, sources: Sequence[Tensor], *, non_blocking: bool) -> None:
        """Note a copy to the device, unless it is from pinned memory and does not wait."""
        for source in sources:
            if source.dim() and not (non_blocking and any(source is tensor for tensor in self._pinned)):
                self.copies.append(_place())
        self._pinned.clear()


@contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """Let `DEVICE` be a GPU."""
    all_chosen = _config.patch(meta_nonzero_assume_all_nonzero=True)  # type: ignore[attr-defined]
    with all_chosen, pytest.MonkeyPatch.context() as patch, FakeGpu() as gpu:
        patch.setattr(device_copy, "WITH_PINNED_MEMORY", DEVICE.type)
        patch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which has no mode for this device
        yield gpu


def _place() -> str:
    """Return the innermost function of the package that is being called."""
    for frame in reversed(traceback.extract_stack()):
        if PACKAGE in Path(frame.filename).parents:
            return f"{Path(frame.filename).stem}.{frame.name}"
    return "no function of the package"
