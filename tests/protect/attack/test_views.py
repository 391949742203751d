import pytest
import torch

from onlymymodel.protect.attack.tables import VIEWS, resolve
from onlymymodel.protect.attack.views import Frame, _crop_offset, apply_view, center, scales
from onlymymodel.surrogates.classifier import Preprocess

PREPROCESS = Preprocess(height=32, width=24, crop_pct=0.8)


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_center_view_is_the_center_crop_to_the_bit() -> None:
    canvas = torch.rand(2, 3, 40, 37)
    assert torch.equal(apply_view(canvas, PREPROCESS, ["center"], [stream(0), stream(1)]), PREPROCESS.center(canvas))


def test_the_center_grid_read_by_interpolation_is_the_center_crop() -> None:
    canvas = torch.rand(1, 3, 40, 37)
    viewed = apply_view(canvas, PREPROCESS, ["center", "center"], [stream(0)])
    torch.testing.assert_close(viewed, PREPROCESS.center(canvas), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [name for name, view in VIEWS.items() if view.kind == "geometric"])
def test_a_ramp_seen_through_a_view_is_the_views_own_grid(name: str) -> None:
    """Interpolation is exact on a linear image, so the pixels read must be the coordinates asked for."""
    height, width = 40, 37
    x = (torch.arange(width) + 0.5).expand(height, width)
    y = (torch.arange(height) + 0.5)[:, None].expand(height, width)
    canvas = torch.stack([x, y, torch.ones(height, width)])[None]
    viewed = apply_view(canvas, PREPROCESS, [name, name], [stream(5)])[0]
    numbers = stream(5)
    torch.rand(1, generator=numbers)  # the draw that chooses among the names
    top, left = PREPROCESS.crop_box(height, width)
    if name != "center":
        down, right = torch.rand(2, generator=numbers).tolist()
        top, left = _crop_offset(height - 32, down), _crop_offset(width - 24, right)
    grid = resolve(VIEWS[name].function)(Frame(top, left, 32, 24), numbers)
    inside = (grid[..., 0] > 0.5) & (grid[..., 0] < width - 0.5) & (grid[..., 1] > 0.5) & (grid[..., 1] < height - 0.5)
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(viewed[0][inside], grid[..., 0][inside], atol=1e-3, rtol=0)
    torch.testing.assert_close(viewed[1][inside], grid[..., 1][inside], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", [name for name in VIEWS if name != "admix"])
def test_the_gradient_is_the_adjoint_of_the_view(name: str) -> None:
    """<view(a), b> = <a, view'(b)>, in double precision: the view is linear."""
    canvas = torch.rand(1, 3, 40, 37, dtype=torch.double, requires_grad=True)
    viewed = apply_view(canvas, PREPROCESS, [name, name], [stream(3)])
    weights = torch.rand_like(viewed)
    (gradient,) = torch.autograd.grad((viewed * weights).sum(), canvas)
    torch.testing.assert_close((gradient * canvas).sum(), (viewed * weights).sum())


@pytest.mark.parametrize("name", [name for name in VIEWS if name not in ("center", "scales")])
def test_views_differ_from_draw_to_draw(name: str) -> None:
    canvas, numbers = torch.rand(1, 3, 40, 37), stream(1)
    first, second = (apply_view(canvas, PREPROCESS, [name], [numbers]) for _ in range(2))
    assert not torch.equal(first, second)


def test_a_photos_views_do_not_depend_on_its_neighbors() -> None:
    canvas, names = torch.rand(4, 3, 40, 37), list(VIEWS)
    together = apply_view(canvas, PREPROCESS, names, [stream(seed) for seed in range(4)])
    for row in range(4):
        assert torch.equal(apply_view(canvas[row : row + 1], PREPROCESS, names, [stream(row)])[0], together[row])


def test_random_views_reach_every_corner_of_the_photo() -> None:
    """A model that crops elsewhere, or not at all, must meet the change too."""
    canvas, numbers = torch.rand(1, 3, 40, 60, requires_grad=True), stream(1)
    viewed = sum(apply_view(canvas, PREPROCESS, ["block_shuffle"], [numbers]).sum() for _ in range(150))
    assert isinstance(viewed, torch.Tensor)
    (reached,) = torch.autograd.grad(viewed, canvas)
    assert (reached.abs().sum(1) > 0).all()


def test_block_shuffle_reads_each_quadrant_from_inside_the_crop() -> None:
    frame = Frame(4, 6, 32, 24)
    for seed in range(20):
        grid = resolve(VIEWS["block_shuffle"].function)(frame, stream(seed))
        assert torch.isfinite(grid).all()
        # rotated corners may look over the edge of their block, its middle never leaves the crop
        assert grid.flatten(0, 1).mean(0).sub(torch.tensor([6 + 12.0, 4 + 16.0])).abs().max() < 1e-3


def test_center_of_a_frame() -> None:
    points = center(Frame(2, 3, 2, 2), stream(0))
    assert points.tolist() == [[[3.5, 2.5], [4.5, 2.5]], [[3.5, 3.5], [4.5, 3.5]]]


def test_scales_halve_the_center_crop_five_times_over() -> None:
    canvas = torch.rand(1, 3, 40, 37)
    crop = PREPROCESS.center(canvas)
    for copy, factor in enumerate((1, 2, 4, 8, 16, 1)):
        viewed = apply_view(canvas, PREPROCESS, ["scales"], [stream(0)], copy)
        torch.testing.assert_close(viewed, crop / factor, atol=1e-6, rtol=0)


def test_admix_adds_a_fifth_of_one_picture_and_halves_the_sum() -> None:
    """Two copies of one draw without the photo are the same picture."""
    canvas, other = torch.rand(1, 3, 40, 37), torch.rand(1, 3, 40, 37)
    first, second = (apply_view(c, PREPROCESS, ["admix"], [stream(3)]) - PREPROCESS.center(c) for c in (canvas, other))
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)
    assert 0 < first.min() < first.max() <= 0.2
    halved = apply_view(canvas, PREPROCESS, ["admix"], [stream(3)], view_index=1)
    torch.testing.assert_close(halved, scales(PREPROCESS.center(canvas) + first, stream(0), 1), atol=1e-6, rtol=0)
