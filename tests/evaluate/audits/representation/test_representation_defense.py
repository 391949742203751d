"""The representation defense: its losses in closed form, and its training."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from audit_toys import SETTINGS, same, trained
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.options import RepresentationSettings
from onlymymodel.evaluate.audits.pictures import Pictures, portrait_pictures
from onlymymodel.evaluate.audits.representation.audit import PRIVATE_SEED
from onlymymodel.evaluate.audits.representation.defense import (
    RIDGE_PENALTY,
    Representation,
    capped_loss,
    leave_one_out_ridge,
    train_representation,
)
from onlymymodel.evaluate.audits.representation.networks import Encoder, PerceptualFeatures, task_head
from onlymymodel.evaluate.audits.representation.task import Task


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return portrait_pictures(64, 16)


@pytest.mark.parametrize("lost", [0.0, 0.3, 0.5, 7.0, 1e30, math.inf])
def test_capped_loss_has_a_lower_bound(lost: float) -> None:
    computed = capped_loss(torch.tensor(0.0), torch.full((3,), lost), weight=4.0, cap=0.5)
    assert computed.item() == pytest.approx(-4.0 * min(lost, 0.5) / 0.5)
    assert computed.item() >= -4.0


def test_pictures_beyond_the_cap_have_no_gradient() -> None:
    lost = torch.tensor([0.1, 9.0], requires_grad=True)
    torch.autograd.backward(capped_loss(torch.tensor(1.0), lost, weight=2.0, cap=0.5))
    assert lost.grad is not None
    assert lost.grad.tolist() == pytest.approx([-2.0 / 0.5 / 2, 0.0])


def test_leave_one_out_ridge_equals_refits_without_each_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    released = torch.randn(12, 16, generator=generator, dtype=torch.float64)
    pixels = torch.rand(12, 1, 4, 4, generator=generator, dtype=torch.float64)
    computed = leave_one_out_ridge(released.requires_grad_(True), pixels)
    centered = (pixels - pixels.mean(0)).flatten(1)
    for index in range(12):
        others = [row for row in range(12) if row != index]
        rows = released[others]
        weights = torch.linalg.solve(rows.T @ rows + RIDGE_PENALTY * 16 * torch.eye(16), rows.T @ centered[others])
        torch.testing.assert_close(computed[index].flatten(), released[index] @ weights + pixels.mean(0).flatten())
    torch.autograd.backward(computed.sum())
    assert released.grad is not None
    assert released.grad.isfinite().all()


def test_leave_one_out_ridge_is_finite_for_equal_pictures_and_a_batch_of_one() -> None:
    released, pixels = torch.ones(3, 16), torch.full((3, 1, 4, 4), 0.5)
    assert torch.equal(leave_one_out_ridge(released, pixels), pixels)
    assert leave_one_out_ridge(released[:1], pixels[:1]).isfinite().all()


def test_training_with_lambda_zero_equals_ordinary_training(pictures: Pictures) -> None:
    settings = replace(SETTINGS, weight=0.0, noise=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        encoder, head = Encoder(3, 16, 16), task_head(16, pictures.classes)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], settings.rate)
    generator = torch.Generator().manual_seed(settings.seed)
    for _ in range(settings.steps):
        rows = torch.randperm(len(pictures), generator=generator)[: settings.batch]
        loss = F.cross_entropy(head(encoder(pictures.pixels[rows])), pictures.labels[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    defense = trained(pictures, settings)
    assert same(defense.encoder, encoder)
    assert same(defense.head, head)


@pytest.mark.slow
def test_encoder_depends_on_its_settings_and_not_on_the_global_random_state(pictures: Pictures) -> None:
    settings = replace(SETTINGS, weight=2.0, noise=0.5)
    state = torch.random.get_rng_state()
    defense = trained(pictures, settings)
    assert torch.equal(torch.random.get_rng_state(), state)  # the global stream is untouched
    again = trained(pictures, settings)
    assert same(again.encoder, defense.encoder)
    assert same(again.head, defense.head)
    assert again.adversary_loss == defense.adversary_loss
    for other in (
        replace(settings, weight=0.0),
        replace(settings, noise=0.0),
        replace(settings, best_linear=False),
        replace(settings, seed=4),
    ):
        assert not same(trained(pictures, other).encoder, defense.encoder)


def test_noise_has_the_stated_deviation_and_depends_on_its_seed(pictures: Pictures) -> None:
    defense = trained(pictures, replace(SETTINGS, noise=0.7))
    with torch.no_grad():
        clean = defense.encoder(pictures.pixels)
    assert torch.equal(replace(defense, settings=SETTINGS).release(pictures.pixels), clean)
    added = defense.release(pictures.pixels, seed=5) - clean
    assert added.std().item() == pytest.approx(0.7, rel=0.1)  # 1024 numbers: a deviation of 2 %
    assert torch.equal(defense.release(pictures.pixels, seed=5), added + clean)
    assert not torch.equal(defense.release(pictures.pixels, seed=6), added + clean)


def test_representations_have_mean_zero_and_variance_one(pictures: Pictures) -> None:
    encoder = Encoder(3, 16, 32)
    for pixels in (pictures.pixels[:1], pictures.pixels):
        computed = encoder(pixels)
        assert computed.shape == (len(pixels), 32)
        torch.testing.assert_close(computed.mean(1), torch.zeros(len(pixels)), atol=1e-5, rtol=0)
        torch.testing.assert_close(computed.var(1, correction=0), torch.ones(len(pixels)), atol=1e-2, rtol=0)


def test_invalid_training_data_are_refused(pictures: Pictures) -> None:
    pixels, labels = pictures.pixels[:8], pictures.labels[:8]

    def error(pixels: Tensor, labels: Tensor, classes: int = 7) -> str:
        with pytest.raises(UserError) as raised:
            train_representation(pixels, labels, task=Task(classes), settings=SETTINGS, progress=False)
        return str(raised.value)

    assert "8 pictures have 7 labels" in error(pixels, labels[:7])
    assert "labels must be from 0 to 0" in error(pixels, torch.arange(8), 1)
    assert "side of 8, 16, 32" in error(F.interpolate(pixels, 12), labels)
    assert "square" in error(pixels[..., :8], labels)
    assert "pictures are the same" in error(pixels[:1].expand(8, -1, -1, -1), labels)
    assert "one picture or more" in error(pixels[:0], labels[:0])


@pytest.mark.parametrize("wrong", [{"weight": -1.0}, {"noise": math.nan}, {"steps": 0}, {"batch": 0}, {"rate": 0.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        RepresentationSettings(**wrong)  # type: ignore[arg-type]


def test_perceptual_features_are_frozen_and_differentiable(pictures: Pictures) -> None:
    features, first = PerceptualFeatures(), pictures.pixels[:4].clone().requires_grad_(True)
    assert features.distance(first, first).tolist() == [0, 0, 0, 0]
    computed = features.distance(first, pictures.pixels[4:8])
    assert ((computed > 0) & (computed <= 4)).all()
    torch.autograd.backward(computed.sum())
    assert first.grad is not None
    assert first.grad.abs().amax() > 0
    assert not any(parameter.requires_grad for parameter in features.parameters())


@pytest.mark.parametrize("seed", range(4))
def test_noise_of_a_release_is_none_of_the_numbers_of_a_training(seed: int) -> None:
    """Weights, and the noise in training, come from the streams of the training's seed and of the next one."""
    defense = Representation(nn.Flatten(), task_head(16, 2), RepresentationSettings(noise=0.5), 1, 4, Task(2), cap=1.0)
    noise = defense.release(torch.zeros(2, 1, 4, 4), seed=PRIVATE_SEED) / 0.5
    assert not torch.equal(noise, torch.randn(2, 16, generator=torch.Generator().manual_seed(seed)))
