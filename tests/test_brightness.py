import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from toys import generators, photos, small_cnn

from onlymymodel.data.portraits import render
from onlymymodel.protect.brightness import LUMA, hold_luma, luma, luma_levels
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.lattice import from_lattice, inside, to_lattice
from onlymymodel.protect.optimizer import protect_batch
from onlymymodel.protect.photo import to_tensor
from onlymymodel.protect.recipe import make_recipe

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
    assert luma_levels(change).tolist() == [[4.0, 1.608, 1.74]]
    assert luma_levels(change[:1]).tolist() == [[4.0, 4.0, 10.0]]


def test_the_change_that_is_held_is_the_nearest_one() -> None:
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
        found = hold_luma(*(torch.tensor(v).view(1, -1, 1, 1) for v in (wanted, [limit], low, high))).flatten().numpy()
        np.testing.assert_allclose(found, best.x, atol=2e-5)
        assert abs(WEIGHTS @ found) <= limit + 1e-7


def test_color_goes_on_where_brightness_has_to_stop() -> None:
    pixels = from_lattice(portraits()) * 0.5 + 0.25
    moved = Budget(16 / 255, luma=4 / 255).project(changes(pixels), pixels)
    assert (luma(moved).abs() <= 4 / 255 + 1e-6).all()
    assert (moved.abs() <= 16 / 255 + 1e-6).all()
    assert moved.abs().amax() == pytest.approx(16 / 255)
    again = Budget(16 / 255, luma=4 / 255).project(moved, pixels)
    torch.testing.assert_close(again, moved)
    loose = Budget(16 / 255, luma=16 / 255).project(changes(pixels), pixels)
    torch.testing.assert_close(loose, Budget(16 / 255).project(changes(pixels), pixels))


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_lattice_is_reached_inside(budget: Budget) -> None:
    pixels = portraits()
    made = inside(pixels, changes(pixels), budget)
    assert budget.admits(made, pixels).all()
    assert budget.luma is not None
    assert (budget.spent(made, pixels, "luma") <= budget.luma * 255).all()
    assert (budget.spent(made, pixels) > budget.luma * 255).all()
    assert torch.equal(inside(pixels, changes(pixels) * 0, budget), pixels)
    loud = to_lattice(from_lattice(pixels) + budget.luma + 2 / 255)
    sentences = budget.excess(loud[0], pixels[0])
    assert any("its brightness differs by up to" in sentence for sentence in sentences)


def test_a_gray_photo_is_all_brightness() -> None:
    gray = photos(2)[:, :1]
    made = inside(gray, changes(gray), Budget(16 / 255, luma=5 / 255))
    assert torch.equal(made, inside(gray, changes(gray), Budget(5 / 255)))


def test_protected_photos_hold_it() -> None:
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


def test_it_is_written_in_steps() -> None:
    assert Budget(16 / 255, luma=4 / 255).to_json() == {"linf": 16.0, "luma": 4.0}
    assert Budget.from_json({"linf": 16, "luma": 4}) == Budget(16 / 255, luma=4 / 255)
