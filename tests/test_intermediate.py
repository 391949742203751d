"""Audit of layers: figures in closed form, layers of any network, an adversary who is right where it must be."""

import math
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from toys import small_cnn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.audit import AuditReport, Value, audit_release
from onlymymodel.evaluate.audits.audit_plots import epochs_plot, layer_plot
from onlymymodel.evaluate.audits.intermediate import (
    LOSS,
    MEAN,
    PIXELS,
    SHUFFLED,
    STRANGERS,
    LayerAdversary,
    LayerRelease,
)
from onlymymodel.evaluate.audits.layer_attacks import in_halves
from onlymymodel.evaluate.audits.layer_epochs import falls_then_rises, over_epochs
from onlymymodel.evaluate.audits.layer_figures import degrees_of_freedom, sensitivity, variation
from onlymymodel.evaluate.audits.layers import Layer, as_maps, chosen_layers, layer_function, layers_of, outputs_of
from onlymymodel.evaluate.audits.membership import membership_auc, train_attacker
from onlymymodel.evaluate.audits.networks import small_network
from onlymymodel.evaluate.audits.pictures import Pictures, digit_pictures, portrait_pictures
from onlymymodel.evaluate.audits.ranking import rank_correlation


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
        found = self.act(self.first(pixels)) - self.offset(torch.full((1, 2, 1, 1), 0.1))
        said: Tensor = self.last(self.drop(self.act(found)).flatten(1))
        return said


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


def test_layers_are_the_outputs_that_say_something_new() -> None:
    net, pixels = seeded(Twice), torch.rand(3, 3, 8, 8, generator=stream())
    assert [layer.name for layer in layers_of(net, pixels)] == ["first.0", "act", "act (call 2)", "last"]
    convolved = net.get_submodule("first")(pixels)
    torch.testing.assert_close(outputs_of(net, Layer("first.0"), pixels), convolved)
    torch.testing.assert_close(outputs_of(net, Layer("act"), pixels), convolved.relu())
    torch.testing.assert_close(outputs_of(net, Layer("act", 1), pixels), (convolved.relu() - 0.1).relu())
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


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_of_a_network_has_its_figures(name: str) -> None:
    make, size = NETWORKS[name]
    net, pixels = seeded(make), torch.rand(4, 3, size, size, generator=stream())
    for parameter in net.parameters():  # some start at 0, and what follows is silent
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=stream(1))
    found = layers_of(net, pixels)
    assert len({layer.name for layer in found}) == len(found) > 10
    torch.testing.assert_close(outputs_of(net, found[-1], pixels).flatten(1), net(pixels).detach())
    for layer in found:
        outputs = outputs_of(net, layer, pixels)
        assert len(outputs) == 4
        torch.testing.assert_close(outputs_of(net, layer, pixels[2:3])[0], outputs[2], rtol=1e-3, atol=1e-4)
        freedom = degrees_of_freedom(outputs)
        if freedom is None:  # random weights may send all pictures to one place, up to rounding
            assert outputs.std(0).norm() < 1e-5 * outputs.norm()
        else:
            assert 1 <= freedom <= 3 + 1e-9
        assert len(as_maps(outputs)) == 4
    some = found[len(found) // 4]
    picture = pixels[0].double()
    net.double()
    moved = sensitivity(layer_function(net, some), [picture], tau=0.01, most=8, generator=stream())
    assert moved["jacobian"] == "estimated"
    assert 1 <= number(moved["stable_rank"]) <= number(moved["jacobian_rank"])


def test_a_timm_model_has_a_row_for_every_layer_and_each_says_how_its_jacobian_was_taken() -> None:
    net = seeded(lambda: timm.create_model("test_vit", num_classes=3, img_size=32, depth=1))
    release = LayerRelease("vit", net, portrait_pictures(40, 32))
    found = audit_release(release, LayerAdversary(steps=0, sensed=1, most=3), progress=False)
    assert [row.name for row in found.rows] == [layer.name for layer in layers_of(net, release.others.pixels)]
    ways = {row.name: row.values["jacobian"] for row in found.rows}
    assert ways["head"] == "exact"
    assert ways["patch_embed.proj"] == "estimated"


def test_a_classifiers_own_preprocessing_is_inside() -> None:
    model = small_cnn(0)
    pixels = torch.rand(2, 3, 20, 20, generator=stream())
    last = layers_of(model, pixels)[-1]
    torch.testing.assert_close(outputs_of(model, last, pixels), model(pixels))


def test_an_unknown_layer_is_named_with_the_nearest_one() -> None:
    net, pixels = seeded(Twice), torch.rand(2, 3, 8, 8)
    with pytest.raises(UserError, match=r"no layer 'frst\.0'.*first\.0"):
        chosen_layers(net, pixels, ["frst.0"])
    with pytest.raises(UserError, match="no module whose output"):
        layers_of(nn.Identity(), pixels)
    assert [layer.name for layer in chosen_layers(net, pixels, most=2)] == ["first.0", "last"]
    assert [layer.name for layer in chosen_layers(net, pixels, ["last", "act"])] == ["last", "act"]


def test_tokens_and_channels_last_become_maps_of_the_same_numbers() -> None:
    tokens = torch.arange(2 * 5 * 3).reshape(2, 5, 3).float()
    maps = as_maps(tokens)
    assert maps.shape == (2, 6, 2, 2)
    assert torch.equal(maps[1, :3, 0, 1], tokens[1, 2])
    assert torch.equal(maps[1, 3:, 1, 0], tokens[1, 0])
    last = torch.rand(2, 4, 4, 7)
    assert torch.equal(as_maps(last)[:, 5], last[..., 5])
    for as_it_is in (torch.rand(2, 7, 4, 4), torch.rand(2, 9), torch.rand(2, 3, 8)):
        assert as_maps(as_it_is) is as_it_is


@pytest.mark.parametrize("features", [3, 400])
def test_degrees_of_freedom_count_directions_that_vary_alike(features: int) -> None:
    """Columns of an orthonormal basis, orthogonal to the constant: three equal eigenvalues."""
    basis = torch.linalg.qr(torch.cat([torch.ones(50, 1), torch.randn(50, 3, generator=stream())], 1).double())[0][
        :, 1:
    ]
    outputs = basis @ torch.linalg.qr(torch.randn(features, 3, generator=stream()).double())[0].T
    assert degrees_of_freedom(outputs) == pytest.approx(3)
    assert degrees_of_freedom(100 * outputs - 7) == pytest.approx(3)
    spectrum = torch.tensor([3.0, 1.0, 1.0]).double()
    assert degrees_of_freedom(basis * spectrum.sqrt()) == pytest.approx(25 / 11)


def test_where_nothing_varies_there_is_no_signal_rather_than_privacy() -> None:
    constant = torch.full((6, 4, 3), 0.3)
    assert degrees_of_freedom(constant) is None
    assert variation(torch.zeros(5, 3)) is None
    assert variation(constant) == pytest.approx(0, abs=1e-9)
    dead = sensitivity(lambda x: 0 * x, [torch.rand(3, 4, 4).double()], tau=0.1, generator=stream())
    assert dead == {"jacobian_rank": None, "stable_rank": None, "jacobian": "no signal"}


def test_variation_in_closed_form() -> None:
    outputs = torch.tensor([[3.0, 5.0], [5.0, 3.0]])  # mean (4,4), tr C = 2
    assert variation(outputs) == pytest.approx(math.sqrt(2) / math.sqrt(32))
    assert variation(7 * outputs) == pytest.approx(variation(outputs))


def test_a_linear_encoder_has_the_rank_of_its_matrix() -> None:
    weights = torch.randn(20, 4, generator=stream()).double() @ torch.randn(4, 48, generator=stream(1)).double()
    pictures = list(torch.rand(2, 3, 4, 4, generator=stream()).double())
    moved = sensitivity(lambda x: weights @ x.flatten(), pictures, tau=1e-9, generator=stream())
    assert (moved["jacobian_rank"], moved["jacobian"]) == (4, "exact")


def test_auc_counts_pairs() -> None:
    members, others = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.5, 0.2])
    wins = sum((a > b) + 0.5 * (a == b) for a in members.tolist() for b in others.tolist())
    assert membership_auc(members, others) == pytest.approx(wins / 6)
    assert membership_auc(members, members) == 0.5
    assert membership_auc(others + 1, others) == 1
    with pytest.raises(ValueError, match="members and others"):
        membership_auc(members, others[:0])


def test_an_attacker_sees_a_shift_and_a_wider_spread_and_nothing_where_nothing_is() -> None:
    first, second = torch.split(torch.randn(4, 200, 30, generator=stream()), 2)
    for members, apart in ((first + 0.5, True), (first * 1.5, True), (first, False)):
        score = train_attacker(members[0], second[0])
        auc = membership_auc(score(members[1]), score(second[1]))
        assert auc > 0.8 if apart else 0.4 < auc < 0.6


def test_spearman_is_none_where_there_is_nothing_to_rank() -> None:
    assert rank_correlation([1, 2, 3], [1, 8, 27]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None


@pytest.mark.parametrize("seed", [0, 1])
def test_halves_share_nobody_even_if_members_were_drawn_with_the_same_seed(seed: int) -> None:
    digits = digit_pictures(8).take(range(80))
    for pictures in (digits, portrait_pictures(80, 8)):
        members, others = pictures.split(40, seed)
        halves = in_halves(others, members, seed)
        parts = (halves.own, halves.judged, halves.own_members, halves.judged_members)
        own, judged, own_members, judged_members = ({*part.groups.tolist()} for part in parts if part)
        assert not (own | own_members) & (judged | judged_members)
        assert sum(len(part) for part in parts if part) == 80
        assert min(len(part) for part in parts if part) >= 5


def test_pictures_of_one_person_cannot_be_halved() -> None:
    digits = digit_pictures(8).take(range(6))
    alone = Pictures(digits.pixels, digits.labels, torch.zeros(6), digits.names, 10)
    with pytest.raises(UserError, match="several people"):
        in_halves(alone, None, 0)


@pytest.fixture(scope="module")
def report() -> AuditReport:
    """A network that hides in its second layer: a projection to one number; the first keeps all pixels."""
    net = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 1), nn.Linear(1, 10)))
    with torch.no_grad():
        weights = net.get_parameter("1.weight")
        weights.copy_(torch.linalg.qr(weights)[0])
    members, others = digit_pictures(8).take(range(200)).split(100)
    return audit_release(LayerRelease("toy", net, others, members), LayerAdversary(steps=40), progress=False)


def test_an_adversary_gets_much_where_all_is_and_little_where_little_is(report: AuditReport) -> None:
    rows = {row.name: row.values for row in report.rows}
    controls = {control.name: control.values for control in report.controls}
    assert list(rows) == ["1", "2", "3"]
    assert [rows[name]["jacobian_rank"] for name in rows] == [64, 1, 1]
    assert [rows[name]["features"] for name in rows] == [64, 1, 10]
    assert number(rows["2"]["degrees_of_freedom"]) == pytest.approx(1)
    assert number(rows["1"]["ssim"]) > number(rows["2"]["ssim"]) + 0.2
    assert number(controls[PIXELS]["ssim"]) > number(controls[SHUFFLED]["ssim"]) + 0.2
    assert controls[PIXELS]["jacobian_rank"] == 64
    assert {PIXELS, SHUFFLED, MEAN, STRANGERS, LOSS} == set(controls)
    # untrained: nobody is a member in any sense
    assert all(0.3 < number(row["auc"]) < 0.7 for row in rows.values())


def test_a_report_says_what_was_assumed_and_correlates_over_layers(report: AuditReport) -> None:
    said = " ".join(report.assumptions)
    for word in ("eval mode", "0.01", "SSIM", "logistic regression", "groups"):
        assert word in said
    ssims = [number(row.values["ssim"]) for row in report.rows]
    ranks = [number(row.values["jacobian_rank"]) for row in report.rows]
    assert report.summary["rho_jacobian_rank_ssim"] == rank_correlation(ranks, ssims)
    assert report.summary["highest_ssim_at"] == "1"
    assert report.settings["layers"] == ["1", "2", "3"]


def test_without_members_there_is_no_membership_figure_and_the_report_says_so() -> None:
    release = LayerRelease("toy", small_cnn(0), portrait_pictures(40, 16), most_layers=2)
    found = audit_release(release, LayerAdversary(steps=0), progress=False)
    assert len(found.rows) == 2
    assert all(row.values["auc"] is None and row.values["ssim"] is None for row in found.rows)
    assert "no membership inference" in found.assumptions[-1]
    assert found.summary["rho_jacobian_rank_auc"] is None
    assert [control.name for control in found.controls] == [PIXELS]


def test_epochs_have_a_row_for_every_layer_and_end_with_the_trained_network() -> None:
    members, others = digit_pictures(8).take(range(80)).split(40)
    net = small_network("cnn", 1, 8, 10, width=4)
    found = over_epochs(net, members, others, epochs=[0, 2], name="cnn", progress=False)
    layers = found.settings["layers"]
    assert [row.name for row in found.rows] == [f"epoch {epoch}, {layer}" for epoch in (0, 2) for layer in layers]
    release = LayerRelease("cnn", net, others, members)
    last = audit_release(release, LayerAdversary(steps=0), progress=False)
    for ours, theirs in zip(found.rows[len(layers) :], last.rows, strict=True):
        assert {**theirs.values, **ours.values} == {**ours.values, "ssim": None, "psnr": None}
    svg = epochs_plot(found)
    assert svg == epochs_plot(found)
    assert svg.lstrip().startswith("<?xml")


def test_falling_then_rising() -> None:
    assert falls_then_rises([3, 1, 2])
    assert not falls_then_rises([3, 2, 1])
    assert not falls_then_rises([1, 2])
    assert not falls_then_rises([3, None, 2])


def test_a_plot_of_layers_is_repeatable_and_bears_gaps(report: AuditReport) -> None:
    svg = layer_plot(report)
    assert svg == layer_plot(report)
    gaps = [{**row.values, "auc": None, "jacobian_rank": None} for row in report.rows]
    rows = tuple(type(row)(row.name, values) for row, values in zip(report.rows, gaps, strict=True))
    assert layer_plot(AuditReport("r", "a", rows, report.controls, report.assumptions)) != svg
