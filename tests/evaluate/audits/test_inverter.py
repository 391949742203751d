"""The learned inverter: what it can get at most is known in closed form for Gaussian pictures and linear releases."""

import pytest
import torch
from torch import Tensor, nn

from onlymymodel.evaluate.audits.inverter import Inverter, invert, train_inverter
from onlymymodel.evaluate.audits.pictures import portrait_pictures
from onlymymodel.protect.budget.distortion import batch_mse, batch_ssim

SIDE, SPREAD = 8, 0.12
NUMBERS = SIDE * SIDE


def gaussian(count: int, seed: int) -> Tensor:
    """(count,1,8,8) independent pixels around middle gray."""
    return 0.5 + SPREAD * torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def encoder(rank: int) -> Tensor:
    """(64,64) of that rank; every direction that it keeps comes out with unit variance."""
    generator = torch.Generator().manual_seed(5)
    left, right = (torch.linalg.qr(torch.randn(NUMBERS, NUMBERS, generator=generator))[0] for _ in range(2))
    weights: Tensor = left[:, :rank] @ right[:rank] / SPREAD
    return weights


class Affine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(NUMBERS, NUMBERS)
        nn.init.zeros_(self.linear.weight)

    def forward(self, releases: Tensor) -> Tensor:
        drawn: Tensor = self.linear(releases).unflatten(1, (1, SIDE, SIDE))
        return drawn


@pytest.mark.slow
@pytest.mark.parametrize("rank", [16, 48])
def test_error_of_inverters_is_bounded_by_the_null_space_of_a_linear_encoder(rank: int) -> None:
    """Of independent Gaussian pixels the part in the null space is unknown: variance (n - rank) / n a pixel."""
    weights, train, new = encoder(rank), gaussian(3000, 0), gaussian(1000, 1)
    unseen = SPREAD**2 * (NUMBERS - rank) / NUMBERS
    releases = [pictures.flatten(1) @ weights.T for pictures in (train, new)]
    linear = train_inverter(releases[0], train, steps=500, progress=False, net=Affine())
    learned = train_inverter(releases[0], train, steps=40, progress=False)
    error = batch_mse(linear(releases[1]), new).mean().item()
    assert 0.97 * unseen < error < 1.1 * unseen
    assert batch_mse(learned(releases[1]), new).mean() > 0.97 * unseen


@pytest.mark.parametrize("shape", [(7,), (5, 4, 4), (3, 16, 16), (2, 40, 40), (4, 1, 1), (6, 5)])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 20)])
def test_inverter_accepts_releases_and_pictures_of_any_shape(shape: tuple[int, ...], channels: int, size: int) -> None:
    releases = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    drawn = invert(Inverter(releases, channels, size), releases)
    assert drawn.shape == (6, channels, size, size)
    assert ((drawn >= 0) & (drawn <= 1)).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_inverter_is_invariant_to_scale_and_offset_of_releases(scale: float) -> None:
    train = torch.rand(8, 5, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = Inverter(train, 1, 8)
        torch.manual_seed(0)
        scaled = Inverter(train * scale + 3 * scale, 1, 8)
    torch.testing.assert_close(scaled(train * scale + 3 * scale), plain(train), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_constant_release_gives_the_mean_picture() -> None:
    pictures = portrait_pictures(64, 8).pixels
    net = train_inverter(torch.full((64, 12), 7.0), pictures, steps=60, progress=False)
    drawn = invert(net, torch.full((2, 12), 7.0))
    torch.testing.assert_close(drawn[0], drawn[1])
    assert batch_mse(drawn[:1], pictures.mean(0, keepdim=True)).sqrt() < 0.05


@pytest.mark.slow
def test_inverter_recovers_pixels_but_nothing_from_shuffled_pairs() -> None:
    """The two ends of every audit's scale: all is released, nothing is."""
    pictures = portrait_pictures(128, 8).pixels
    train, new = pictures[:96], pictures[96:]
    shuffled = train[torch.randperm(96, generator=torch.Generator().manual_seed(0))]
    ceiling, floor = (train_inverter(train, drawn, steps=80, progress=False) for drawn in (train, shuffled))
    assert batch_ssim(invert(ceiling, new), new).mean() > 0.85
    mean = train.mean(0).expand_as(new)
    assert batch_mse(invert(ceiling, new), new).mean() < 0.2 * batch_mse(mean, new).mean()
    assert batch_mse(invert(floor, new), new).mean() > 0.9 * batch_mse(mean, new).mean()


@pytest.mark.slow
def test_inverter_depends_on_its_seed_and_not_on_the_global_random_state() -> None:
    pictures = portrait_pictures(16, 16).pixels
    drawn = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        net = train_inverter(pictures.mean((2, 3)), pictures, steps=5, seed=3, progress=False)
        drawn.append(invert(net, pictures.mean((2, 3))))
    assert torch.equal(*drawn)
    other = train_inverter(pictures.mean((2, 3)), pictures, steps=5, seed=4, progress=False)
    assert not torch.equal(drawn[0], invert(other, pictures.mean((2, 3))))
