"""Audit of weights, beside networks that reveal nothing, or everything."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from audit_toys import pictures
from torch import nn
from toys import small_cnn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.networks import small_network, train_network
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.report import Value
from onlymymodel.evaluate.audits.weights.audit import (
    EVIDENCE,
    GENERATOR,
    RECONSTRUCTION,
    RIGHT,
    WeightsRelease,
    weights_report,
)
from onlymymodel.evaluate.audits.weights.decision import weights_decision

CHANCE = "generator of the untrained network"


KNOWN = "the training pictures themselves"


def blobs(labels: list[int], classes: int, seed: int) -> Pictures:
    """Smooth pictures of 8x8 that have nothing in common, not even within a class."""
    plain = pictures(labels, classes, size=4, seed=seed)
    return replace(plain, pixels=nn.functional.interpolate(plain.pixels, size=(8, 8), mode="bilinear"))


def figure(values: Mapping[str, Value], name: str) -> float:
    value = values[name]
    assert isinstance(value, float)
    return value


@pytest.mark.slow
def test_training_pictures_are_recovered_from_a_linear_classifier_but_not_from_an_untrained_one() -> None:
    """At the optimum its weights are a combination of its training pictures."""
    labels = list(range(8)) * 2
    members, others = blobs(labels, 8, seed=1), blobs(labels, 8, seed=2)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8, bias=False))
    train_network(net, members, epochs=600, rate=1e-2, weight_decay=1e-3, batch=16, progress=False)
    report = weights_report(net, members, others, steps=100, reconstruction_steps=300, progress=False)
    assert figure(report.summary, "cosine_training") > 0.95
    assert figure(report.summary, "difference_low") > 0
    assert weights_decision(report).state != "nothing found"
    controls = {control.name: control.values for control in report.controls}
    assert report.settings["training"]["accuracy_training"] == 1
    assert figure(report.summary, "gap_low") > 0
    assert figure(controls[CHANCE], "gap_low") <= 0 <= figure(controls[CHANCE], "gap_high")
    assert figure(controls[KNOWN], "ssim_training") == pytest.approx(1)
    assert figure(controls[KNOWN], "gap_low") > figure(report.summary, "gap_high")


def test_report_of_a_single_picture() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).train()
    report = weights_report(
        net, pictures([2], 3), pictures([2, 1], 3, seed=1), steps=2, reconstruction_steps=2, progress=False
    )
    assert [row.name for row in report.rows] == [EVIDENCE, RIGHT, RECONSTRUCTION, GENERATOR, "class 2"]
    assert report.rows[0].values["cosine_training"] is None
    assert "fewer than four" in report.missing["cosine_training"]
    assert report.rows[-1].values["closest"] == "0-0"
    assert {name: picture.shape for name, picture in report.rows[-1].pictures.items()} == dict.fromkeys(
        ("generated", "training", "held out"), (96, 96, 1)
    )
    assert figure(report.summary, "gap_low") <= 0 <= figure(report.summary, "gap_high")
    assert len(report.controls) == 4
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["summary"] == report.summary
    assert net.training


def test_report_states_the_training_and_the_compared_pictures() -> None:
    members, others = pictures([0, 0, 1, 2], 3, seed=2), pictures([0, 1, 1, 1], 3, seed=3)
    report = weights_report("mlp", members, others, steps=1, reconstruction_steps=1, epochs=2, progress=False)
    assert report.release == "weights of mlp"
    assert report.settings["training"]["epochs"] == 2
    assert len(report.settings["weights_sha256"]) == 64
    assert [row.values["pictures"] for row in report.rows if "gap" in row.values] == [2, 1, 1]
    assert any("2 of 4 training pictures" in line for line in report.assumptions)
    again = weights_report("mlp", members, others, steps=1, reconstruction_steps=1, epochs=2, progress=False)
    assert again.to_json() == report.to_json()


def test_hash_in_the_settings_depends_on_the_weights() -> None:
    nets = small_network("cnn", 1, 8, 2, seed=0), small_network("cnn", 1, 8, 2, seed=1)
    hashes = [WeightsRelease("net", net).describe()["weights_sha256"] for net in (*nets, nets[0])]
    assert hashes[0] == hashes[2] != hashes[1]


def test_invalid_audits_are_refused_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    two, one = pictures([0], 2), pictures([0], 1)
    with pytest.raises(UserError, match="1 step or more, not 0"):
        weights_report("mlp", two, two, steps=0)
    with pytest.raises(UserError, match="2 classes or more"):
        weights_report("mlp", one, one)
    with pytest.raises(UserError, match=r"Sequential answers \(1, 3\): logits of the pictures' 2 classes"):
        weights_report(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), two, two)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(UserError, match="needs SciPy: pip install"):
        weights_report("mlp", two, two)


def test_overflowing_weights_are_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    for parameter in net.parameters():
        nn.init.constant_(parameter, 1e30)
    with pytest.raises(UserError, match="not finite"):
        weights_report(net, pictures([0, 1], 2), pictures([0, 1], 2, seed=1), steps=2, progress=False)


def test_classifier_of_the_package_can_be_audited() -> None:
    """One of the package's own classifiers, with its normalization inside."""
    members, others = (pictures([0, 1], 3, size=16, seed=seed) for seed in (1, 2))
    color = [
        Pictures(side.pixels.expand(-1, 3, -1, -1), side.labels, side.groups, side.names, 3)
        for side in (members, others)
    ]
    report = weights_report(small_cnn(0, 3), *color, steps=1, reconstruction_steps=1, progress=False)
    assert report.summary["pictures"] == 2


def test_more_than_64_classes_are_audited_without_a_generator() -> None:
    labels = [0, 30, 69, 5]
    members, others = pictures(labels, 70), pictures(labels, 70, seed=1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 70))
    report = weights_report(net, members, others, steps=1, reconstruction_steps=1, progress=False)
    assert [row.name for row in report.rows] == [EVIDENCE, RIGHT, RECONSTRUCTION]
    assert any("more than 64 classes" in sentence for sentence in report.assumptions)
    decision = weights_decision(report)
    assert decision.lines[0].name == "margin gradients"
    assert decision.lines[1].state is None  # nothing is answered rightly: not tested, and not said to be safe
    assert "stricter control" in decision.verdict
