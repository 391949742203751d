"""Reconstructions that are refined with the network itself."""

import pytest
import torch
from torch import Tensor, nn

from onlymymodel.evaluate.audits.pictures import portrait_pictures
from onlymymodel.evaluate.audits.refinement import refine
from onlymymodel.protect.budget.distortion import batch_ssim


@pytest.mark.slow
def test_an_rgb_crop_comes_back() -> None:
    pixels = portrait_pictures(4, 32).pixels

    def crop(pictures: Tensor) -> Tensor:
        return pictures[..., 4:28, 4:28]

    gray = torch.full_like(pixels, 0.5)
    found = refine(crop, crop(pixels), gray, steps=100)
    assert batch_ssim(found, pixels).min() > 0.9


def test_refinement_inverts_a_full_rank_layer_and_keeps_what_is_right() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(64, 80).requires_grad_(False)
    pixels = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    def release(pictures: Tensor) -> Tensor:
        outputs: Tensor = layer(pictures.flatten(1))
        return outputs

    start = torch.full_like(pixels, 0.5)
    start[0] = pixels[0]
    found = refine(release, release(pixels), start, steps=200)
    assert torch.equal(found[0], pixels[0])
    assert (found - pixels).square().mean() < 0.1 * (start - pixels).square().mean()


def test_no_step_returns_the_start() -> None:
    start = torch.rand(2, 1, 8, 8)
    assert torch.equal(refine(lambda x: x, torch.rand(2, 1, 8, 8), start, steps=0), start)
