import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import onlymymodel
from onlymymodel.protect.budget.bounds import Bound, bound_class
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.kinds import BOUNDS, LINF, SHAPES, describe, optional_bounds

LIGHT = """
import sys, types
package = types.ModuleType("onlymymodel")  # without what the package itself imports
package.__path__ = [sys.argv[1]]
sys.modules["onlymymodel"] = package
import onlymymodel.protect.budget.kinds
assert not {"torch", "numpy", "kornia"} & set(sys.modules), "imported"
"""


def test_kinds_import_without_torch() -> None:
    subprocess.run([sys.executable, "-c", LIGHT, str(Path(onlymymodel.__file__).parent)], check=True)


def test_budget_fields_are_the_rows_and_the_shape() -> None:
    assert {field.name for field in fields(Budget)} == {*BOUNDS, "shape"}


@pytest.mark.parametrize("name", [name for name, kind in BOUNDS.items() if kind.bound])
def test_row_names_its_class(name: str) -> None:
    bound = bound_class(name)
    assert issubclass(bound, Bound)
    assert bound.name == name


@pytest.mark.parametrize("name", BOUNDS)
def test_limit_is_read_as_it_is_written(name: str) -> None:
    kind = BOUNDS[name]
    assert kind.read(kind.written(0.125)) == 0.125
    assert kind.in_range(0.0)
    assert not kind.in_range(-1e-9)
    assert not kind.in_range(float("nan"))
    assert kind.in_range(2.0) == (kind.maximum > 1)


@pytest.mark.parametrize("name", optional_bounds())
def test_every_row_bounds_an_unchanged_photo(name: str) -> None:
    if name == "lpips":
        pytest.skip("needs AlexNet's weights; see test_bounded_photos")
    photo = torch.full((1, 3, 16, 16), 100, dtype=torch.uint8)
    budget = Budget.from_json({LINF: 8, name: 1})
    assert budget.limits.keys() == {LINF, name}
    assert budget.admits(photo, photo).all()


def test_describe_words_each_bound_and_the_shape() -> None:
    assert describe({LINF: 8}) == ""
    limits: dict[str, float | str] = {LINF: 16, "shape": "texture", "ssim": 0.95, "luma": 4}
    assert describe(limits) == "brightness within 4/255, SSIM at least 0.95, spent beside texture"
    assert list(SHAPES) == ["even", "texture"]
