"""Add a bound: one class, one row of `kinds.BOUNDS`, one field of `Budget`.

Here it is added to a subclass, for the tests alone. In the package the class goes to `bounds.py`, the row to `kinds.py`
and the field to `Budget`; the command line, run files, manifests and reports follow from the row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from toys import photos

from onlymymodel.cli.main import build_parser
from onlymymodel.protect.attack.quantize import project_to_uint8
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.bounds import Bound
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.kinds import BOUNDS, BoundKind, describe


# the class: how the distance is measured
@dataclass(frozen=True)
class MeanChange(Bound):
    """Largest mean absolute change."""

    name: ClassVar[str] = "mean_change"
    definition: ClassVar[str] = "mean absolute change over all channels and pixels, in pixels of [0, 1]"

    def distance(self, protected: Tensor, original: Tensor) -> float:
        return float((protected.double() - original.double()).abs().mean()) / 255

    def distance_along(self, delta: Tensor, original: Tensor) -> Callable[[float], float]:  # noqa: ARG002
        mean = float(delta.abs().mean())
        return lambda scale: scale * mean


# the row: everything else
ROW = BoundKind(
    help="largest mean absolute change, in 1/255",
    phrase="mean change at most {:g}/255",
    violation="its mean change in 1/255 is {:.2f}",
    bound=f"{__name__}:MeanChange",
    maximum=1,
    denominator=255,
    for_fraction=lambda limit, fraction: limit * fraction,
)


# the field
@dataclass(frozen=True)
class NewBudget(Budget):
    mean_change: float | None = None


@pytest.fixture(autouse=True)
def row() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BOUNDS, "mean_change", ROW)
        yield


def noise(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)) * 0.05


def test_project_shrinks_to_the_new_bound() -> None:
    original, budget = to_float(photos(2)), NewBudget(16 / 255, mean_change=4 / 255)
    free = NewBudget(16 / 255).project(noise(original), original)
    moved = budget.project(noise(original), original)
    for row, change in enumerate(moved):
        assert 4 / 255 - 1e-4 < float(change.abs().mean()) <= 4 / 255
        torch.testing.assert_close(change, free[row] * (change.norm() / free[row].norm()))


def test_written_photos_are_judged_by_the_new_bound() -> None:
    pixels, budget = photos(2), NewBudget(16 / 255, mean_change=4 / 255)
    made = project_to_uint8(pixels, noise(pixels), budget)
    assert (budget.spent(made, pixels, "mean_change") <= 4 / 255).all()
    assert budget.admits(made, pixels).all()
    loud = project_to_uint8(pixels, noise(pixels), NewBudget(16 / 255))
    assert not budget.admits(loud, pixels).any()
    spent = budget.spent(loud, pixels, "mean_change")[0]
    (sentence,) = budget.violations(loud[0], pixels[0])
    assert sentence == f"its mean change in 1/255 is {255 * float(spent):.2f}, more than 4"


def test_everything_else_follows_from_the_row() -> None:
    budget = NewBudget(16 / 255, mean_change=4 / 255)
    assert budget.to_json() == {"linf": 16.0, "mean_change": 4.0}
    assert NewBudget.from_json(budget.to_json()) == budget
    assert budget.for_fraction(0.25).mean_change == 1 / 255
    assert budget.definitions == {"mean_change": MeanChange.definition}
    assert describe(budget.to_json()) == "mean change at most 4/255"
    assert build_parser().parse_args(["protect", "photos", "--out", "out", "--mean-change", "4"]).mean_change == 4
