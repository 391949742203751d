"""Audit of gradients: the attack is between its controls, and a missing signal is no privacy."""

import json
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.gradients.adversary import (
    LINEAR_CLASSIFIER,
    MEAN_PICTURE,
    OTHER_GRADIENT,
    PROTECTED,
    GradientAdversary,
)
from onlymymodel.evaluate.audits.gradients.comparison import compare_batch
from onlymymodel.evaluate.audits.gradients.defenses import parse_defense
from onlymymodel.evaluate.audits.gradients.matching import ATTACKS, Match
from onlymymodel.evaluate.audits.gradients.plot import trajectory_plot
from onlymymodel.evaluate.audits.gradients.release import GradientRelease
from onlymymodel.evaluate.audits.gradients.reports import gradient_reports
from onlymymodel.evaluate.audits.gradients.risk import PREDICTORS
from onlymymodel.evaluate.audits.gradients.trajectory import similarity_series
from onlymymodel.evaluate.audits.networks import small_network
from onlymymodel.evaluate.audits.pictures import Pictures, portrait_pictures
from onlymymodel.evaluate.audits.report import audit_release

QUICK = replace(ATTACKS["inverting"], steps=60)


DLG = replace(ATTACKS["dlg"], steps=3)


def portraits(count: int) -> Pictures:
    """8 x 8."""
    return portrait_pictures(count, 8)


def network() -> nn.Module:
    return small_network("cnn", 3, 8, 6, width=8)


def dead() -> nn.Module:
    """So sure of class 0 that its softmax is exactly 1: the gradient for that label is zero."""
    sure = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
    linear = sure[1]
    assert isinstance(linear, nn.Linear)
    linear.weight.data.zero_()
    linear.bias.data.copy_(torch.tensor([1000.0, 0, 0, 0, 0, 0]))
    return sure


def test_release_that_cannot_be_audited_is_refused() -> None:
    with pytest.raises(UserError, match="at least 4"):
        GradientRelease(network(), portraits(3), batch=2)
    with pytest.raises(UserError, match="original"):
        GradientRelease(network(), portraits(2), originals=torch.zeros(1, 3, 8, 8))
    with pytest.raises(UserError, match="batch of one"):
        GradientRelease(small_network("mlp", 3, 8, 6, batch_norm=True), portraits(2), mode="train")


@pytest.mark.slow
def test_labels_are_recovered_and_the_attack_is_between_its_controls() -> None:
    attack = replace(DLG, labels="recovered", name="x")
    bare, report = gradient_reports(
        network(), portraits(3), attacks=[attack], defenses=["none", "noise:0.0001"], progress=False
    )
    assert bare.rows[0].values["noise_bound"] is None
    summary, controls = report.summary, {control.name: control.values for control in report.controls}
    assert summary["labels_found"] == 1.0
    measured = (controls[OTHER_GRADIENT], controls[MEAN_PICTURE], *(row.values for row in report.rows))
    psnrs = [_number(values["psnr"]) for values in measured]
    assert max(psnrs[:2]) + 5 < min(psnrs[2:])
    assert _number(controls[LINEAR_CLASSIFIER]["psnr"]) > 90
    assert _number(summary["psnr_over_another"]) == pytest.approx(sum(psnrs[2:]) / 3 - psnrs[0])
    for name in ("gradient_cosine_psnr", "gradient_l2_ssim", *(f"{name}_psnr" for name in PREDICTORS)):
        assert -1 <= _number(summary[f"rho_{name}"]) <= 1
    assert set(report.rows[0].pictures) == {"picture", "reconstruction"}
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["settings"]["attack"]["distance"] == "l2"


@pytest.mark.slow
def test_control_by_another_batch_is_the_reconstruction_of_that_batch() -> None:
    pictures = portraits(2)
    adversary, release = GradientAdversary(QUICK), GradientRelease(network(), pictures)
    report = audit_release(release, adversary, progress=False)
    first, second = (
        compare_batch(match.pixels, pictures.pixels[[1 - row]], None, lpips=False)[0].values["psnr"]
        for row, match in enumerate(adversary.reconstruct(release, progress=False))
        if match
    )
    assert report.controls[0].values["psnr"] == pytest.approx((_number(first) + _number(second)) / 2)


def test_zero_gradient_is_reported_as_no_signal() -> None:
    pictures = portraits(3)
    silent = replace(pictures, labels=torch.zeros(3, dtype=torch.long))
    for attack in ("dlg", "idlg", "inverting"):
        (report,) = gradient_reports(dead(), silent, attacks=[attack], progress=False)
        assert report.summary["without_signal"] == 3
        for row in report.rows:
            assert str(row.values["signal"]).startswith("no signal")
            guess = {"psnr_mean_picture", "ssim_mean_picture"}  # needs no gradient
            assert {value for name, value in row.values.items() if name not in {"signal", *guess}} == {None}
        psnrs = {value for name, value in report.summary.items() if "psnr" in name and not name.startswith("n_")}
        assert psnrs == {None}
        assert str(report.controls[0].values["signal"]).startswith("no signal")
        json.dumps(report.to_json(), allow_nan=False)


def test_means_leave_out_pictures_without_signal() -> None:
    mixed = replace(portraits(3), labels=torch.tensor([0, 1, 1]))
    (report,) = gradient_reports(dead(), mixed, attacks=[DLG], progress=False, predictors=False)
    loud = [_number(row.values["psnr"]) for row in report.rows[1:]]
    assert report.summary["without_signal"] == 1
    assert report.summary["mean_psnr"] == pytest.approx(sum(loud) / 2)


@pytest.mark.slow
def test_gradient_whose_squares_underflow_is_matched() -> None:
    sure, silent = network(), replace(portraits(2), labels=torch.zeros(2, dtype=torch.long))
    head = [module for module in sure.modules() if isinstance(module, nn.Linear)][-1]
    head.bias.data[0] = 65.0  # the other classes have about 1e-28
    adversary, release = GradientAdversary(QUICK), GradientRelease(sure, silent)
    report = audit_release(release, adversary, progress=False)
    assert report.summary["without_signal"] == 0
    for match in adversary.reconstruct(release, progress=False):
        assert match is not None
        assert match.objective < match.trajectory[0] / 5


@pytest.mark.slow
def test_clipping_alone_does_not_lower_psnr() -> None:
    clean, clipped = gradient_reports(
        network(),
        portraits(2),
        attacks=[replace(DLG, steps=5)],
        predictors=False,
        defenses=["none", "clip:0.01"],
        progress=False,
    )
    assert _number(clipped.summary["mean_psnr"]) == pytest.approx(_number(clean.summary["mean_psnr"]), abs=3)


@pytest.mark.slow
def test_psnr_falls_with_noise() -> None:
    levels = ["none", "noise:0.001", "noise:0.01", "noise:0.1"]
    attack = replace(DLG, steps=5)
    reports = gradient_reports(
        network(), portraits(2), attacks=[attack], defenses=levels, progress=False, predictors=False
    )
    means = [_number(report.summary["mean_psnr"]) for report in reports]
    assert means[0] > 20
    assert means == sorted(means, reverse=True)
    assert means[-1] < means[0] - 10


@pytest.mark.slow
def test_gradient_of_a_protected_picture_is_compared_with_the_original() -> None:
    original = portraits(2)
    shifted = replace(original, pixels=(original.pixels + 0.1).clamp(0, 1))
    (report,) = gradient_reports(
        network(), shifted, attacks=[DLG], originals=original.pixels, progress=False, predictors=False
    )
    itself = {control.name: control for control in report.controls}[PROTECTED].values
    mean_square = (shifted.pixels - original.pixels).square().flatten(1).mean(1)
    assert itself["psnr_to_original"] == pytest.approx((-10 * mean_square.log10()).mean().item(), abs=1e-3)
    assert "psnr" not in itself
    gap = _number(report.summary["mean_psnr_to_original"]) - _number(itself["psnr_to_original"])
    assert report.summary["psnr_to_original_over_protected"] == pytest.approx(gap)
    assert set(report.rows[0].pictures) == {"picture", "original", "reconstruction"}


def test_reconstructions_of_a_batch_are_matched_to_its_pictures() -> None:
    pictures = portraits(4).pixels
    for comparison in compare_batch(pictures[[2, 0, 3, 1]], pictures, None, lpips=False):
        assert comparison.values["mse"] == 0
        assert comparison.values["psnr"] == 100
        assert comparison.values["ssim"] == pytest.approx(1)


def test_incomplete_batch_is_left_out_and_every_other_picture_has_a_row() -> None:
    (report,) = gradient_reports(
        network(), portraits(5), attacks=[replace(QUICK, steps=3)], batch=2, predictors=False, progress=False
    )
    assert [row.name for row in report.rows] == list(portraits(4).names)
    assert report.settings["pictures"] == 4
    assert LINEAR_CLASSIFIER not in [control.name for control in report.controls]
    assert any("batch of 2" in sentence for sentence in report.assumptions)


def test_assumptions_state_mode_and_statistics() -> None:
    normed = small_network("cnn", 3, 8, 6, width=4, batch_norm=True)
    for statistics, words in (("running", "running statistics"), ("batch", "statistics of the very batch")):
        attack = replace(ATTACKS["gradinversion"], steps=2, statistics="batch" if statistics == "batch" else "running")
        (report,) = gradient_reports(
            normed, portraits(2), attacks=[attack], mode="train", progress=False, predictors=False
        )
        assert any(words in sentence for sentence in report.assumptions)
        assert any("train mode" in sentence for sentence in report.assumptions)


@pytest.mark.slow
def test_equal_seeds_give_equal_reports() -> None:
    first, second = (
        gradient_reports(
            network(),
            portraits(2),
            attacks=[replace(QUICK, steps=9)],
            defenses=["noise:0.1"],
            seed=4,
            predictors=False,
            progress=False,
        )
        for _ in range(2)
    )
    assert [report.to_json() for report in first] == [report.to_json() for report in second]


def test_unknown_attack_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'inverting'"):
        gradient_reports(network(), portraits(2), attacks=["invertin"], progress=False)


def _number(value: object) -> float:
    assert isinstance(value, float)
    return value


def test_series_of_an_attack_ends_with_its_report_and_its_plot_is_reproducible() -> None:
    adversary = GradientAdversary(replace(QUICK, steps=24))
    report = audit_release(GradientRelease(network(), portraits(2)), adversary, progress=False)
    assert list(report.series) == ["step", "gradient_cosine", "ssim"]
    assert report.series["step"] == [float(step) for step in range(0, 25, 2)]
    assert report.series["gradient_cosine"][-1] > report.series["gradient_cosine"][0]
    assert trajectory_plot(report) == trajectory_plot(report)


def test_series_of_trajectories_that_end_early_keep_their_last_value() -> None:
    pictures = portraits(2)
    release = GradientRelease(network(), pictures)
    gray = torch.full_like(pictures.pixels[:1], 0.5)
    matches = [
        Match(pictures.pixels[:1], pictures.labels[:1], 0.0, [], {0: gray, 4: pictures.pixels[:1]}),
        Match(gray, pictures.labels[1:], 0.0, [], {0: gray, 4: gray, 8: pictures.pixels[1:]}),
    ]
    series = similarity_series(release, matches)
    assert series["step"] == [0, 4, 8]
    assert series["ssim"][2] == pytest.approx(1)
    assert series["gradient_cosine"][2] == pytest.approx(1)
    assert series["ssim"][0] < series["ssim"][1] < 1
    assert similarity_series(release, [None, None]) == {}


@pytest.mark.parametrize("start", ["normal", "uniform"])
def test_noise_of_a_defense_is_no_function_of_the_pixels_from_which_the_attack_starts(
    start: Literal["normal", "uniform"],
) -> None:
    """torch makes normal numbers of uniform ones, in blocks of 8 pairs, by Box and Muller's transform."""
    release = GradientRelease(network(), portraits(2), defense=parse_defense("clip:1000+dp:0.001"), seed=3)
    attack = replace(QUICK, steps=0, start=start)
    (match, _) = GradientAdversary(attack, seed=3).reconstruct(release, progress=False)
    assert match is not None
    clean = release.clean_gradient(release.batches[0].pixels, release.batches[0].labels)
    noise = (release.gradient(0)[0] - clean[0]).flatten()[:16]
    pixels = match.snapshots[0].flatten()[:16]
    if start == "uniform":
        first, second = pixels[:8], pixels[8:]
        length, angle = (-2 * (1 - first).log()).sqrt(), 2 * torch.pi * second
        pixels = torch.cat([length * angle.cos(), length * angle.sin()])
    assert not torch.isclose(noise.clamp(0, 1), pixels.clamp(0, 1), atol=1e-3).all()
