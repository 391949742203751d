"""The decision on representations: the undefended one is a baseline, and the accuracy has its interval over people."""

from onlymymodel.evaluate.audits.report import AuditReport, AuditRow, Value
from onlymymodel.evaluate.audits.representation.audit import MEAN_PICTURE, UNDEFENDED
from onlymymodel.evaluate.audits.representation.decision import ACCURACY, ATTACKS, BACK, representation_decision


def report(
    weight: float, noise: float, ssim: float, accuracy: float, **by_attack: tuple[float, float, float, float]
) -> AuditReport:
    """Four pictures, of which the decoder with the highest PSNR, the convolutional one, has this SSIM."""
    columns = dict.fromkeys(ATTACKS.values(), (0.1,) * 4) | {"ssim_convolutional": (ssim,) * 4} | by_attack
    rows = tuple(
        AuditRow(
            f"{index}",
            {"ssim": ssim, "ssim_mean_picture": 0.2, **{name: column[index] for name, column in columns.items()}},
        )
        for index in range(4)
    )
    controls = (AuditRow(MEAN_PICTURE, {"ssim": 0.2}), AuditRow(UNDEFENDED, {"ssim": 0.95}))
    summary: dict[str, Value] = {
        "ssim": ssim, **{name: sum(column) / 4 for name, column in columns.items()},
        "mcc": 0.4, "identity_cosine": 0.3, "accuracy": accuracy,
        "accuracy_undefended": 0.9, "accuracy_by_chance": 0.2, "accuracy_low": accuracy - 0.1,
        "accuracy_high": accuracy + 0.1, "people": 4,
    }  # fmt: skip
    settings = {"weight": weight, "noise": noise}
    name = f"representation, lambda {weight:g}, noise {noise:g}"
    return AuditReport(name, "decoder", rows, controls, ("known",), summary, settings)


def test_the_state_is_that_of_the_defended_ones_and_the_undefended_is_the_first_line() -> None:
    decision = representation_decision([report(0, 0, 0.95, 0.9), report(0, 0.5, 0.5, 0.85), report(2, 0.5, 0.25, 0.8)])
    assert [line.name for line in decision.lines] == [
        "undefended (lambda 0, no noise)", "lambda 0, noise 0.5", "lambda 2, noise 0.5",
    ]  # fmt: skip
    assert [line.state for line in decision.lines] == ["comes back", "partly", "nothing found"]
    assert decision.state == "partly"
    assert "Use lambda 2, noise 0.5: these attacks got nothing, at a task accuracy of 0.80" in decision.advice[0]
    assert decision.lines[2].cells[ACCURACY].note == "95 % interval over 4 people: 0.70 to 0.90"


def test_a_single_defended_representation_needs_no_baseline() -> None:
    decision = representation_decision([report(1, 0.5, 0.5, 0.85)])
    assert [line.name for line in decision.lines] == ["lambda 1, noise 0.5"]


def test_each_picture_counts_as_the_attack_shows_it_that_reveals_most() -> None:
    """The decoder with the highest PSNR has a low SSIM; others reveal the pictures, each one its own."""
    held = report(2, 0.5, 0.25, 0.8)
    searched = report(4, 0.5, 0.25, 0.9, ssim_searched=(0.79, 0.79, 0.95, 0.1), ssim_ridge=(0.1, 0.1, 0.1, 0.93))
    decision = representation_decision([held, searched])
    quiet, line = decision.lines
    assert (quiet.state, line.state, decision.state) == ("nothing found", "comes back", "comes back")
    assert line.cells["search with the encoder"].worst
    assert line.cells[BACK].value == "2 of 4"
    assert "2 of 4 pictures come back at SSIM 0.93 or more" in decision.verdict
    assert decision.advice[0].startswith("Use lambda 2, noise 0.5")


def test_the_least_revealing_lambda_is_that_of_the_best_attack_on_each_picture() -> None:
    first = report(1, 0.5, 0.5, 0.8)
    second = report(2, 0.5, 0.4, 0.8, ssim_searched=(0.8, 0.8, 0.8, 0.8))
    assert "revealed with lambda 1, noise 0.5" in representation_decision([first, second]).advice[0]
