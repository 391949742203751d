import pytest
import torch
from toys import generators, photos, small_cnn

from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.quantize import project_to_uint8
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.color import clamp_color, color_change
from onlymymodel.protect.budget.kinds import Shape
from onlymymodel.protect.budget.luma import luma

BUDGETS = [
    Budget(16 / 255, color=0.0),
    Budget(16 / 255, color=3 / 255),
    Budget(16 / 255, color=4 / 255, shape="texture"),
    Budget(16 / 255, color=4 / 255, ssim=0.95, flip=0.1, shape="texture"),
    Budget(16 / 255, color=4 / 255, luma=6 / 255),
]


def portraits(count: int = 2, size: int = 48) -> torch.Tensor:
    """(count,3,size,size) uint8, with black and white pixels."""
    pixels = torch.stack([to_tensor(render(index, index, index, size)) for index in range(count)])
    pixels[:, :, :4], pixels[:, :2, 4:8] = 255, 0
    return pixels


def changes(like: torch.Tensor, size: float = 0.1) -> torch.Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)) * size


def test_color_levels_are_exact() -> None:
    change = torch.tensor([[4, 4, 4], [4, -2, 1], [-9, 9, 0]]).T.reshape(3, 1, 3)
    assert color_change(change).tolist() == [[0.0, 3.0, 9.0]]
    assert color_change(change[:1]).tolist() == [[0.0, 0.0, 0.0]]


def test_a_change_inside_the_limit_stays_and_brightness_is_kept() -> None:
    change = changes(torch.zeros(2, 3, 8, 8))
    low, high = torch.full_like(change, -1), torch.full_like(change, 1)
    torch.testing.assert_close(clamp_color(change, torch.tensor(1.0), low, high), change)
    clamped = clamp_color(change, torch.tensor(0.02), low, high)
    torch.testing.assert_close(clamped.mean(1), change.mean(1))
    assert float((clamped - clamped.mean(1, keepdim=True)).abs().amax()) == pytest.approx(0.02, abs=2e-6)


def test_a_pixel_that_cannot_become_brighter_in_one_channel_changes_less() -> None:
    change = torch.tensor([0.0, 0.1, 0.1]).view(1, 3, 1, 1)
    low, high = torch.full_like(change, -0.1), torch.tensor([0.0, 0.1, 0.1]).view(1, 3, 1, 1)
    clamped = clamp_color(change, torch.tensor(0.01), low, high)
    assert float((clamped - clamped.mean(1, keepdim=True)).abs().amax()) == pytest.approx(0.01, abs=2e-6)
    assert (clamped >= low).all()
    assert (clamped <= high).all()


@pytest.mark.parametrize("budget", BUDGETS)
def test_uint8_photos_are_inside_the_color_limit(budget: Budget) -> None:
    pixels = portraits()
    made = project_to_uint8(pixels, changes(pixels), budget)
    assert budget.admits(made, pixels).all()
    assert budget.color is not None
    spent = budget.spent(made, pixels, "color")
    assert (spent <= budget.color * 255).all()
    assert (budget.spent(made, pixels) >= 2 * spent).all()
    assert (made != pixels).any()
    colorful = pixels.clone()
    colorful[:, 0] = (pixels[:, 0].int() + 30).clamp(0, 255).to(torch.uint8)
    assert any("its color differs by up to" in sentence for sentence in budget.violations(colorful[0], pixels[0]))


@pytest.mark.parametrize("shape", ["even", "texture"])
@pytest.mark.parametrize(("luma_levels", "color_levels"), [(1, 4), (6, 4), (3, 1), (3, 0), (0, 4)])
def test_less_color_keeps_a_change_inside_its_luma(luma_levels: int, color_levels: int, shape: Shape) -> None:
    """The optimizer's changes are inside both limits; rounding would else take those beyond one back as a whole."""
    pixels, limits = portraits(), {"luma": luma_levels / 255, "color": color_levels / 255}
    originals, budget = pixels.float() / 255, Budget(16 / 255, shape=shape, **limits)
    delta = budget.project(changes(pixels), originals)
    fraction = budget.max_change(originals) / budget.linf
    color = (delta - delta.mean(1, keepdim=True)).abs().amax(1, keepdim=True)
    assert (luma(delta).abs() <= fraction * limits["luma"] + 2e-6).all()
    assert (color <= fraction * limits["color"] + 2e-6).all()
    assert (delta.abs() <= budget.max_change(originals) + 1e-6).all()
    made = project_to_uint8(pixels, changes(pixels), budget)
    assert budget.admits(made, pixels).all()


def test_rounding_keeps_most_of_a_change_of_both_luma_and_color() -> None:
    pixels, budget = portraits(), Budget(16 / 255, luma=1 / 255, color=4 / 255)
    made = project_to_uint8(pixels, changes(pixels), budget)
    projected = budget.project(changes(pixels), pixels.float() / 255)
    written = (made.float() - pixels.float()).abs().mean()
    assert float(written) > 0.6 * 255 * float(projected.abs().mean())


def test_a_gray_photo_has_no_color_to_limit() -> None:
    gray = photos(2)[:, :1]
    made = project_to_uint8(gray, changes(gray), Budget(16 / 255, color=0.0))
    assert torch.equal(made, project_to_uint8(gray, changes(gray), Budget(16 / 255)))


def test_protected_photos_are_inside_the_color_limit() -> None:
    pixels, budget = portraits(), Budget(16 / 255, color=3 / 255)
    made = protect_batch(
        pixels,
        torch.tensor([0, 1]),
        authorized=small_cnn(1),
        surrogates=[small_cnn(2)],
        budget=budget,
        recipe=make_recipe("default", steps=4, kappa=0.0),
        generators=generators(2),
    )
    assert budget.admits(made.pixels, pixels).all()
    assert (budget.spent(made.pixels, pixels) > 3).all()


def test_color_is_written_in_8_bit_levels() -> None:
    assert Budget(16 / 255, color=4 / 255).to_json() == {"linf": 16.0, "color": 4.0}
    assert Budget.from_json({"linf": 16, "color": 4}) == Budget(16 / 255, color=4 / 255)
