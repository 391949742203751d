"""Audit of layers: an adversary recovers more where more is kept."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from toys import small_cnn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.layers.attacks import closer_of, split_by_person
from onlymymodel.evaluate.audits.layers.audit import (
    LOSS_THRESHOLD,
    MEAN_PICTURE,
    NONMEMBERS,
    PIXELS,
    SHUFFLED,
    LayerAdversary,
)
from onlymymodel.evaluate.audits.layers.figures import ATTACK_FREE
from onlymymodel.evaluate.audits.layers.plots import layer_plot
from onlymymodel.evaluate.audits.layers.release import LayerRelease
from onlymymodel.evaluate.audits.pictures import Pictures, digit_pictures, portrait_pictures
from onlymymodel.evaluate.audits.ranking import rank_correlation
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow, Value, audit_release


def number(value: Value) -> float:
    assert isinstance(value, int | float)
    return float(value)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_split_by_person_shares_nobody_even_if_members_were_drawn_with_the_same_seed(seed: int) -> None:
    digits = digit_pictures(8).take(range(80))
    for pictures in (digits, portrait_pictures(80, 8)):
        members, others = pictures.split(40, seed)
        split = split_by_person(others, members, seed)
        parts = (split.train, split.test, split.train_members, split.test_members)
        train, test, train_members, test_members = ({*part.groups.tolist()} for part in parts if part)
        assert not (train | train_members) & (test | test_members)
        assert sum(len(part) for part in parts if part) == 80
        assert min(len(part) for part in parts if part) >= 5


def test_pictures_of_one_person_cannot_be_split() -> None:
    digits = digit_pictures(8).take(range(6))
    alone = Pictures(digits.pixels, digits.labels, torch.zeros(6), digits.names, 10)
    with pytest.raises(UserError, match="several people"):
        split_by_person(alone, None, 0)


@pytest.fixture(scope="module")
def report() -> AuditReport:
    """A network that hides in its second layer: a projection to one number; the first keeps all pixels."""
    net = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 1), nn.Linear(1, 10)))
    with torch.no_grad():
        weights = net.get_parameter("1.weight")
        weights.copy_(torch.linalg.qr(weights)[0])
    members, others = digit_pictures(8).take(range(200)).split(100)
    return audit_release(LayerRelease("toy", net, others, members), LayerAdversary(steps=40), progress=False)


@pytest.mark.slow
def test_adversary_recovers_more_from_a_layer_that_keeps_more(report: AuditReport) -> None:
    rows = {row.name: row.values for row in report.rows}
    controls = {control.name: control.values for control in report.controls}
    assert list(rows) == ["1", "2", "3"]
    assert [rows[name]["jacobian_rank"] for name in rows] == [64, 1, 1]
    assert [rows[name]["features"] for name in rows] == [64, 1, 10]
    assert number(rows["2"]["degrees_of_freedom"]) == pytest.approx(1, abs=0.05)
    assert number(rows["1"]["ssim"]) > number(rows["2"]["ssim"]) + 0.2
    assert number(controls[PIXELS]["ssim"]) > number(controls[SHUFFLED]["ssim"]) + 0.2
    assert controls[PIXELS]["jacobian_rank"] == 64
    assert {PIXELS, SHUFFLED, MEAN_PICTURE, NONMEMBERS, LOSS_THRESHOLD} == set(controls)
    # an untrained network has no members
    assert all(0.3 < number(row["auc"]) < 0.7 for row in rows.values())


@pytest.mark.slow
def test_report_states_assumptions_and_correlates_over_layers(report: AuditReport) -> None:
    text = " ".join(report.assumptions)
    for word in ("eval mode", "0.1", "SSIM", "logistic regression", "groups"):
        assert word in text
    ssims = [number(row.values["ssim"]) for row in report.rows]
    ranks = [number(row.values["jacobian_rank"]) for row in report.rows]
    found = rank_correlation(ranks, ssims)
    assert found is not None
    names = ("rho_jacobian_rank_ssim", "p_jacobian_rank_ssim", "n_jacobian_rank_ssim")
    assert tuple(report.summary[name] for name in names) == found
    assert report.summary["highest_ssim_at"] == "1"
    assert report.settings["layers"] == ["1", "2", "3"]


def test_exact_and_estimated_ranks_are_not_in_one_correlation() -> None:
    adversary = LayerAdversary(steps=0)
    values = [("exact", 1.0, 0.1), ("exact", 2.0, 0.2), ("estimated", 0.0, 0.9), ("exact", 3.0, 0.3)]
    rows = [
        AuditRow(f"{index}", {**dict.fromkeys(ATTACK_FREE, rank), "jacobian": how, "ssim": ssim, "auc": None})
        for index, (how, rank, ssim) in enumerate(values)
    ]
    summary = adversary.summary(rows, [])
    assert summary["rho_jacobian_rank_ssim"] == pytest.approx(1)
    assert summary["n_jacobian_rank_ssim"] == 3
    assert summary["n_variation_ssim"] == 4


def test_report_without_members_has_no_membership_inference() -> None:
    release = LayerRelease("toy", small_cnn(0), portrait_pictures(40, 16), max_layers=2)
    audited = audit_release(release, LayerAdversary(steps=0), progress=False)
    assert len(audited.rows) == 2
    assert all(row.values["auc"] is None and row.values["ssim"] is None for row in audited.rows)
    assert "no membership inference" in audited.assumptions[-1]
    assert audited.summary["rho_jacobian_rank_auc"] is None
    assert [control.name for control in audited.controls] == [PIXELS]


@pytest.mark.slow
def test_plot_of_layers_is_reproducible_and_accepts_gaps(report: AuditReport) -> None:
    svg = layer_plot(report)
    assert svg == layer_plot(report)
    gaps = [{**row.values, "auc": None, "jacobian_rank": None} for row in report.rows]
    rows = tuple(type(row)(row.name, values) for row, values in zip(report.rows, gaps, strict=True))
    assert layer_plot(AuditReport("r", "a", rows, report.controls, report.assumptions)) != svg


def test_of_two_attacks_the_closer_reconstruction_of_each_picture_counts() -> None:
    """The second attack is better on average, but loses the picture that the first one returned."""
    pixels, noise = digit_pictures(16).pixels[:3], torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    first = torch.cat([pixels[:1], noise[1:]])
    second = torch.cat([noise[:1], pixels[1:]])
    assert torch.equal(closer_of(first, second, pixels), pixels)
    assert torch.equal(closer_of(second, first, pixels), pixels)
