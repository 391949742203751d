"""Defenses of a gradient: what is sent, and what an informed adversary imitates."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.gradients.client_gradient import flatten_gradient
from onlymymodel.evaluate.audits.gradients.defenses import NONE, Clip, Noise, TopK, parse_defense


def gradient() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator) for shape in ((50, 40), (50,)))


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_noise_has_the_requested_norm_and_depends_on_its_seed() -> None:
    clean, noise = gradient(), Noise(0.1)
    sent = noise.release(clean, stream())
    change = flatten_gradient(sent) - flatten_gradient(clean)
    assert (change.norm() / flatten_gradient(clean).norm()).item() == pytest.approx(0.1, rel=0.05)
    assert torch.equal(flatten_gradient(noise.release(clean, stream())), flatten_gradient(sent))
    assert noise.imitate(clean, sent) is clean


def test_clipping_keeps_the_direction_and_bounds_the_norm() -> None:
    clean = gradient()
    sent = Clip(2.0).release(clean, stream())
    assert flatten_gradient(sent).norm().item() == pytest.approx(2.0)
    assert F.cosine_similarity(flatten_gradient(sent), flatten_gradient(clean), dim=0).item() == pytest.approx(1.0)
    assert torch.equal(flatten_gradient(Clip(1e6).release(clean, stream())), flatten_gradient(clean))
    nothing = tuple(part * 0 for part in clean)
    assert torch.equal(flatten_gradient(Clip(1.0).release(nothing, stream())), flatten_gradient(nothing))


def test_topk_keeps_exactly_the_largest_entries() -> None:
    clean = gradient()
    sent = TopK(0.1).release(clean, stream())
    kept = flatten_gradient(sent) != 0
    assert kept.sum() == 205
    assert torch.equal(flatten_gradient(sent)[kept], flatten_gradient(clean)[kept])
    assert flatten_gradient(clean)[kept].abs().min() >= flatten_gradient(clean)[~kept].abs().max()
    assert torch.equal(flatten_gradient(TopK(0.1).imitate(clean, sent)), flatten_gradient(sent))
    assert (flatten_gradient(TopK(1e-9).release(clean, stream())) != 0).sum() == 1


def test_defenses_are_applied_in_the_written_order() -> None:
    clean = gradient()
    sent = parse_defense("topk:0.5+clip:1").release(clean, stream())
    expected = Clip(1).release(TopK(0.5).release(clean, stream()), stream())
    assert torch.equal(flatten_gradient(sent), flatten_gradient(expected))
    assert parse_defense("clip:1+noise:0.01").name == "clip:1+noise:0.01"
    assert parse_defense("none") is NONE


@pytest.mark.parametrize("text", ["", "nois:1", "noise", "noise:x", "noise:0", "noise:inf", "clip:-1", "topk:2", "+"])
def test_invalid_defense_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="defense"):
        parse_defense(text)
