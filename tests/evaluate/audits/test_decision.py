"""Decisions of audits: the verdict follows from the figures, and no dash is without a reason."""

from dataclasses import replace

import pytest

from onlymymodel.evaluate.audits.columns import meaning
from onlymymodel.evaluate.audits.decision import (
    Cell,
    Decision,
    Line,
    come_back_sentence,
    mark_worst,
    picture_state,
    worst_state,
)
from onlymymodel.evaluate.audits.gradients.decision import ACCURACY, BACK, Cost, gradient_decision
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow


def test_a_picture_comes_back_only_above_the_mean_picture() -> None:
    assert picture_state(0.95, 0.2) == "comes back"
    assert picture_state(0.95, 0.96) == "nothing found"  # all pictures are alike
    assert picture_state(0.31, 0.2) == "partly"
    assert picture_state(0.29, 0.2) == picture_state(None, 0.2) == "nothing found"
    assert worst_state(["partly", "comes back", "nothing found"]) == "comes back"
    assert worst_state([]) == "nothing found"


def test_the_sentence_counts_pictures_and_names_the_mean_picture() -> None:
    assert come_back_sentence([0.97, 0.99, 0.4], [0.18] * 3).startswith(
        "2 of 3 pictures come back at SSIM 0.97 or more; the"
    )
    assert "1 of 2 pictures are partly revealed, the best at SSIM 0.40" in come_back_sentence([0.4, 0.1], [0.18, 0.18])
    assert come_back_sentence([0.2], [0.18]) == (
        "the best reconstruction of 1 pictures has an SSIM of 0.20; the mean picture, which needs no release, has 0.18."
    )


def test_a_failed_attack_is_never_the_worst() -> None:
    marked = mark_worst({"a": Cell(0.9, "below", failed=True), "b": Cell(0.5), "c": Cell(None, "no signal")})
    assert [name for name, cell in marked.items() if cell.worst] == ["b"]
    assert marked["a"].failed


def test_a_dash_without_a_reason_and_a_column_without_a_meaning_are_refused() -> None:
    with pytest.raises(ValueError, match="needs its reason"):
        Cell(None)
    with pytest.raises(ValueError, match="without an explanation: b"):
        Decision("partly", "v", {"a": "A"}, (Line("l", None, {"b": Cell(1)}),), ("do",), "more")


def report(defense: str, attack: str, figures: list[tuple[float | None, float]]) -> AuditReport:
    """SSIM and PSNR of some pictures; the mean picture has 0.2 and 13 dB."""
    rows = tuple(
        AuditRow(
            f"{index}",
            {"signal": "yes", "ssim": ssim, "psnr": psnr, "ssim_mean_picture": 0.2, "psnr_mean_picture": 13.0},
        )
        for index, (ssim, psnr) in enumerate(figures)
    )
    settings = {"defense": defense, "batch": 1}
    return AuditReport(f"gradient, defense {defense}", attack, rows, rows, ("known",), settings=settings)


def test_gradients_that_come_back_are_not_safe_and_the_defense_that_held_is_advised() -> None:
    decision = gradient_decision(
        [
            report("none", "DLG", [(0.99, 40), (0.97, 35)]),
            report("none", "Inverting", [(0.5, 20), (0.6, 21)]),
            report("noise:1", "DLG", [(0.1, 9), (0.15, 8)]),
            report("noise:1", "Inverting", [(0.3, 9), (0.25, 12)]),
        ],
        Cost({"none": 0.9, "noise:1": 0.7}, "after training"),
    )
    assert (decision.state, decision.headline) == ("comes back", "NOT SAFE as is")
    assert decision.verdict.startswith("Without a defense: 2 of 2 pictures come back at SSIM 0.97 or more")
    bare, noisy = decision.lines
    assert bare.cells["DLG"].worst
    assert not bare.cells["Inverting"].worst
    assert noisy.state == "nothing found"
    assert noisy.cells["DLG"].failed
    assert noisy.cells["Inverting"].failed  # a PSNR below the mean picture's
    assert (bare.cells[BACK].value, noisy.cells[ACCURACY].value) == ("2 of 2", 0.7)
    assert "noise:1 (task accuracy 0.70)" in decision.advice[0]
    table = decision.to_json()["table"]
    assert table[0]["worst"] == ["DLG"]
    assert table[1]["failed"] == ["DLG", "Inverting"]


def test_an_attack_that_lost_to_a_mean_picture_of_negative_ssim_reveals_nothing() -> None:
    lost = report("clip:1+dp:0.5", "DLG", [(0.3, 9), (0.2, 8)])
    rows = tuple(replace(row, values={**row.values, "ssim_mean_picture": -0.2}) for row in lost.rows)
    decision = gradient_decision([replace(lost, rows=rows)], Cost({}, "not trained again"))
    assert decision.state == "nothing found"
    assert "the best reconstruction of 2 pictures has an SSIM of" in decision.verdict


def test_a_stronger_defense_than_those_audited_is_advised() -> None:
    back: list[tuple[float | None, float]] = [(0.99, 40.0), (0.97, 35.0)]
    decision = gradient_decision([report("none", "DLG", back), report("clip:1+dp:0.5", "DLG", back)], Cost({}, "none"))
    assert "--defenses clip:1+dp:1)" in decision.advice[0]
    assert "clip:1+dp:0.1)" in gradient_decision([report("none", "DLG", back)], Cost({}, "none")).advice[0]


def test_gradients_without_a_signal_have_a_dash_with_its_reason_and_no_licence() -> None:
    silent = report("none", "DLG", [(None, 0), (None, 0)])
    decision = gradient_decision([silent], Cost({}, "not trained again"))
    assert decision.headline == "This attack got nothing, which is no proof of safety"
    assert "does not make the picture private" in decision.lines[0].cells["DLG"].note
    assert decision.lines[0].cells[ACCURACY].note == "not trained again"
    assert "licence" in decision.advice[0]


def test_every_dash_of_a_report_has_the_reason_of_its_pattern() -> None:
    rows = (AuditRow("a", {"auc": None, "ssim": 0.1}), AuditRow("b", {"auc": 0.5, "ssim": 0.1}))
    audited = AuditReport("r", "a", rows, rows, ("known",), {"rho_x_ssim": None}, reasons={"rho_*": "too few"})
    assert audited.missing["rho_x_ssim"] == "too few"
    assert audited.missing["auc"].startswith("no signal")
    assert replace(audited, reasons={"auc": "no members"}).to_json()["missing"]["auc"] == "no members"


@pytest.mark.parametrize("name", ["ssim", "mean_ssim_to_original", "rho_jacobian_rank_ssim", "mean_psnr"])
def test_measurements_have_a_meaning(name: str) -> None:
    assert meaning(name)


def test_pictures_that_are_no_closer_than_a_close_mean_picture_do_not_count_as_come_back() -> None:
    """Pictures that are much alike: column and state agree."""
    alike = report("none", "DLG", [(0.92, 40), (0.97, 41)])
    rows = tuple(replace(row, values={**row.values, "ssim_mean_picture": 0.95}) for row in alike.rows)
    (line,) = gradient_decision([replace(alike, rows=rows)], Cost({}, "not trained again")).lines
    assert line.cells[BACK].value == "1 of 2"
