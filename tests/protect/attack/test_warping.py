"""DeCoWA's warps, against SciPy's thin-plate spline, and their constraint."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from batches import attack_batch
from scipy.interpolate import RBFInterpolator
from toys import generators, photos, small_cnn

from onlymymodel.protect.attack.batch import Rows
from onlymymodel.protect.attack.losses import CrossEntropy
from onlymymodel.protect.attack.model_inputs import ModelInputs
from onlymymodel.protect.attack.objective import EnsembleObjective
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.attack.warping import WarpedObjective, warp

TARGETS = torch.tensor([0, 1, 2])
ROWS = Rows.of(range(3), torch.device("cpu"))


def ramps(height: int, width: int) -> torch.Tensor:
    """Return a (1,2,height,width) photo whose values are its own coordinates (x, y) from -1 to 1."""
    y, x = ((torch.arange(size) + 0.5) * 2 / size - 1 for size in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1])[None]


def test_a_warp_is_the_thin_plate_spline_through_nine_points() -> None:
    """Interpolation is exact on linear values, so the values read are the places asked for."""
    height, width, move = 24, 30, torch.tensor([[0.3, -0.2]])
    control = torch.tensor(list(product([-1.0, 0.0, 1.0], repeat=2)), dtype=torch.float64)
    moved = control.clone()
    moved[4] += move[0]
    spline = RBFInterpolator(control.numpy(), moved.numpy(), kernel="thin_plate_spline", degree=1)
    photo = ramps(height, width)
    expected = torch.from_numpy(spline(photo[0].flatten(1).T.double().numpy())).T.reshape(2, height, width).float()
    read = warp(photo, move)[0]
    inside = (expected[0].abs() < 1 - 1 / width) & (expected[1].abs() < 1 - 1 / height)
    assert inside.float().mean() > 0.8
    torch.testing.assert_close(read[:, inside], expected[:, inside], atol=1e-4, rtol=0)


def test_no_move_is_the_photo_and_one_photo_does_not_change_another() -> None:
    crops = torch.rand(2, 3, 24, 30)
    torch.testing.assert_close(warp(crops, torch.zeros(2, 2)), crops, atol=1e-5, rtol=0)
    moves = torch.tensor([[0.4, 0.1], [-0.7, 0.2]])
    assert torch.equal(warp(crops, moves)[1:], warp(crops[1:], moves[1:]))


def test_the_gradient_is_taken_at_the_warp_in_which_the_loss_is_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WarpedObjective, "RATE", 1e-3)  # small enough for the loss of every photo to fall
    model, originals = small_cnn(seed=2), to_float(photos(3))
    recipe = Recipe(objective="warped", normalize=False, copies=2)
    objective = WarpedObjective([model], [CrossEntropy(model, TARGETS)], recipe, attack_batch(originals, TARGETS))
    gradient, _ = objective.gradient(ModelInputs(originals, [model]), ROWS, generators(3))

    streams, total = generators(3), torch.zeros_like(originals)
    for _ in range(2):
        moves = torch.stack([torch.rand(2, generator=stream) for stream in streams]) * 2 - 1
        leaf = moves.clone().requires_grad_()
        before = F.cross_entropy(model(warp(originals, leaf)), TARGETS, reduction="none")
        moves = moves - 1e-3 * torch.autograd.grad(before.sum(), leaf)[0]
        pixels = originals.clone().requires_grad_()
        after = F.cross_entropy(model(warp(pixels, moves)), TARGETS, reduction="none")
        assert (after < before).all()
        total += torch.autograd.grad(after.sum(), pixels)[0]
    torch.testing.assert_close(gradient, total / 2)


def test_without_moves_it_is_the_ensemble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WarpedObjective, "LARGEST_MOVE", 0.0)
    monkeypatch.setattr(WarpedObjective, "RATE", 0.0)
    model, originals = small_cnn(seed=2), to_float(photos(3))
    recipe, batch = Recipe(views=("center",)), attack_batch(originals, TARGETS)
    warped, plain = (
        objective([model], [CrossEntropy(model, TARGETS)], recipe, batch).gradient(
            ModelInputs(originals, [model]), ROWS, generators(3)
        )
        for objective in (WarpedObjective, EnsembleObjective)
    )
    torch.testing.assert_close(warped[0], plain[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(warped[1], plain[1])
