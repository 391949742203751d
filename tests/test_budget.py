import pytest
import torch

from onlymymodel.errors import UserError
from onlymymodel.protect.budget import Budget


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
def test_levels_are_the_whole_steps_inside(steps: float, levels: int) -> None:
    assert Budget(linf=steps / 255).levels == levels


def test_admits_counts_whole_steps_both_ways() -> None:
    original = torch.full((3, 1, 1, 2), 100, dtype=torch.uint8)
    protected = original.clone()
    protected[0, 0, 0, 0], protected[1, 0, 0, 0], protected[2, 0, 0, 1] = 108, 91, 92
    budget = Budget(linf=8 / 255)
    assert budget.spent(protected, original).tolist() == [8, 9, 8]
    assert budget.admits(protected, original).tolist() == [True, False, True]


@pytest.mark.parametrize("linf", [-0.1, 1.5, float("nan"), float("inf")])
def test_a_budget_that_means_nothing_is_refused(linf: float) -> None:
    with pytest.raises(UserError, match="budget"):
        Budget(linf=linf)
