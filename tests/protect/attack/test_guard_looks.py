"""Random looks at the authorized model, and the guard over them, which keeps what an exact guard loses."""

from typing import Any

import pytest
import torch
from batches import rows
from toys import Smooth, SmoothAndFragile, classifier, generators, linear, photos, small_cnn

from onlymymodel.protect.attack import guard_looks
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.guard_looks import GuardLooks, draw_change
from onlymymodel.protect.attack.recipe import Recipe, make_recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.surrogates.answers import margin
from onlymymodel.surrogates.classifier import Preprocess

ROWS = rows(0, 1, 2)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks that change nothing: no channel, no zoom, no shift, no mirror."""
    monkeypatch.setattr(guard_looks, "draw_change", lambda _: lambda photo: photo)
    monkeypatch.setattr(guard_looks, "ZOOM", (1.0, 1.0))
    monkeypatch.setattr(guard_looks, "SHIFT", 0.0)
    monkeypatch.setattr(guard_looks, "MIRROR_PROBABILITY", 0.0)


@pytest.mark.usefixtures("plain")
def test_a_look_that_changes_nothing_has_the_exact_margin_and_gradient() -> None:
    model, pixels, labels = linear(seed=4, scale=0.1), to_float(photos(3)), torch.tensor([0, 1, 0])
    least, gradient = GuardLooks(model, labels, kappa=1e9, count=1).margins(pixels, ROWS, generators(3))
    torch.testing.assert_close(least, margin(model(pixels), labels), atol=1e-4, rtol=1e-4)
    weights = model.net.get_parameter("weights")
    expected = torch.stack([weights[label] - weights[1 - label] for label in labels.tolist()])
    torch.testing.assert_close(gradient.flatten(1), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("plain")
def test_only_margins_below_kappa_have_a_gradient_and_looks_add_up() -> None:
    model, pixels, labels = linear(seed=4, scale=0.1), to_float(photos(3)), torch.tensor([0, 0, 0])
    exact = margin(model(pixels), labels)
    kappa = float(exact.sort().values[:2].mean())  # one photo is below it
    least, gradient = GuardLooks(model, labels, kappa, count=3).margins(pixels, ROWS, generators(3))
    low = exact < kappa
    assert (gradient.flatten(1).abs().sum(1) > 0).tolist() == low.tolist()
    once = GuardLooks(model, labels, kappa, count=1).margins(pixels, ROWS, generators(3))[1]
    torch.testing.assert_close(gradient, 3 * once)
    torch.testing.assert_close(least, exact, atol=1e-4, rtol=1e-4)


def test_no_looks_constrain_nothing() -> None:
    pixels = to_float(photos(2))
    least, gradient = GuardLooks(linear(seed=1), torch.tensor([0, 1]), 2.0, count=0).margins(
        pixels, rows(0, 1), generators(2)
    )
    assert torch.isinf(least).all()
    assert not gradient.any()


def test_a_look_of_a_photo_does_not_depend_on_its_batch() -> None:
    model, pixels, labels = small_cnn(seed=1), to_float(photos(3)), torch.tensor([0, 1, 2])
    looks = GuardLooks(model, labels, kappa=1e9, count=2)
    least, gradient = looks.margins(pixels, ROWS, generators(3))
    for row in range(3):
        alone = looks.margins(pixels[row : row + 1], rows(row), generators(3)[row : row + 1])
        torch.testing.assert_close(alone[0][0], least[row])
        torch.testing.assert_close(alone[1][0], gradient[row])


def test_the_center_of_a_larger_canvas_is_its_center_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_looks, "MIRROR_PROBABILITY", 0.0)
    preprocess = Preprocess(height=32, width=32, crop_pct=0.8)
    canvas = torch.rand(1, 3, 40, 52)
    crop = guard_looks._crop(canvas, 32, 32, (0.5, 0.5, 0.5, 1.0), still=False)
    torch.testing.assert_close(crop, preprocess.center(canvas), atol=1e-5, rtol=0)


def test_a_mirrored_look_is_the_flipped_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_looks, "MIRROR_PROBABILITY", 1.1)
    canvas = torch.rand(1, 3, 40, 40)
    crop = guard_looks._crop(canvas, 32, 32, (0.5, 0.5, 0.5, 0.0), still=False)
    torch.testing.assert_close(crop, canvas[..., 4:36, 4:36].flip(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_drawn_change_is_differentiable_and_stays_in_range(channels: int) -> None:
    photo = torch.rand(1, channels, 40, 48, requires_grad=True)
    for seed in range(24):
        changed = draw_change(torch.Generator().manual_seed(seed))(photo)
        assert -1e-4 <= float(changed.detach().min()) <= float(changed.detach().max()) <= 1 + 1e-4
        (gradient,) = torch.autograd.grad(changed.sum(), photo)
        assert torch.isfinite(gradient).all()


@pytest.mark.slow
def test_the_guard_over_looks_keeps_what_the_exact_guard_loses_elsewhere() -> None:
    """The surrogate is misled by darkening the left. The exact guard makes up for it by the checkerboard, which a shift
    by one pixel turns against it; the guard over looks may not."""
    authorized, surrogate = classifier(SmoothAndFragile(), 2, "fragile"), classifier(Smooth(), 2, "smooth")
    pixels = torch.full((4, 3, 16, 16), 120, dtype=torch.uint8)
    pixels[..., :8] = 132
    labels = torch.zeros(4, dtype=torch.long)

    def kept(recipe: Recipe) -> tuple[int, int]:
        protected = protect_batch(
            pixels, labels, authorized=authorized, surrogates=[surrogate], budget=Budget(8 / 255), recipe=recipe,
            generators=generators(4),
        )  # fmt: skip
        exact = to_float(protected.pixels)
        shifted = torch.roll(exact, 1, dims=3)
        right = [int((authorized(photos).argmax(1) == labels).sum()) for photos in (exact, shifted)]
        return right[0], right[1]

    settings: dict[str, Any] = {"views": ("center",), "kappa": 0.5, "guard_weight": 2.0, "keep_through": ()}
    assert kept(make_recipe("exact", **settings)) == (4, 0)
    assert kept(make_recipe("default", guard_looks=8, **settings)) == (4, 4)
