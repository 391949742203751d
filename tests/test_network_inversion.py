"""Weights: what a generator finds in them, beside closed forms, brute force and networks that know nothing, or all."""

import copy
import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toys import small_cnn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.audit import Value
from onlymymodel.evaluate.audits.inversion_generator import draw_codes
from onlymymodel.evaluate.audits.network_inversion import Inversion, answer_with_features, invert_network, untrained
from onlymymodel.evaluate.audits.networks import Kind, small_network, train_network
from onlymymodel.evaluate.audits.picture_matching import balanced, gap_interval, hungarian, measure_gap, ssim_table
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.weights import WeightsRelease, weights_report

CHANCE = "generator of the untrained network"
KNOWN = "the training pictures themselves"


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=stream(seed))


def pictures(labels: list[int], classes: int, size: int = 8, seed: int = 0) -> Pictures:
    names = tuple(f"{seed}-{index}" for index in range(len(labels)))
    pixels = noise(len(labels), 1, size, size, seed=seed)
    return Pictures(pixels, torch.tensor(labels), torch.arange(len(labels)), names, classes)


def blobs(labels: list[int], classes: int, seed: int) -> Pictures:
    """Smooth pictures of 8x8 that have nothing in common, not even within a class."""
    plain = pictures(labels, classes, size=4, seed=seed)
    return replace(plain, pixels=nn.functional.interpolate(plain.pixels, size=(8, 8), mode="bilinear"))


def figure(values: Mapping[str, Value], name: str) -> float:
    value = values[name]
    assert isinstance(value, float)
    return value


# the matching


def test_the_matching_is_the_best_of_all() -> None:
    for seed in range(20):
        table = np.random.default_rng(seed).normal(size=(4, 4))
        best = max(itertools.permutations(range(4)), key=lambda columns: sum(table[range(4), columns]))
        assert tuple(hungarian(table)) == best


def test_a_gap_changes_its_sign_with_the_sides_and_not_with_the_order() -> None:
    made, near, far = (noise(6, 1, 8, 8, seed=seed) for seed in range(3))
    gap = gap_interval([measure_gap(made, near, far)])[0]
    assert gap_interval([measure_gap(made, far, near)])[0] == pytest.approx(-gap)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert gap_interval([measure_gap(made[order], near, far[order.flip(0)])])[0] == pytest.approx(gap)


def test_partners_are_the_rows_that_the_scores_belong_to() -> None:
    near, far = noise(5, 3, 9, 9, seed=1), noise(5, 3, 9, 9, seed=2)
    order = torch.tensor([4, 2, 0, 1, 3])
    gap = measure_gap(near[order], near, far)
    assert gap.partner.tolist() == order.tolist()
    assert gap.members == pytest.approx(1)
    table = ssim_table(near[order], far)
    assert gap.others == pytest.approx(table[range(5), gap.other_partner])


def test_chance_is_told_from_memory_at_the_rate_promised() -> None:
    """100 sets from one source, all matched to one and the same picture, which misleads a bootstrap: 95 % of the
    intervals have 0 in them, give or take 3 standard errors."""
    made = noise(1, 1, 8, 8).expand(6, 1, 8, 8)
    covered = []
    for seed in range(100):
        drawn = noise(12, 1, 8, 8, seed=1000 + seed)
        _, low, high = gap_interval([measure_gap(made, drawn[:6], drawn[6:], seed)])
        covered.append(low <= 0 <= high)
    assert 0.885 <= np.mean(covered) <= 1


def test_copies_of_training_pictures_have_a_large_gap_and_one_picture_proves_nothing() -> None:
    near, far = noise(6, 1, 8, 8, seed=1), noise(6, 1, 8, 8, seed=2)
    gap, low, high = gap_interval([measure_gap(near, near, far)])
    assert gap == pytest.approx(1 - measure_gap(near, near, far).others.mean())
    assert 0.3 < low < gap < high
    gap, low, _ = gap_interval([measure_gap(near[:1], near[:1], far[:1])])
    assert low <= 0 < gap


def test_sets_are_balanced_class_by_class() -> None:
    members, others = balanced(pictures([2, 0, 2, 2, 1], 4), pictures([2, 2, 0, 0, 3], 4, seed=1))
    assert members.names == ("0-1", "0-0", "0-2")
    assert others.names == ("1-2", "1-0", "1-1")
    assert torch.equal(members.labels, others.labels)


def test_sets_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(UserError, match="no class has both"):
        balanced(pictures([0, 0], 2), pictures([1], 2))
    with pytest.raises(UserError, match="one size"):
        balanced(pictures([0], 2), pictures([0], 2, size=9))
    with pytest.raises(UserError, match="the same classes"):
        weights_report("mlp", pictures([0], 2), pictures([0], 3))


# the inversion


@pytest.mark.parametrize("kind", ["mlp", "cnn", "vit"])
def test_features_are_what_the_last_layer_answers_from(kind: Kind) -> None:
    net = small_network(kind, 1, 16, 10)
    logits, features = answer_with_features(net, noise(3, 1, 16, 16))
    head = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    torch.testing.assert_close(head(features), logits)
    assert not head._forward_pre_hooks


def test_a_network_without_a_linear_layer_has_its_answers_as_features() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    logits, features = answer_with_features(net, noise(3, 1, 8, 8))
    assert logits is features


@pytest.mark.parametrize("kind", ["mlp", "cnn", "vit"])
def test_an_inversion_leaves_the_network_and_the_random_stream_as_they_were(kind: Kind) -> None:
    net = small_network(kind, 1, 16, 3)
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    codes = draw_codes(torch.tensor([0, 1, 2]), 3, stream())
    first, second, other = (
        invert_network(net, codes, (1, 16, 16), Inversion(steps=2, seed=seed), progress=False) for seed in (0, 0, 1)
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
    found = invert_network(Attentive(), codes, (1, 8, 8), Inversion(steps=2), progress=False)
    assert found.pixels.shape == (3, 1, 8, 8)


def test_every_loss_has_its_weight() -> None:
    """The pictures differ, one loss left out, from those of all losses: none is dead."""
    net, codes = small_network("mlp", 1, 8, 3, activation="relu"), draw_codes(torch.tensor([0, 1, 2]), 3, stream())

    def found(**weights: float) -> Tensor:
        return invert_network(net, codes, (1, 8, 8), Inversion(steps=12, **weights), progress=False).pixels  # type: ignore[arg-type]

    everything = found()
    names = invert_network(net, codes, (1, 8, 8), Inversion(steps=1), progress=False).losses
    assert len(names) == 9
    for name in names:
        assert not torch.equal(found(**{name: 0.0}), everything), name


def test_an_untrained_copy_keeps_nothing_and_spoils_nothing() -> None:
    for net in (small_network("cnn", 1, 16, 3, batch_norm=True, seed=4), small_network("vit", 1, 16, 3, seed=4)):
        members = pictures([0, 1, 2] * 4, 3, size=16)
        train_network(net, members, epochs=2, progress=False)
        before = copy.deepcopy(net.state_dict())
        blank = untrained(net)
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
        for key, value in blank.state_dict().items():
            assert value.numel() == 1 or not torch.equal(value, before[key]), key
        assert torch.equal(
            torch.cat([p.flatten() for p in untrained(net).parameters()]),
            torch.cat([p.flatten() for p in blank.parameters()]),
        )


# the audit


def test_a_linear_classifier_gives_its_pictures_away_and_an_untrained_one_does_not() -> None:
    """At the optimum its weights are a combination of its training pictures."""
    labels = list(range(8)) * 2
    members, others = blobs(labels, 8, seed=1), blobs(labels, 8, seed=2)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8, bias=False))
    train_network(net, members, epochs=600, rate=1e-2, weight_decay=1e-3, batch=16, progress=False)
    report = weights_report(net, members, others, steps=100, progress=False)
    controls = {control.name: control.values for control in report.controls}
    assert report.settings["training"]["accuracy_training"] == 1
    assert figure(report.summary, "gap_low") > 0
    assert figure(controls[CHANCE], "gap_low") <= 0 <= figure(controls[CHANCE], "gap_high")
    assert figure(controls[KNOWN], "ssim_training") == pytest.approx(1)
    assert figure(controls[KNOWN], "gap_low") > figure(report.summary, "gap_high")


def test_a_report_of_one_picture_of_one_class() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).train()
    report = weights_report(net, pictures([2], 3), pictures([2, 1], 3, seed=1), steps=2, progress=False)
    assert [row.name for row in report.rows] == ["all classes", "class 2"]
    assert report.rows[1].values["closest"] == "0-0"
    assert {name: picture.shape for name, picture in report.rows[1].pictures.items()} == dict.fromkeys(
        ("generated", "training", "held out"), (96, 96, 1)
    )
    assert figure(report.summary, "gap_low") <= 0 <= figure(report.summary, "gap_high")
    assert len(report.controls) == 3
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["summary"] == report.summary
    assert net.training


def test_a_report_says_how_the_network_was_trained_and_what_was_compared() -> None:
    members, others = pictures([0, 0, 1, 2], 3, seed=2), pictures([0, 1, 1, 1], 3, seed=3)
    report = weights_report("mlp", members, others, steps=1, epochs=2, progress=False)
    assert report.release == "weights of mlp"
    assert report.settings["training"]["epochs"] == 2
    assert len(report.settings["weights_sha256"]) == 64
    assert [row.values["pictures"] for row in report.rows] == [2, 1, 1]
    assert any("2 of 4 training pictures" in line for line in report.assumptions)
    again = weights_report("mlp", members, others, steps=1, epochs=2, progress=False)
    assert again.to_json() == report.to_json()


def test_a_settings_hash_follows_the_weights() -> None:
    nets = small_network("cnn", 1, 8, 2, seed=0), small_network("cnn", 1, 8, 2, seed=1)
    hashes = [WeightsRelease("net", net).describe()["weights_sha256"] for net in (*nets, nets[0])]
    assert hashes[0] == hashes[2] != hashes[1]


def test_what_cannot_be_done_is_said_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    two, one = pictures([0], 2), pictures([0], 1)
    with pytest.raises(UserError, match="1 step or more, not 0"):
        weights_report("mlp", two, two, steps=0)
    with pytest.raises(UserError, match="2 to 64 classes, not 1"):
        weights_report("mlp", one, one)
    with pytest.raises(UserError, match=r"Sequential answers \(1, 3\): logits of the pictures' 2 classes"):
        weights_report(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), two, two)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(UserError, match="needs scipy: pip install"):
        weights_report("mlp", two, two)


def test_weights_out_of_range_are_no_finding() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    for parameter in net.parameters():
        nn.init.constant_(parameter, 1e30)
    with pytest.raises(UserError, match="no finite numbers"):
        weights_report(net, pictures([0, 1], 2), pictures([0, 1], 2, seed=1), steps=2, progress=False)


def test_another_kind_of_network_can_be_audited() -> None:
    """One of the package's own classifiers, with its normalization inside."""
    members, others = (pictures([0, 1], 3, size=16, seed=seed) for seed in (1, 2))
    color = [
        Pictures(side.pixels.expand(-1, 3, -1, -1), side.labels, side.groups, side.names, 3)
        for side in (members, others)
    ]
    report = weights_report(small_cnn(0, 3), *color, steps=1, progress=False)
    assert report.rows[0].values["pictures"] == 2
