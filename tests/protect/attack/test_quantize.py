from typing import Any

import pytest
import torch
from batches import quantize_batch
from toys import linear, photos

from onlymymodel.protect.attack.uint8 import to_float, to_uint8
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.surrogates.answers import margin


def test_rounding_is_to_the_nearest_never_down() -> None:
    values = torch.tensor([0.0, 0.4, 0.6, 99.4, 99.6, 254.6, 255.0]) / 255
    assert to_uint8(values).tolist() == [0, 0, 1, 99, 100, 255, 255]


def test_the_lattice_is_a_fixed_point() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels)), levels)


def test_nothing_changes_where_the_change_is_zero_and_the_margin_is_there() -> None:
    model, original = linear(seed=1), photos(4)
    labels = model(to_float(original)).argmax(1)
    settled = quantize_batch(
        original, torch.zeros(original.shape), labels, authorized=model, budget=Budget(), kappa=0.0, repair_steps=0
    )
    assert torch.equal(settled.pixels, original)


def test_repair_reaches_kappa_inside_the_budget_and_says_the_margin_of_exactly_those_pixels() -> None:
    model, original, budget = linear(seed=2, scale=0.1), photos(6), Budget(linf=8 / 255)
    labels = model(to_float(original)).argmax(1)
    against = torch.randn(original.shape, generator=torch.Generator().manual_seed(0)) * 0.1
    untouched = original.clone()
    settled = quantize_batch(original, against, labels, authorized=model, budget=budget, kappa=2.0, repair_steps=20)
    assert torch.equal(original, untouched)
    assert settled.admissible.all()
    assert budget.admits(settled.pixels, original).all()
    torch.testing.assert_close(settled.margins, margin(model(to_float(settled.pixels)), labels))
    assert (settled.margins >= 2.0).all()


def test_repair_takes_back_no_more_than_it_has_to() -> None:
    model, original, budget = linear(seed=2, scale=0.1), photos(6), Budget(linf=8 / 255)
    labels = model(to_float(original)).argmax(1)
    against = torch.randn(original.shape, generator=torch.Generator().manual_seed(0)) * 0.1
    given: dict[str, Any] = {"authorized": model, "budget": budget}
    before = quantize_batch(original, against, labels, kappa=0.0, repair_steps=0, **given)
    kappa = float(before.margins.max()) + 0.05  # all photos fall short, some by little
    after = quantize_batch(original, against, labels, kappa=kappa, repair_steps=20, **given)
    assert after.admissible.all()
    # to first order, and this model knows no other, a step goes twice as far as is needed
    assert (after.margins - kappa <= kappa - before.margins + 0.01).all()
    moved = (after.pixels != before.pixels).flatten(1).sum(1)
    nearest = (kappa - before.margins).argmin()
    assert moved.argmin() == nearest
    assert int(moved[nearest]) < original[0].numel() / 10


@pytest.mark.slow
def test_repair_moves_on_where_the_pixels_that_count_most_cannot() -> None:
    model, original, budget = linear(seed=2, scale=0.1), photos(6), Budget(linf=3 / 255)
    labels = model(to_float(original)).argmax(1)
    nothing = torch.zeros(original.shape)
    given: dict[str, Any] = {"authorized": model, "budget": budget, "kappa": 1e9}
    most = quantize_batch(original, nothing, labels, repair_steps=30, **given)
    again = quantize_batch(original, to_float(most.pixels) - to_float(original), labels, repair_steps=30, **given)
    assert torch.equal(again.margins, most.margins)
    change = (most.pixels.int() - original.int()).abs()
    assert (change.flatten(1).float().mean(1) > 2.9).all()  # all as far as they may


def test_what_cannot_be_repaired_is_not_admissible() -> None:
    model, original = linear(seed=2, scale=0.001), photos(3)
    wrong = 1 - model(to_float(original)).argmax(1)
    settled = quantize_batch(
        original,
        torch.zeros(original.shape),
        wrong,
        authorized=model,
        budget=Budget(1 / 255),
        kappa=50.0,
        repair_steps=5,
    )
    assert not settled.admissible.any()


def test_a_fractional_budget_is_held_in_whole_steps() -> None:
    model, original, budget = linear(seed=1), photos(2), Budget(linf=2.5 / 255)
    labels = model(to_float(original)).argmax(1)
    settled = quantize_batch(
        original, torch.ones(original.shape), labels, authorized=model, budget=budget, kappa=0, repair_steps=9
    )
    assert budget.spent(settled.pixels, original).max() <= 2


def test_repair_leaves_masked_pixels_alone() -> None:
    model, original = linear(seed=2, scale=0.05), photos(3)
    labels = 1 - model(to_float(original)).argmax(1)
    mask = torch.zeros(3, 1, 16, 16)
    mask[..., :8] = 1
    settled = quantize_batch(
        original,
        torch.zeros(original.shape),
        labels,
        authorized=model,
        budget=Budget(),
        kappa=9,
        repair_steps=5,
        mask=mask,
    )
    assert torch.equal(settled.pixels[..., 8:], original[..., 8:])
    assert not torch.equal(settled.pixels[..., :8], original[..., :8])
