"""Networks of a Python program as classifiers."""

from typing import Any

import pytest
import torch
from torch import nn
from toys import SIZE, small_cnn

from onlymymodel import UserError, wrap_network

MEAN, STD = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * (SIZE - 2) ** 2, 3))


def test_pixels_are_normalized_as_the_network_was_trained() -> None:
    net = network()
    wrapped = wrap_network(net, mean=MEAN, std=STD, size=SIZE, fit="squash", labels=("a", "b", "c"))
    pixels = torch.rand(2, 3, SIZE, SIZE)
    normalized = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(wrapped(pixels), net.eval()(normalized))
    assert wrapped.card.labels == ("a", "b", "c")
    assert wrapped.assumed == ("interpolation",)


def test_the_network_is_left_as_it_is() -> None:
    net = network().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    wrap_network(net, mean=MEAN, std=STD, size=SIZE)(torch.rand(1, 3, 32, 32))
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_networks_of_one_class_with_other_weights_have_other_names() -> None:
    first, second = (wrap_network(small_cnn(seed).net, mean=MEAN, std=STD, size=SIZE) for seed in (1, 2))
    assert first.card.uri != second.card.uri
    assert first.card.uri.startswith("python:torch.nn.modules.container:Sequential#")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (0.5,)}, "mean needs three numbers"),
        ({"std": (0.5, 0.0, 0.5)}, "std must be finite and above 0"),
        ({"size": 0}, "size is a side"),
        ({"size": 20}, "fails on a 20x20 input"),
        ({"fit": "stretch"}, "fit must be one of"),
        ({"crop_pct": 2}, "crop_pct must lie in"),
        ({"labels": ("a", "b")}, "gives 3 classes, not 2"),
    ],
)
def test_values_out_of_range_are_errors(changes: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"mean": MEAN, "std": STD, "size": SIZE, **changes}
    with pytest.raises(UserError, match=message):
        wrap_network(network(), **settings)
