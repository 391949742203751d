import math

import numpy as np
import pytest
import torch
from batches import attack_batch, quantize_batch
from skimage.metrics import peak_signal_noise_ratio
from toys import generators, linear, photos, small_cnn

from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.protect.attack.optimizer import optimize
from onlymymodel.protect.attack.quantize import project_to_uint8
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.attack.uint8 import to_float, to_uint8
from onlymymodel.protect.budget.batch import BatchBudget
from onlymymodel.protect.budget.bounds import L2, Psnr, Ssim, largest_fitting_step, max_fitting_scale
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.distortion import ssim

BOUNDED = [
    Budget(16 / 255, l2=0.9),
    Budget(16 / 255, psnr=36.0),
    Budget(16 / 255, ssim=0.97),
    Budget(16 / 255, shape="texture"),
    Budget(12 / 255, l2=2.0, psnr=35.0, ssim=0.95, shape="texture"),
]


def portraits(count: int = 3, size: int = 48) -> torch.Tensor:
    """(count,3,size,size) uint8."""
    return torch.stack([to_tensor(render(index, index, index, size)) for index in range(count)])


def bounded(linf: float, kind: str, limit: float) -> Budget:
    return Budget.from_json({"linf": 255 * linf, kind: limit})


def changes(like: torch.Tensor, seed: int = 0, size: float = 0.05) -> torch.Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)) * size


def test_project_is_the_nearest_point_of_the_ball_and_the_pixel_range() -> None:
    original = torch.tensor([0.0, 0.02, 0.5, 0.99, 1.0]).view(1, 1, 1, 5)
    delta = torch.tensor([-0.5, -0.5, 0.5, 0.5, 0.01]).view(1, 1, 1, 5)
    moved = original + Budget(linf=0.1).project(delta, original)
    expected = torch.maximum(torch.minimum(original + delta, original + 0.1), original - 0.1).clamp(0, 1)
    torch.testing.assert_close(moved, expected)


def test_project_twice_is_project_once() -> None:
    original = torch.rand(2, 3, 4, 4)
    budget = Budget(linf=0.05)
    once = budget.project(torch.randn(2, 3, 4, 4), original)
    assert torch.equal(budget.project(once, original), once)


def test_masked_pixels_do_not_move() -> None:
    original, mask = torch.full((1, 3, 2, 2), 0.5), torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 1, 2, 2)
    delta = Budget(linf=0.1).project(torch.ones(1, 3, 2, 2), original, mask)
    assert torch.equal(delta, (0.1 * mask).expand(1, 3, 2, 2))


@pytest.mark.parametrize(("steps", "levels"), [(0, 0), (4, 4), (8, 8), (16, 16), (2.5, 2), (255, 255)])
def test_levels_are_the_whole_steps_of_linf(steps: float, levels: int) -> None:
    assert Budget(linf=steps / 255).levels == levels


def test_admits_counts_levels_in_both_directions() -> None:
    original = torch.full((3, 1, 1, 2), 100, dtype=torch.uint8)
    protected = original.clone()
    protected[0, 0, 0, 0], protected[1, 0, 0, 0], protected[2, 0, 0, 1] = 108, 91, 92
    budget = Budget(linf=8 / 255)
    assert budget.spent(protected, original).tolist() == [8, 9, 8]
    assert budget.admits(protected, original).tolist() == [True, False, True]


@pytest.mark.parametrize("linf", [-0.1, 1.5, float("nan"), float("inf")])
def test_linf_out_of_range_is_refused(linf: float) -> None:
    with pytest.raises(UserError, match="budget"):
        Budget(linf=linf)


def test_l2_projects_by_scaling_to_the_radius() -> None:
    original, delta = torch.full((2, 3, 8, 8), 0.5), torch.full((2, 3, 8, 8), 0.01)
    delta[1] *= 10
    moved = Budget(1.0, l2=0.5).project(delta, original)
    torch.testing.assert_close(moved[0], delta[0])  # norm 0.139: inside
    torch.testing.assert_close(moved[1], delta[1] * (0.5 / delta[1].norm()))


def test_psnr_is_the_l2_ball_of_its_mean_square() -> None:
    original, delta = torch.full((1, 3, 8, 8), 0.5), changes(torch.zeros(1, 3, 8, 8), size=0.2)
    moved = Budget(1.0, psnr=30.0).project(delta, original)
    assert -10 * math.log10(float(moved.square().mean())) == pytest.approx(30.0, abs=1e-4)
    radius = math.sqrt(3 * 8 * 8) * 10 ** (-30 / 20)
    torch.testing.assert_close(moved, Budget(1.0, l2=radius).project(delta, original))


def test_ssim_shrinks_to_the_limit_and_no_further() -> None:
    pixels = portraits()
    original, budget = to_float(pixels), Budget(16 / 255, ssim=0.96)
    delta = Budget(16 / 255).project(changes(original), original)
    moved = budget.project(delta, original)
    ratios = [change.norm() / whole.norm() for change, whole in zip(moved, delta, strict=True)]
    for row, ratio in enumerate(ratios):
        torch.testing.assert_close(moved[row], delta[row] * ratio)
        reached = ssim((original[row] + moved[row]) * 255, pixels[row])
        assert reached + 1e-5 >= 0.96
        assert reached < 0.961
    assert torch.equal(budget.project(delta * 0.01, original), delta * 0.01)


def test_ssim_along_a_change_is_ssim() -> None:
    pixels = portraits(1)
    original, delta = to_float(pixels)[0], changes(pixels[0], size=1.0)
    for limit in (0.3, 0.8, 0.99):
        share = Ssim(limit).max_scale(delta, original)
        assert ssim((original + share * delta) * 255, pixels[0]) == pytest.approx(limit, abs=3e-3)


def test_a_tighter_limit_leaves_a_smaller_change() -> None:
    original = to_float(portraits(1))
    delta = changes(original)
    for kind, limits in (("ssim", (0.8, 0.9, 0.99, 1.0)), ("psnr", (25, 30, 40, 90)), ("l2", (3, 2, 1, 0))):
        norms = [float(bounded(1.0, kind, limit).project(delta, original).norm()) for limit in limits]
        assert norms == sorted(norms, reverse=True)
        assert norms[-1] < 0.02


@pytest.mark.parametrize("budget", BOUNDED)
def test_rows_are_projected_independently(budget: Budget) -> None:
    original = to_float(portraits(4))
    delta = changes(original)
    whole, step_sizes = budget.project(delta, original), budget.step_size(original)
    for row in range(4):
        assert torch.equal(budget.project(delta[row : row + 1], original[row : row + 1])[0], whole[row])
        assert torch.equal(budget.step_size(original[row : row + 1])[0], step_sizes[row])


@pytest.mark.parametrize("budget", BOUNDED)
def test_uint8_photos_are_inside_every_bound(budget: Budget) -> None:
    pixels = portraits(3)
    made = project_to_uint8(pixels, changes(pixels, size=0.2), budget)
    assert budget.admits(made, pixels).all()
    assert not torch.equal(made, pixels)
    assert not budget.admits(to_uint8(to_float(pixels) + changes(pixels, size=0.2)), pixels).any()
    for row in range(3):
        assert budget.violations(made[row], pixels[row]) == []


def test_rounding_uses_most_of_the_ssim_limit() -> None:
    pixels = portraits(3)
    made = project_to_uint8(pixels, changes(pixels, size=0.03), Budget(60 / 255, ssim=0.95))
    spent = Budget().spent(made, pixels, "ssim")
    assert (spent >= 0.95).all()
    assert (spent < 0.953).all()


@pytest.mark.parametrize(
    ("kind", "limit", "least"), [("psnr", 43.0, 43.15), ("psnr", 50.5, 50.7), ("ssim", 0.98, 0.9812)]
)
def test_a_uniform_change_is_not_rounded_down_as_a_whole(kind: str, limit: float, least: float) -> None:
    pixels = portraits(3)
    signs = changes(pixels).sign()  # where sign steps end: everywhere as far as the bound lets them
    made = project_to_uint8(pixels, signs, bounded(60 / 255, kind, limit))
    spent = Budget().spent(made, pixels, kind)
    assert (spent >= limit).all()
    assert (spent < least).all()


def test_whole_levels_are_unchanged_by_rounding() -> None:
    pixels, signs = portraits(2), changes(portraits(2)).sign()
    made = project_to_uint8(pixels, signs * 3 / 255, Budget(8 / 255, ssim=0.5))
    assert torch.equal(made, to_uint8(to_float(pixels) + signs * 3 / 255))


def test_spent_is_the_limit_that_is_just_admitted() -> None:
    pixels = portraits(2)
    made = project_to_uint8(pixels, changes(pixels), Budget(6 / 255))
    for kind, sign in (("l2", 1), ("psnr", -1), ("ssim", -1)):
        spent = Budget().spent(made, pixels, kind)
        for row in range(2):
            pair = made[row : row + 1], pixels[row : row + 1]
            assert bounded(6 / 255, kind, float(spent[row])).admits(*pair).all()
            assert not bounded(6 / 255, kind, float(spent[row]) * (1 - sign * 1e-3)).admits(*pair).any()
    a, b = made[0].numpy(), pixels[0].numpy()
    assert L2(1).distance(made[0], pixels[0]) == pytest.approx(np.linalg.norm((a.astype(float) - b) / 255))
    assert Psnr(1).distance(made[0], pixels[0]) == pytest.approx(peak_signal_noise_ratio(b, a))


def test_an_unchanged_photo_is_admitted_by_every_bound() -> None:
    pixels = portraits(2)
    nothing = Budget(0.0, l2=0.0, psnr=99.0, ssim=1.0, shape="texture")
    made = project_to_uint8(pixels, changes(pixels), nothing)
    assert torch.equal(made, pixels)
    assert nothing.admits(pixels, pixels).all()


def test_repair_stays_inside_every_bound() -> None:
    model, pixels = linear(seed=2, scale=0.1), photos(4)
    labels = 1 - model(to_float(pixels)).argmax(1)
    budget = Budget(16 / 255, ssim=0.98, shape="texture")
    settled = quantize_batch(
        pixels, torch.zeros(pixels.shape), labels, authorized=model, budget=budget, kappa=2.0, repair_steps=9
    )
    assert budget.admits(settled.pixels, pixels).all()
    assert not torch.equal(settled.pixels, pixels)


def test_budgets_of_fractions_add_up_to_the_whole() -> None:
    whole = Budget(16 / 255, l2=2.0, psnr=30.0, ssim=0.9, lpips=0.2)
    parts = [whole.for_fraction(share) for share in (0.25, 0.75)]
    assert sum(part.l2**2 for part in parts if part.l2) == pytest.approx(4.0)
    assert sum(10 ** (-part.psnr / 10) for part in parts if part.psnr) == pytest.approx(10**-3)
    assert sum(1 - part.ssim for part in parts if part.ssim) == pytest.approx(0.1)
    assert sum(part.lpips for part in parts if part.lpips) == pytest.approx(0.2)
    assert whole.for_fraction(1.0) == whole


def test_step_size_is_no_larger_than_the_bounds_allow() -> None:
    original = to_float(portraits(2))
    assert torch.equal(Budget(8 / 255).step_size(original), torch.full((2, 1, 1, 1), 8 / 255, dtype=torch.double))
    free, bound = (Budget(16 / 255, ssim=limit).step_size(original) for limit in (None, 0.95))
    assert (bound < free).all()
    shaped = Budget(16 / 255, psnr=40.0, shape="texture").step_size(original)
    noise = shaped.expand(-1, 3, -1, -1)
    assert (-10 * noise.square().flatten(1).mean(1).log10()).tolist() == pytest.approx([40.0] * 2, abs=0.05)


def test_each_photo_of_a_batch_may_have_its_own_budget() -> None:
    pixels, recipe = photos(2, size=32), make_recipe("default", steps=3)
    labels, own = torch.tensor([0, 1]), [Budget(16 / 255, ssim=0.98), Budget(16 / 255, ssim=0.9)]

    def delta(rows: slice, budgets: list[Budget]) -> torch.Tensor:
        return optimize(
            attack_batch(to_float(pixels[rows]), labels[rows], budget=budgets, streams=generators(2)[rows]),
            authorized=small_cnn(1), surrogates=[small_cnn(2)], recipe=recipe,
        ).delta  # fmt: skip

    together = delta(slice(None), own)
    for row in range(2):
        torch.testing.assert_close(delta(slice(row, row + 1), own[row : row + 1])[0], together[row])
        limit = own[row].ssim
        assert limit is not None
        assert ssim((to_float(pixels[row]) + together[row]) * 255, pixels[row]) >= limit - 1e-5


def test_max_fitting_scale_is_inside_and_tight() -> None:
    assert max_fitting_scale(lambda scale: scale <= 2, halvings=5) == 1.0
    assert max_fitting_scale(lambda _: False, halvings=5) == 0.0
    scale = max_fitting_scale(lambda scale: scale <= 0.3, halvings=10)
    assert 0.3 - 2**-10 < scale <= 0.3


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("limit", [0.0, 1e-9, 0.01, 0.3, 0.6999, 0.7, 0.71])
def test_the_largest_step_is_that_of_a_bisection_in_fewer_measurements(power: float, limit: float) -> None:
    asked = []

    def loss(scale: float) -> float:
        asked.append(scale)
        return float(0.7 * scale**power + 0.02 * math.sin(3 * scale))

    found = largest_fitting_step(loss, limit, 1024)
    measurements = len(asked)
    assert found == max_fitting_scale(lambda scale: loss(scale) <= limit, halvings=10)
    assert measurements <= (8 if limit >= 0.01 else 16)


def test_json_round_trip() -> None:
    assert Budget(8 / 255).to_json() == {"linf": 8.0}
    for budget in BOUNDED:
        assert Budget.from_json(budget.to_json()) == budget


@pytest.mark.parametrize(
    ("changes_", "message"),
    [
        ({"ssim": 1.1}, "ssim must be between 0 and 1, not 1.1"),
        ({"ssim": float("nan")}, "ssim"),
        ({"psnr": -1.0}, "psnr must be a finite number that is not negative"),
        ({"l2": float("inf")}, "l2"),
        ({"lpips": -0.1}, "lpips"),
        ({"shape": "round"}, "even, texture, not 'round'"),
    ],
)
def test_limits_out_of_range_are_refused(changes_: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Budget(**changes_)  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", [*BOUNDED, Budget(16 / 255, ssim=0.95, flip=0.05, color=8 / 255, shape="texture")])
def test_what_a_batch_computes_of_its_photos_once_changes_nothing(budget: Budget) -> None:
    original = to_float(portraits(3))
    delta, batch = changes(original)[:2], BatchBudget([budget] * 3, original)
    for _ in range(2):  # what is prepared is used again
        assert torch.equal(batch.project(delta, [2, 0]), budget.project(delta, original[[2, 0]]))
