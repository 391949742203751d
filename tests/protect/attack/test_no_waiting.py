"""A step of the optimizer copies nothing from the device to the host beyond what its branches need.

Photos, labels and targets are tensors of a class that stands for those on a GPU: whatever is computed from them is of
that class, too, and each use of their values on the host is noted. Host draws from generators are plain tensors.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest
import torch
from batches import attack_batch
from torch import Tensor
from toys import generators, photos, small_cnn

from onlymymodel.protect.attack.batch import AttackBatch
from onlymymodel.protect.attack.optimizer import optimize
from onlymymodel.protect.attack.recipe import Recipe, make_recipe
from onlymymodel.protect.attack.uint8 import to_float

READS_VALUES = {"tolist", "item", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__"}
STEPS = 3


class OnDevice(Tensor):
    """A tensor whose values the host does not have; `reads` lists the calls that ask for them."""

    reads: ClassVar[list[str]] = []

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.__name__
        if args and isinstance(args[0], cls):
            to_host = name == "to" and type(args[1]) is Tensor and not kwargs
            by_mask = name in ("__getitem__", "__setitem__") and _has_mask(args[1])
            if name in READS_VALUES or to_host or by_mask:
                cls.reads.append("mask" if by_mask else name)
        found = super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        return found.as_subclass(Tensor) if name == "cpu" else found


def _has_mask(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, Tensor) and part.dtype == torch.bool for part in parts)


@pytest.fixture(autouse=True)
def no_reads() -> Iterator[None]:
    OnDevice.reads.clear()
    yield
    OnDevice.reads.clear()


def on_device(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(OnDevice)


def device_batch(signs: Sequence[float] = (1.0, 1.0, 1.0)) -> AttackBatch:
    labels = on_device(torch.tensor([0, 1, 2]))
    away = on_device(torch.tensor(signs))
    return attack_batch(on_device(to_float(photos(3))), labels, surrogates=2, signs=away, streams=generators(3))


def reads_in_steps(recipe: Recipe, batch: AttackBatch) -> list[list[str]]:
    """Return what each step but the first, which comes after the preparation, asked for."""
    found: list[list[str]] = []

    def on_step(_step: int, _steps: int) -> None:
        found.append(OnDevice.reads.copy())
        OnDevice.reads.clear()

    surrogates = [small_cnn(seed=2), small_cnn(seed=3)]
    optimize(batch, authorized=small_cnn(seed=1), surrogates=surrogates, recipe=recipe, on_step=on_step)
    assert len(found) == STEPS
    return found[1:]


def test_the_stand_in_sees_the_host_ask() -> None:
    values = on_device(torch.tensor([1.0, 2.0])) * torch.tensor(2.0)
    assert isinstance(values, OnDevice)
    _ = values.tolist(), values[values > 2], bool(values.any()), values.cpu(), values.to(torch.zeros(1))
    assert OnDevice.reads == ["tolist", "mask", "__bool__", "cpu", "to"]
    OnDevice.reads.clear()
    _ = torch.zeros(2).to(values) + values[torch.tensor([1])]  # to the device, and an index of the host
    assert OnDevice.reads == []


@pytest.mark.parametrize("name", ["default", "robust", "ens", "di", "si", "bsr", "svre"])
@pytest.mark.parametrize("kappa", [0.0, 1e6])
def test_a_step_waits_once_for_its_branch_and_once_for_a_look(name: str, kappa: float) -> None:
    recipe = make_recipe(name, steps=STEPS, kappa=kappa, copies=1)
    branches = ["__bool__"] * recipe.guard_looks + ["tolist"]
    assert reads_in_steps(recipe, device_batch()) == [branches] * (STEPS - 1)


def test_without_a_guard_no_step_waits() -> None:
    recipe = make_recipe("default", steps=STEPS, guard=False)
    assert reads_in_steps(recipe, device_batch()) == [[]] * (STEPS - 1)
    OnDevice.reads.clear()
    assert reads_in_steps(recipe, device_batch(signs=(1.0, 0.0, 1.0))) == [[]] * (STEPS - 1)
