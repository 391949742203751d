"""Layers of networks of many kinds, and their outputs."""

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from toys import small_cnn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.layers.audit import (
    LayerAdversary,
)
from onlymymodel.evaluate.audits.layers.figures import degrees_of_freedom, jacobian_measures
from onlymymodel.evaluate.audits.layers.layers import (
    Layer,
    choose_layers,
    layer_function,
    layer_outputs,
    list_layers,
    to_maps,
)
from onlymymodel.evaluate.audits.layers.release import LayerRelease
from onlymymodel.evaluate.audits.pictures import portrait_pictures
from onlymymodel.evaluate.audits.report import Value, audit_release


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def number(value: Value) -> float:
    assert isinstance(value, int | float)
    return float(value)


class Twice(nn.Module):
    """One activation called twice, in place; a container that repeats its last module; a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Identity())
        self.act = nn.ReLU(inplace=True)
        self.offset = nn.Identity()
        self.drop = nn.Dropout()
        self.last = nn.Linear(2 * 36, 5)

    def forward(self, pixels: Tensor) -> Tensor:
        hidden = self.act(self.first(pixels)) - self.offset(torch.full((1, 2, 1, 1), 0.1))
        logits: Tensor = self.last(self.drop(self.act(hidden)).flatten(1))
        return logits


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


def test_layers_are_the_outputs_without_repetitions() -> None:
    net, pixels = seeded(Twice), torch.rand(3, 3, 8, 8, generator=stream())
    assert [layer.name for layer in list_layers(net, pixels)] == ["first.0", "act", "act (call 2)", "last"]
    convolved = net.get_submodule("first")(pixels)
    torch.testing.assert_close(layer_outputs(net, Layer("first.0"), pixels), convolved)
    torch.testing.assert_close(layer_outputs(net, Layer("act"), pixels), convolved.relu())
    torch.testing.assert_close(layer_outputs(net, Layer("act", 1), pixels), (convolved.relu() - 0.1).relu())
    torch.testing.assert_close(layer_function(net, Layer("last"))(pixels[1]), net(pixels)[1])
    assert not any(module._forward_hooks for module in net.modules())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "timm resnet": (lambda: timm.create_model("resnet10t", num_classes=3), 32),
    "timm vit": (lambda: timm.create_model("test_vit", num_classes=3, img_size=32), 32),
    "timm convnext": (lambda: timm.create_model("test_convnext", num_classes=3), 32),
    "timm swin": (
        lambda: timm.create_model(
            "swin_tiny_patch4_window7_224", img_size=56, depths=(1, 1), num_heads=(2, 2), embed_dim=8, num_classes=3
        ),
        56,
    ),
    "torchvision squeezenet": (lambda: torchvision.models.squeezenet1_1(num_classes=3), 32),
    "torchvision vit": (lambda: torchvision.models.VisionTransformer(32, 8, 1, 2, 16, 32, num_classes=3), 32),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_of_a_network_has_its_measures(name: str) -> None:
    make, size = NETWORKS[name]
    net, pixels = seeded(make), torch.rand(4, 3, size, size, generator=stream())
    for parameter in net.parameters():  # some start at 0, and what follows is silent
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=stream(1))
    layers = list_layers(net, pixels)
    assert len({layer.name for layer in layers}) == len(layers) > 10
    torch.testing.assert_close(layer_outputs(net, layers[-1], pixels).flatten(1), net(pixels).detach())
    for layer in layers:
        outputs = layer_outputs(net, layer, pixels)
        assert len(outputs) == 4
        torch.testing.assert_close(layer_outputs(net, layer, pixels[2:3])[0], outputs[2], rtol=1e-3, atol=1e-4)
        freedom = degrees_of_freedom(outputs)
        assert freedom is None or freedom >= 1 - 1e-9  # unknown where four pictures show no two that vary alike
        assert len(to_maps(outputs)) == 4
    some = layers[len(layers) // 4]
    picture = pixels[0].double()
    net.double()
    moved = jacobian_measures(layer_function(net, some), [picture], tau=0.01, max_exact=8, generator=stream())
    assert moved["jacobian"] == "estimated"
    assert 1 <= number(moved["stable_rank"]) <= number(moved["jacobian_rank"])


@pytest.mark.slow
def test_timm_model_has_a_row_for_every_layer_with_the_method_of_its_jacobian() -> None:
    net = seeded(lambda: timm.create_model("test_vit", num_classes=3, img_size=32, depth=1))
    release = LayerRelease("vit", net, portrait_pictures(40, 32))
    audit = audit_release(release, LayerAdversary(steps=0, jacobian_pictures=1, max_exact=3), progress=False)
    assert [row.name for row in audit.rows] == [layer.name for layer in list_layers(net, release.nonmembers.pixels)]
    ways = {row.name: row.values["jacobian"] for row in audit.rows}
    assert ways["head"] == "exact"
    assert ways["patch_embed.proj"] == "estimated"


def test_outputs_of_a_classifier_include_its_preprocessing() -> None:
    model = small_cnn(0)
    pixels = torch.rand(2, 3, 20, 20, generator=stream())
    last = list_layers(model, pixels)[-1]
    torch.testing.assert_close(layer_outputs(model, last, pixels), model(pixels))


def test_unknown_layer_suggests_the_nearest() -> None:
    net, pixels = seeded(Twice), torch.rand(2, 3, 8, 8)
    with pytest.raises(UserError, match=r"no layer 'frst\.0'.*first\.0"):
        choose_layers(net, pixels, ["frst.0"])
    with pytest.raises(UserError, match="no module whose output"):
        list_layers(nn.Identity(), pixels)
    assert [layer.name for layer in choose_layers(net, pixels, max_layers=2)] == ["first.0", "last"]
    assert [layer.name for layer in choose_layers(net, pixels, ["last", "act"])] == ["last", "act"]


def test_tokens_and_channels_last_become_maps() -> None:
    tokens = torch.arange(2 * 5 * 3).reshape(2, 5, 3).float()
    maps = to_maps(tokens)
    assert maps.shape == (2, 6, 2, 2)
    assert torch.equal(maps[1, :3, 0, 1], tokens[1, 2])
    assert torch.equal(maps[1, 3:, 1, 0], tokens[1, 0])
    last = torch.rand(2, 4, 4, 7)
    assert torch.equal(to_maps(last)[:, 5], last[..., 5])
    for as_it_is in (torch.rand(2, 7, 4, 4), torch.rand(2, 9), torch.rand(2, 3, 8)):
        assert to_maps(as_it_is) is as_it_is
