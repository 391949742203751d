"""Decoders that judge representations: their sizes and their losses."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from audit_toys import noise
from fake_gpu import DEVICE, FakeGpu, fake_gpu
from torch import Tensor, nn

from onlymymodel.evaluate.audits.inverter import Inverter, invert
from onlymymodel.evaluate.audits.options import RepresentationSettings
from onlymymodel.evaluate.audits.pictures import portrait_pictures
from onlymymodel.evaluate.audits.representation import judges
from onlymymodel.evaluate.audits.representation.decoders import DECODERS, reconstruct
from onlymymodel.evaluate.audits.representation.defense import train_representation
from onlymymodel.evaluate.audits.representation.judges import (
    ADVERSARIAL_WEIGHT,
    JUDGES,
    PERCEPTUAL_WEIGHT,
    Judge,
    train_judge,
)
from onlymymodel.evaluate.audits.representation.networks import PerceptualFeatures
from onlymymodel.evaluate.audits.representation.task import Task
from onlymymodel.surrogates import zoo


def test_judges_have_growing_numbers_of_weights() -> None:
    releases = noise(4, 24)
    sizes = [
        sum(values.numel() for values in Inverter(releases, 3, 16, judge.width).parameters())
        for judge in JUDGES.values()
    ]
    assert sizes == sorted(set(sizes))


def test_the_perceptual_loss_is_added_to_the_squared_error() -> None:
    made, real = noise(3, 3, 16, 16, seed=1), noise(3, 3, 16, 16, seed=2)
    plain, perceptual = (judges._loss(Judge(perceptual=part), real)(made, real) for part in (False, True))
    assert torch.equal(plain, F.mse_loss(made, real))
    distance = PerceptualFeatures().distance(made, real).mean()
    torch.testing.assert_close(perceptual, plain + PERCEPTUAL_WEIGHT * distance)


def test_a_critic_learns_to_tell_reconstructions_from_pictures() -> None:
    torch.manual_seed(0)
    loss = judges._loss(Judge(adversarial=True), noise(1, 1, 16, 16))
    real = noise(32, 1, 16, 16)
    made = F.avg_pool2d(real, 5, 1, 2)  # blurred

    def beyond_the_squared_error() -> float:
        return (loss(made, real) - F.mse_loss(made, real)).item() / ADVERSARIAL_WEIGHT

    first = beyond_the_squared_error()
    assert first == pytest.approx(0.69, abs=0.1)  # log 2: it knows nothing
    for _ in range(60):
        last = beyond_the_squared_error()
    assert last > 2  # it is sure that they are made


@pytest.mark.slow
@pytest.mark.parametrize("name", JUDGES)
def test_every_judge_returns_pictures_that_are_released_as_they_are(name: str) -> None:
    pixels = portrait_pictures(48, 16).pixels
    net = train_judge(JUDGES[name], pixels, pixels, steps=150, seed=0, progress=False)
    assert (invert(net, pixels) - pixels).square().mean().sqrt() < 0.1


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    with fake_gpu() as gpu:
        gpu.told = 1  # of the pictures' variance: 0 would mean that there is nothing to hide
        yield gpu


def test_training_and_reconstruction_stay_on_the_device(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor on the wrong device would raise."""
    pictures = portrait_pictures(24, 16, task="attributes", people=12)
    settings = RepresentationSettings(steps=4, batch=8, dimension=16)
    seen: list[torch.device] = []

    def watched(self: Inverter, releases: Tensor) -> Tensor:
        seen.append(releases.device)
        return forward(self, releases)

    forward = Inverter.forward
    monkeypatch.setattr(Inverter, "forward", watched)
    defense = train_representation(
        pictures.pixels, pictures.labels, task=Task.of(pictures), settings=settings, device=DEVICE, progress=False
    )
    assert defense.device == DEVICE
    released = defense.release(pictures.pixels[:6])
    assert released.device.type == defense.classify(released).device.type == "cpu"
    found = reconstruct(defense, pictures.pixels, released, steps=2, seed=7, progress=False)
    assert list(found) == list(DECODERS)
    assert {pixels.device.type for pixels in found.values()} == {"cpu"}
    assert seen
    assert set(seen) == {DEVICE}
    assert gpu.reads


def test_the_features_are_those_of_the_bundled_network() -> None:
    net, _ = zoo.read("identity-plain")
    assert isinstance(net, nn.Sequential)
    pixels = noise(2, 3, 16, 16)
    features = PerceptualFeatures()
    expected = net[: len(features.net)].eval()((pixels - features.mean) / features.std)
    torch.testing.assert_close(features(pixels), F.normalize(expected, dim=1))
