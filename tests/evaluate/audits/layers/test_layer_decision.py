"""The decision on layers: where to cut, what noise does, and what answers betray."""

from dataclasses import replace

from onlymymodel.evaluate.audits.layers.audit import LOSS_THRESHOLD, MEAN_PICTURE, SHADOWS, SHUFFLED
from onlymymodel.evaluate.audits.layers.decision import INVERTER, MEMBERSHIP, REFINED, TPR, layer_decision
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow, Value


def layer(name: str, ssim: float, refined: float, back: float, partly: float, **more: Value) -> AuditRow:
    values: dict[str, Value] = {
        "ssim": ssim, "ssim_refined": refined, "come_back": back, "partly": partly, "auc": 0.52, "auc_deviation": 0.05,
        "on_device": 0.5, "ssim_with_noise": 0.8, "accuracy_unchanged": 0.9, "accuracy_with_noise": 0.85, "noise": 1.5,
    }  # fmt: skip
    return AuditRow(name, {**values, **more})


def report(*rows: AuditRow, shadow_auc: float = 0.5) -> AuditReport:
    controls = (
        AuditRow(MEAN_PICTURE, {"ssim": 0.25}),
        AuditRow(SHUFFLED, {"ssim": 0.2, "partly": 0.02}),
        AuditRow(LOSS_THRESHOLD, {"auc": 0.55, "tpr": 0.02, "auc_deviation": 0.03}),
        AuditRow(SHADOWS, {"auc": shadow_auc, "tpr": 0.2, "auc_deviation": 0.03}),
    )
    kinds = {row.name: "Conv2d" for row in rows}
    return AuditReport("net", "inverter", rows, controls, ("known",), settings={"kinds": kinds})


def test_the_network_is_cut_after_the_last_layer_from_which_something_comes_back() -> None:
    decision = layer_decision(
        report(layer("a", 0.8, 0.97, 1.0, 1.0), layer("b", 0.24, 0.2, 0.0, 0.0, on_device=0.75, ssim_with_noise=0.3))
    )
    assert decision.headline == "NOT SAFE to send every layer"
    assert "Layer a (Conv2d) returns pictures at a mean SSIM of 0.97" in decision.verdict  # the better attack
    first, second, loss, shadows = decision.lines
    assert (first.name, first.state) == ("a (Conv2d)", "comes back")
    assert first.cells[REFINED].worst
    assert not first.cells[INVERTER].worst
    assert second.cells[INVERTER].failed
    assert (loss.state, shadows.state) == ("nothing found", "nothing found")
    assert decision.advice[0].startswith("Cut at b (Conv2d) or later")
    assert "75%" in decision.advice[0]
    # noise helps only where its inverter gets nothing
    assert (
        "of b (Conv2d) the accuracy is 0.85 (without noise 0.90); an inverter of the noisy outputs gets nothing"
        in (decision.advice[1])
    )


def test_a_column_that_no_line_has_is_left_out() -> None:
    whole = report(layer("a", 0.8, 0.97, 1.0, 1.0))
    assert TPR in layer_decision(whole).columns
    without_answers = replace(whole, controls=whole.controls[:2])
    assert TPR not in layer_decision(without_answers).columns


def test_noise_that_an_inverter_beats_is_not_advised() -> None:
    decision = layer_decision(report(layer("a", 0.8, 0.97, 1.0, 1.0)))
    assert "Cutting does not help" in decision.advice[0]
    assert "even here it reaches an SSIM of 0.80, so audit more noise" in decision.advice[1]


def test_answers_that_betray_members_are_in_verdict_and_advice() -> None:
    decision = layer_decision(report(layer("a", 0.24, 0.2, 0.0, 0.0), shadow_auc=0.7))
    shadows = decision.lines[-1]
    assert (decision.state, shadows.state) == ("partly", "partly")
    assert shadows.cells[MEMBERSHIP].worst
    assert shadows.cells[TPR].value == 0.2
    assert "Shadow networks find 20 %" in decision.verdict
    assert any(sentence.startswith("Answers tell training pictures") for sentence in decision.advice)
