import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.audit import audit_release
from onlymymodel.evaluate.audits.client_gradient import flat, loss_gradient
from onlymymodel.evaluate.audits.gradient_adversary import ANOTHER, LINEAR, MEAN, PROTECTED, GradientAdversary
from onlymymodel.evaluate.audits.gradient_comparison import compare
from onlymymodel.evaluate.audits.gradient_defenses import NONE, Clip, Noise, TopK, parse_defense
from onlymymodel.evaluate.audits.gradient_matching import ATTACKS
from onlymymodel.evaluate.audits.gradient_release import GradientRelease
from onlymymodel.evaluate.audits.gradient_risk import PREDICTORS, gradient_risk, noise_bound
from onlymymodel.evaluate.audits.gradients import gradient_reports
from onlymymodel.evaluate.audits.networks import small_network
from onlymymodel.evaluate.audits.pictures import Pictures, portrait_pictures

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


def gradient() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator) for shape in ((50, 40), (50,)))


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_noise_has_the_share_that_was_asked_for_and_comes_from_its_seed() -> None:
    clean, noise = gradient(), Noise(0.1)
    sent = noise.release(clean, stream())
    assert ((flat(sent) - flat(clean)).norm() / flat(clean).norm()).item() == pytest.approx(0.1, rel=0.05)
    assert torch.equal(flat(noise.release(clean, stream())), flat(sent))
    assert noise.imitate(clean, sent) is clean


def test_clipping_keeps_direction_and_bounds_the_norm() -> None:
    clean = gradient()
    sent = Clip(2.0).release(clean, stream())
    assert flat(sent).norm().item() == pytest.approx(2.0)
    assert F.cosine_similarity(flat(sent), flat(clean), dim=0).item() == pytest.approx(1.0)
    assert torch.equal(flat(Clip(1e6).release(clean, stream())), flat(clean))
    nothing = tuple(part * 0 for part in clean)
    assert torch.equal(flat(Clip(1.0).release(nothing, stream())), flat(nothing))


def test_sparsity_keeps_exactly_the_largest_entries() -> None:
    clean = gradient()
    sent = TopK(0.1).release(clean, stream())
    kept = flat(sent) != 0
    assert kept.sum() == 205
    assert torch.equal(flat(sent)[kept], flat(clean)[kept])
    assert flat(clean)[kept].abs().min() >= flat(clean)[~kept].abs().max()
    assert torch.equal(flat(TopK(0.1).imitate(clean, sent)), flat(sent))
    assert (flat(TopK(1e-9).release(clean, stream())) != 0).sum() == 1


def test_defences_are_done_in_the_order_in_which_they_are_written() -> None:
    clean = gradient()
    sent = parse_defense("topk:0.5+clip:1").release(clean, stream())
    assert torch.equal(flat(sent), flat(Clip(1).release(TopK(0.5).release(clean, stream()), stream())))
    assert parse_defense("clip:1+noise:0.01").name == "clip:1+noise:0.01"
    assert parse_defense("none") is NONE


@pytest.mark.parametrize("text", ["", "nois:1", "noise", "noise:x", "noise:0", "noise:inf", "clip:-1", "topk:2", "+"])
def test_a_defence_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="defence"):
        parse_defense(text)


def test_a_release_is_refused_where_its_controls_would_have_nothing_to_compare_with() -> None:
    with pytest.raises(UserError, match="at least 4"):
        GradientRelease(network(), portraits(3), batch=2)
    with pytest.raises(UserError, match="original"):
        GradientRelease(network(), portraits(2), originals=torch.zeros(1, 3, 8, 8))
    with pytest.raises(UserError, match="batch of one"):
        GradientRelease(small_network("mlp", 3, 8, 6, batch_norm=True), portraits(2), mode="train")


def test_every_label_is_read_and_the_controls_bracket_the_attack() -> None:
    (report,) = gradient_reports(
        network(), portraits(3), attacks=[replace(DLG, labels="recovered", name="x")], progress=False
    )
    summary, controls = report.summary, {control.name: control.values for control in report.controls}
    assert summary["labels_found"] == 1.0
    psnrs = [
        _number(where["psnr"]) for where in (controls[ANOTHER], controls[MEAN], *(row.values for row in report.rows))
    ]
    assert max(psnrs[:2]) + 5 < min(psnrs[2:])
    assert _number(controls[LINEAR]["psnr"]) > 90
    assert _number(summary["psnr_over_another"]) == pytest.approx(sum(psnrs[2:]) / 3 - psnrs[0])
    for name in ("gradient_cosine_psnr", "gradient_l2_ssim", *(f"{name}_psnr" for name in PREDICTORS)):
        assert -1 <= _number(summary[f"rho_{name}"]) <= 1
    assert set(report.rows[0].pictures) == {"picture", "reconstruction"}
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["settings"]["attack"]["distance"] == "l2"


def test_the_control_by_another_batch_is_the_other_batchs_reconstruction() -> None:
    pictures = portraits(2)
    adversary = GradientAdversary(QUICK)
    report = audit_release(GradientRelease(network(), pictures), adversary, progress=False)
    first, second = (
        compare(match.pixels, pictures.pixels[[1 - row]], None, lpips=False)[0][0]["psnr"]
        for row, match in enumerate(adversary._matches)
        if match
    )
    assert report.controls[0].values["psnr"] == pytest.approx((_number(first) + _number(second)) / 2)


def test_a_zero_gradient_is_no_signal_and_never_called_private() -> None:
    pictures = portraits(3)
    silent = replace(pictures, labels=torch.zeros(3, dtype=torch.long))
    for attack in ("dlg", "idlg", "inverting"):
        (report,) = gradient_reports(dead(), silent, attacks=[attack], progress=False)
        assert report.summary["without_signal"] == 3
        for row in report.rows:
            assert str(row.values["signal"]).startswith("no signal")
            assert {value for name, value in row.values.items() if name != "signal"} == {None}
        assert {value for name, value in report.summary.items() if "psnr" in name} == {None}
        assert str(report.controls[0].values["signal"]).startswith("no signal")
        json.dumps(report.to_json(), allow_nan=False)


def test_pictures_without_signal_do_not_enter_the_means() -> None:
    mixed = replace(portraits(3), labels=torch.tensor([0, 1, 1]))
    (report,) = gradient_reports(dead(), mixed, attacks=[DLG], progress=False, predictors=False)
    loud = [_number(row.values["psnr"]) for row in report.rows[1:]]
    assert report.summary["without_signal"] == 1
    assert report.summary["mean_psnr"] == pytest.approx(sum(loud) / 2)


def test_a_gradient_whose_squares_vanish_is_a_signal() -> None:
    sure, silent = network(), replace(portraits(2), labels=torch.zeros(2, dtype=torch.long))
    head = [module for module in sure.modules() if isinstance(module, nn.Linear)][-1]
    head.bias.data[0] = 65.0  # the other classes have about 1e-28
    adversary = GradientAdversary(QUICK)
    report = audit_release(GradientRelease(sure, silent), adversary, progress=False)
    assert report.summary["without_signal"] == 0
    for match in adversary._matches:
        assert match is not None
        assert match.objective < match.trajectory[0] / 5


def test_a_known_defence_that_loses_little_hides_little() -> None:
    clean, clipped = gradient_reports(
        network(),
        portraits(2),
        attacks=[replace(DLG, steps=5)],
        predictors=False,
        defenses=["none", "clip:0.01"],
        progress=False,
    )
    assert _number(clipped.summary["mean_psnr"]) == pytest.approx(_number(clean.summary["mean_psnr"]), abs=3)


def test_the_more_noise_the_less_is_found() -> None:
    levels = ["none", "noise:0.001", "noise:0.01", "noise:0.1"]
    attack = replace(DLG, steps=5)
    reports = gradient_reports(
        network(), portraits(2), attacks=[attack], defenses=levels, progress=False, predictors=False
    )
    means = [_number(report.summary["mean_psnr"]) for report in reports]
    assert means[0] > 20
    assert means == sorted(means, reverse=True)
    assert means[-1] < means[0] - 10


def test_a_protected_pictures_gradient_is_compared_with_the_original_too() -> None:
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


def test_a_batchs_reconstructions_are_put_to_their_pictures() -> None:
    pictures = portraits(4).pixels
    for (figures, _), value in zip(compare(pictures[[2, 0, 3, 1]], pictures, None, lpips=False), range(4), strict=True):
        assert figures["mse"] == 0, value
        assert figures["psnr"] == 100
        assert figures["ssim"] == pytest.approx(1)


def test_batches_leave_the_rest_out_and_have_a_row_for_every_picture() -> None:
    (report,) = gradient_reports(
        network(), portraits(5), attacks=[replace(QUICK, steps=3)], batch=2, predictors=False, progress=False
    )
    assert [row.name for row in report.rows] == list(portraits(4).names)
    assert report.settings["pictures"] == 4
    assert LINEAR not in [control.name for control in report.controls]
    assert any("batch of 2" in sentence for sentence in report.assumptions)


def test_modes_and_statistics_are_stated() -> None:
    normed = small_network("cnn", 3, 8, 6, width=4, batch_norm=True)
    for statistics, words in (("running", "running statistics"), ("batch", "statistics of the very batch")):
        attack = replace(ATTACKS["gradinversion"], steps=2, statistics="batch" if statistics == "batch" else "running")
        (report,) = gradient_reports(
            normed, portraits(2), attacks=[attack], mode="train", progress=False, predictors=False
        )
        assert any(words in sentence for sentence in report.assumptions)
        assert any("train mode" in sentence for sentence in report.assumptions)


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


def test_unknown_attacks_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'inverting'"):
        gradient_reports(network(), portraits(2), attacks=["invertin"], progress=False)


def test_predictors_are_those_of_the_jacobian() -> None:
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).double(), torch.rand(3, 2, 2, dtype=torch.float64)
    linear = net[1]
    assert isinstance(linear, nn.Linear)

    def by_hand(picture: Tensor) -> Tensor:
        pixels = picture.flatten()
        off: Tensor = (linear.weight @ pixels + linear.bias).softmax(0) - F.one_hot(torch.tensor(3), 5)
        return torch.cat([torch.outer(off, pixels).flatten(), off])

    def direction(picture: Tensor) -> Tensor:
        return F.normalize(by_hand(picture), dim=0)

    jacobian, turned = (torch.func.jacrev(function)(x).reshape(65, 12) for function in (by_hand, direction))
    risk = gradient_risk(net, x, 3)
    assert risk is not None
    assert risk.largest == pytest.approx(torch.linalg.matrix_norm(jacobian, 2).item(), rel=1e-6)
    assert risk.frobenius == pytest.approx(jacobian.norm().item(), rel=0.2)
    assert risk.cosine_smallest == pytest.approx(torch.linalg.svdvals(turned)[-1].item(), rel=1e-6)
    deviation = 0.01 * by_hand(x).norm().item() / 65**0.5
    bound = deviation**2 * torch.linalg.inv(jacobian.T @ jacobian).trace().item() / 12
    assert risk.noise_bound == pytest.approx(bound, rel=1e-6)
    torch.testing.assert_close(by_hand(x), flat(loss_gradient(net, x[None], torch.tensor([3]))))


def test_a_large_picture_has_the_predictors_that_can_be_had() -> None:
    net, x = network(), portraits(1).pixels[0]
    whole, part = gradient_risk(net, x, 0), gradient_risk(net, x, 0, most=100)
    assert whole is not None
    assert part is not None
    assert part.largest == pytest.approx(whole.largest, rel=1e-6)
    assert part.frobenius == whole.frobenius
    assert part.cosine_smallest is part.noise_bound is None


def test_the_noise_bound_is_the_error_of_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(30, 8, generator=generator, dtype=torch.float64)
    noise = 0.3 * torch.randn(20_000, 30, generator=generator, dtype=torch.float64)
    errors = noise @ torch.linalg.pinv(jacobian).T
    bound = noise_bound(torch.linalg.svdvals(jacobian), 0.3, 8)
    assert bound == pytest.approx(errors.square().mean().item(), rel=0.03)
    assert 1e10 < noise_bound(torch.tensor([1.0, 0.0]), 0.3, 2) < float("inf")


def _number(value: object) -> float:
    assert isinstance(value, float)
    return value
