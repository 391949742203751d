"""The learned inverter: what it can get at most is known in closed form for Gaussian pictures and linear releases."""

import pytest
import torch
from torch import Tensor, nn

from onlymymodel.evaluate.audits.inverter import Decoder, invert, train_inverter
from onlymymodel.evaluate.audits.pictures import portrait_pictures
from onlymymodel.evaluate.audits.similarity import mse, ssim

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


@pytest.mark.parametrize("rank", [16, 48])
def test_no_inverter_beats_the_null_space_of_a_linear_encoder_and_a_linear_one_reaches_it(rank: int) -> None:
    """Of independent Gaussian pixels the part in the null space is unknown: variance (n - rank) / n a pixel."""
    weights, known, new = encoder(rank), gaussian(3000, 0), gaussian(1000, 1)
    unseen = SPREAD**2 * (NUMBERS - rank) / NUMBERS
    releases = [pictures.flatten(1) @ weights.T for pictures in (known, new)]
    linear = train_inverter(releases[0], known, steps=500, progress=False, net=Affine())
    learned = train_inverter(releases[0], known, steps=40, progress=False)
    error = mse(linear(releases[1]), new).mean().item()
    assert 0.97 * unseen < error < 1.1 * unseen
    assert mse(learned(releases[1]), new).mean() > 0.97 * unseen


@pytest.mark.parametrize("shape", [(7,), (5, 4, 4), (3, 16, 16), (2, 40, 40), (4, 1, 1), (6, 5)])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 20)])
def test_a_decoder_fits_releases_and_pictures_of_any_shape(shape: tuple[int, ...], channels: int, size: int) -> None:
    releases = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    drawn = invert(Decoder(releases, channels, size), releases)
    assert drawn.shape == (6, channels, size, size)
    assert ((drawn >= 0) & (drawn <= 1)).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scale_and_the_offset_of_a_release_do_not_matter(scale: float) -> None:
    known = torch.rand(8, 5, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = Decoder(known, 1, 8)
        torch.manual_seed(0)
        scaled = Decoder(known * scale + 3 * scale, 1, 8)
    torch.testing.assert_close(scaled(known * scale + 3 * scale), plain(known), rtol=1e-3, atol=1e-4)


def test_a_constant_release_gives_the_mean_picture_and_no_infinities() -> None:
    pictures = portrait_pictures(64, 8).pixels
    net = train_inverter(torch.full((64, 12), 7.0), pictures, steps=60, progress=False)
    drawn = invert(net, torch.full((2, 12), 7.0))
    torch.testing.assert_close(drawn[0], drawn[1])
    assert mse(drawn[:1], pictures.mean(0, keepdim=True)).sqrt() < 0.05


def test_pixels_come_back_and_wrong_pairs_do_not() -> None:
    """The two ends of every audit's scale: all is released, nothing is."""
    pictures = portrait_pictures(128, 8).pixels
    known, new = pictures[:96], pictures[96:]
    shuffled = known[torch.randperm(96, generator=torch.Generator().manual_seed(0))]
    ceiling, floor = (train_inverter(known, drawn, steps=80, progress=False) for drawn in (known, shuffled))
    assert ssim(invert(ceiling, new), new).mean() > 0.85
    mean = known.mean(0).expand_as(new)
    assert mse(invert(ceiling, new), new).mean() < 0.2 * mse(mean, new).mean()
    assert mse(invert(floor, new), new).mean() > 0.9 * mse(mean, new).mean()


def test_the_same_seed_gives_the_same_inverter_whatever_the_global_stream() -> None:
    pictures = portrait_pictures(16, 16).pixels
    drawn = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        net = train_inverter(pictures.mean((2, 3)), pictures, steps=5, seed=3, progress=False)
        drawn.append(invert(net, pictures.mean((2, 3))))
    assert torch.equal(*drawn)
    other = train_inverter(pictures.mean((2, 3)), pictures, steps=5, seed=4, progress=False)
    assert not torch.equal(drawn[0], invert(other, pictures.mean((2, 3))))
