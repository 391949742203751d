"""The worked examples of CONTRIBUTING.md work as written."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch
from paths import ROOT
from toys import generators, linear, photos, small_cnn

from onlymymodel.protect.attack import losses, recipe, tables, views
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget import bounds, kinds
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.surrogates import schemes
from onlymymodel.surrogates.load import load_model

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def example(title: str) -> tuple[str, str]:
    """The definition and the table row of an example."""
    section = TEXT.partition(f"### {title}\n")[2].partition("\n### ")[0]
    definition, row = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return definition, row


def define(title: str, module: ModuleType, rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the definition into a module and the row into a table, until the test ends."""
    definition, row = example(title)
    names = dict(vars(module))
    exec(compile(definition, f"CONTRIBUTING.md: {title}", "exec"), names)
    for name in names.keys() - vars(module).keys():
        monkeypatch.setattr(module, name, names[name], raising=False)
    table = sys.modules[type(next(iter(rows.values()))).__module__]
    entries: dict[str, Any] = eval("{" + row + "}", dict(vars(table)))  # noqa: S307 - our own text
    for name, entry in entries.items():
        monkeypatch.setitem(rows, name, entry)


def test_a_new_view_flips_half_of_the_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    define("Add a view", views, tables.VIEWS, monkeypatch)
    surrogate, pixels = small_cnn(seed=1), to_float(photos(8))
    crops = views.apply_view(pixels, surrogate.card.preprocess, ("mirror",), generators(8))
    flipped = [torch.allclose(crop, photo.flip(2), atol=1e-5) for crop, photo in zip(crops, pixels, strict=True)]
    same = [torch.allclose(crop, photo, atol=1e-5) for crop, photo in zip(crops, pixels, strict=True)]
    assert all(one != other for one, other in zip(flipped, same, strict=True))
    assert any(flipped)
    assert any(same)
    assert recipe.Recipe(views=("mirror",)).views == ("mirror",)


def test_a_new_loss_is_climbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a linear surrogate the gradient is minus the class's weights, whatever the probabilities are."""
    define("Add a loss", losses, tables.OBJECTIVES, monkeypatch)
    monkeypatch.setitem(recipe.CHOICES, "objective", tuple(tables.OBJECTIVES))
    surrogate, pixels, labels = linear(seed=7, classes=4, scale=0.01), photos(2), torch.tensor([1, 3])
    settings = recipe.Recipe(
        objective="logit",
        steps=1,
        step_share=1.0,
        views=("center",),
        guard=False,
        keep_through=(),
        kappa=0.0,
        repair_steps=0,
    )
    protected = protect_batch(
        pixels,
        labels,
        authorized=linear(seed=6, classes=4),
        surrogates=[surrogate],
        budget=Budget(8 / 255),
        recipe=settings,
        generators=generators(2),
    )
    away = -surrogate.net.get_parameter("weights")[labels].sign().view(2, 3, 16, 16)
    assert torch.equal(protected.pixels.int() - pixels.int(), 8 * away.int())


def test_a_new_scheme_loads_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = ModuleType("onlymymodel.surrogates.linear_file")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    define("Add a model scheme", module, schemes.SCHEMES, monkeypatch)
    tensors = {"weight": torch.randn(5, 3072), "bias": torch.randn(5)}
    safetensors.torch.save_file(tensors, tmp_path / "weights.safetensors")
    model = load_model(f"linear:{tmp_path / 'weights.safetensors'}?mean=0,0,0&std=1,1,1")
    pixels = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(pixels), pixels.flatten(1) @ tensors["weight"].T + tensors["bias"])
    assert model.card.uri == "linear:weights.safetensors"


def test_a_new_bound_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    define("Add a bound", bounds, kinds.BOUNDS, monkeypatch)

    @dataclass(frozen=True)
    class NewBudget(Budget):
        mean_change: float | None = None

    original, budget = to_float(photos(2)), NewBudget(16 / 255, mean_change=4 / 255)
    change = budget.project(torch.randn(original.shape) * 0.05, original).abs().flatten(1).mean(1)
    assert (change <= 4 / 255 + 1e-6).all()
    assert (change > 4 / 255 - 1e-4).all()
