import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from toys import generators, photos, small_cnn

from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.quantize import project_to_uint8
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.attack.uint8 import to_float, to_uint8
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.luma import LUMA, clamp_luma, luma, luma_change

WEIGHTS = np.array(LUMA) / 1000
BUDGETS = [
    Budget(16 / 255, luma=3 / 255),
    Budget(16 / 255, luma=2.5 / 255),
    Budget(16 / 255, luma=4 / 255, shape="texture"),
    Budget(16 / 255, luma=4 / 255, ssim=0.95),
    Budget(16 / 255, luma=4 / 255, psnr=38.0, shape="texture"),
]


def portraits(count: int = 2, size: int = 48) -> torch.Tensor:
    """(count,3,size,size) uint8."""
    return torch.stack([to_tensor(render(index, index, index, size)) for index in range(count)])


def changes(like: torch.Tensor, size: float = 0.1) -> torch.Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)) * size


def test_luma_is_that_of_jpeg() -> None:
    rgb = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 200, 200]]).float().T.reshape(1, 3, 2, 2)
    assert luma(rgb).flatten().tolist() == pytest.approx([76.245, 149.685, 29.07, 200.0])
    gray = torch.rand(1, 1, 3, 3)
    assert torch.equal(luma(gray), gray)


def test_luma_levels_are_exact() -> None:
    change = torch.tensor([[4, -4, 10], [4, 4, -10], [4, 4, 10]]).int().reshape(3, 1, 3)
    assert luma_change(change).tolist() == [[4.0, 1.608, 1.74]]
    assert luma_change(change[:1]).tolist() == [[4.0, 4.0, 10.0]]


def test_clamped_luma_is_the_nearest_change() -> None:
    stream = np.random.default_rng(0)
    for _ in range(60):
        low, high = -stream.uniform(0, 0.1, 3), stream.uniform(0, 0.1, 3)
        wanted, limit = stream.uniform(low, high), float(stream.choice([0.0, 0.01, 0.03]))
        best = minimize(
            lambda change, goal=wanted: ((change - goal) ** 2).sum(),
            np.zeros(3),
            jac=lambda change, goal=wanted: 2 * (change - goal),
            bounds=list(zip(low, high, strict=True)),
            constraints=[
                {"type": "ineq", "fun": lambda change, sign=sign, most=limit: most - sign * WEIGHTS @ change}
                for sign in (1, -1)
            ],
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        clamped = (
            clamp_luma(*(torch.tensor(v).view(1, -1, 1, 1) for v in (wanted, [limit], low, high))).flatten().numpy()
        )
        np.testing.assert_allclose(clamped, best.x, atol=2e-5)
        assert abs(WEIGHTS @ clamped) <= limit + 1e-7


def test_color_may_change_beyond_the_luma_limit() -> None:
    pixels = to_float(portraits()) * 0.5 + 0.25
    moved = Budget(16 / 255, luma=4 / 255).project(changes(pixels), pixels)
    assert (luma(moved).abs() <= 4 / 255 + 1e-6).all()
    assert (moved.abs() <= 16 / 255 + 1e-6).all()
    assert moved.abs().amax() == pytest.approx(16 / 255)
    again = Budget(16 / 255, luma=4 / 255).project(moved, pixels)
    torch.testing.assert_close(again, moved)
    loose = Budget(16 / 255, luma=16 / 255).project(changes(pixels), pixels)
    torch.testing.assert_close(loose, Budget(16 / 255).project(changes(pixels), pixels))


@pytest.mark.parametrize("budget", BUDGETS)
def test_uint8_photos_are_inside_the_luma_limit(budget: Budget) -> None:
    pixels = portraits()
    made = project_to_uint8(pixels, changes(pixels), budget)
    assert budget.admits(made, pixels).all()
    assert budget.luma is not None
    assert (budget.spent(made, pixels, "luma") <= budget.luma * 255).all()
    assert (budget.spent(made, pixels) > budget.luma * 255).all()
    assert torch.equal(project_to_uint8(pixels, changes(pixels) * 0, budget), pixels)
    loud = to_uint8(to_float(pixels) + budget.luma + 2 / 255)
    sentences = budget.violations(loud[0], pixels[0])
    assert any("its brightness differs by up to" in sentence for sentence in sentences)


def test_a_gray_photo_is_limited_by_luma_alone() -> None:
    gray = photos(2)[:, :1]
    made = project_to_uint8(gray, changes(gray), Budget(16 / 255, luma=5 / 255))
    assert torch.equal(made, project_to_uint8(gray, changes(gray), Budget(5 / 255)))


def test_protected_photos_are_inside_the_luma_limit() -> None:
    pixels, budget = portraits(), Budget(16 / 255, luma=3 / 255)
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


def test_luma_is_written_in_8_bit_levels() -> None:
    assert Budget(16 / 255, luma=4 / 255).to_json() == {"linf": 16.0, "luma": 4.0}
    assert Budget.from_json({"linf": 16, "luma": 4}) == Budget(16 / 255, luma=4 / 255)
