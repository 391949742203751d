"""Network inversion: what it optimizes, and what it leaves unchanged."""

import copy

import numpy as np
import pytest
import torch
from audit_toys import noise, pictures, stream
from torch import Tensor, nn

from onlymymodel.evaluate.audits.networks import small_network, train_network
from onlymymodel.evaluate.audits.options import NetworkKind
from onlymymodel.evaluate.audits.weights.generator import draw_codes
from onlymymodel.evaluate.audits.weights.network_inversion import (
    InversionSettings,
    invert_network,
    logits_and_features,
    untrained_copy,
)


@pytest.mark.parametrize("kind", ["mlp", "cnn", "vit"])
def test_features_are_the_inputs_of_the_last_linear_layer(kind: NetworkKind) -> None:
    net = small_network(kind, 1, 16, 10)
    logits, features = logits_and_features(net, noise(3, 1, 16, 16))
    head = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    torch.testing.assert_close(head(features), logits)
    assert not head._forward_pre_hooks


def test_network_without_a_linear_layer_has_its_logits_as_features() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    logits, features = logits_and_features(net, noise(3, 1, 8, 8))
    assert logits is features


@pytest.mark.parametrize("kind", ["mlp", "cnn", "vit"])
def test_inversion_leaves_the_network_and_the_global_random_state_unchanged(kind: NetworkKind) -> None:
    net = small_network(kind, 1, 16, 3)
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    codes = draw_codes(torch.tensor([0, 1, 2]), 3, stream())
    first, second, other = (
        invert_network(net, codes, (1, 16, 16), InversionSettings(steps=2, seed=seed), progress=False)
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.pixels, second.pixels)
    assert not torch.equal(first.pixels, other.pixels)
    assert first.pixels.min() >= 0
    assert first.pixels.max() <= 1
    assert all(np.isfinite(list(first.losses.values())))


def test_fused_attention_can_be_inverted() -> None:
    """A network with torch's own attention, which by itself cannot be differentiated twice."""

    class Attentive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.head = nn.Linear(8, 16), nn.Linear(16, 3)

        def forward(self, pixels: Tensor) -> Tensor:
            rows = self.tokens(pixels)  # (B,1,8,16)
            mixed = nn.functional.scaled_dot_product_attention(rows, rows, rows)
            answer: Tensor = self.head(mixed.mean((1, 2)))
            return answer

    codes = draw_codes(torch.tensor([0, 1, 2]), 3, stream())
    reconstruct = invert_network(Attentive(), codes, (1, 8, 8), InversionSettings(steps=2), progress=False)
    assert reconstruct.pixels.shape == (3, 1, 8, 8)


@pytest.mark.slow
def test_every_loss_affects_the_result() -> None:
    """The pictures differ, one loss left out, from those of all losses: none is dead."""
    net, codes = small_network("mlp", 1, 8, 3, activation="relu"), draw_codes(torch.tensor([0, 1, 2]), 3, stream())

    def reconstruct(**weights: float) -> Tensor:
        return invert_network(net, codes, (1, 8, 8), InversionSettings(steps=12, **weights), progress=False).pixels  # type: ignore[arg-type]

    everything = reconstruct()
    names = invert_network(net, codes, (1, 8, 8), InversionSettings(steps=1), progress=False).losses
    assert len(names) == 9
    for name in names:
        assert not torch.equal(reconstruct(**{name: 0.0}), everything), name


def test_untrained_copy_replaces_every_parameter_and_leaves_the_network_unchanged() -> None:
    for net in (small_network("cnn", 1, 16, 3, batch_norm=True, seed=4), small_network("vit", 1, 16, 3, seed=4)):
        members = pictures([0, 1, 2] * 4, 3, size=16)
        train_network(net, members, epochs=2, progress=False)
        before = copy.deepcopy(net.state_dict())
        blank = untrained_copy(net)
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
        for key, value in blank.state_dict().items():
            assert value.numel() == 1 or not torch.equal(value, before[key]), key
        assert torch.equal(
            torch.cat([p.flatten() for p in untrained_copy(net).parameters()]),
            torch.cat([p.flatten() for p in blank.parameters()]),
        )
