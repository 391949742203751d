"""The decision of the audit of representations: lambdas in lines, attacks in columns, the accuracy beside them."""

from collections.abc import Sequence
from dataclasses import replace

from onlymymodel.evaluate.audits.decision import (
    GAIN,
    RECOVERED,
    Cell,
    Decision,
    Line,
    come_back_sentence,
    mark_worst,
    not_learned,
    picture_state,
    worst_state,
)
from onlymymodel.evaluate.audits.report import AuditReport
from onlymymodel.evaluate.audits.representation.audit import MEAN_PICTURE, UNDEFENDED

ATTACKS = {
    "convolutional decoder": "ssim_convolutional",
    "perceptual decoder": "ssim_perceptual",
    "adversarial decoder": "ssim_adversarial",
    "ridge regression": "ssim_ridge",
    "search with the encoder": "ssim_searched",
}
IDENTITY, BACK, MEAN, ACCURACY, UNDEFENDED_ACCURACY, CORRELATION = (
    "identity cosine", "come back", "mean picture", "task accuracy", "undefended accuracy", "task MCC",
)  # fmt: skip
COLUMNS = {
    "convolutional decoder": "mean SSIM of what a new convolutional decoder reconstructs",
    "perceptual decoder": "the same of a decoder twice as wide that is trained with a perceptual loss, too",
    "adversarial decoder": "the same of one three times as wide, trained against a critic, too",
    "ridge regression": "mean SSIM of what a ridge regression reconstructs",
    "search with the encoder": "mean SSIM of pictures with the released representation, searched from a decoder's",
    IDENTITY: "cosine of the faces' embeddings, minus their mean; near 0 for two different people",
    BACK: f"pictures that at least one attack returns at SSIM {RECOVERED:g} or more",
    MEAN: "mean SSIM of the mean picture, a guess without any representation",
    ACCURACY: "accuracy of the task on people who are in no training data; of attributes the share that is right",
    UNDEFENDED_ACCURACY: "the same with lambda 0 and no noise: what the defense costs is the difference",
    CORRELATION: "Matthews correlation coefficient of the task, of attributes the mean; 0 is chance",
}
SINGLE_CLASS = "undefined for a single class"
WORSE = (
    "more public pictures of similar people, a stronger attack, several releases of one picture (noise averages out), "
    "or a noise that the receiver can predict"
)


def representation_decision(reports: Sequence[AuditReport]) -> Decision:
    """Return the decision on some representations by reports, of which the undefended one is a baseline."""
    defended = [report for report in reports if not _is_undefended(report)] or list(reports)
    baseline = next((_line(report) for report in reports if report not in defended), None)
    lines = [_line(report) for report in defended]
    controls = {row.name: row for row in reports[0].controls}
    bare, mean = (float(controls[name].values["ssim"] or 0) for name in (UNDEFENDED, MEAN_PICTURE))
    return Decision(
        state=worst_state([line.state for line in lines if line.state]),
        verdict=_verdict(defended, bare, mean),
        columns=COLUMNS,
        lines=(replace(baseline, name="undefended (lambda 0, no noise)"), *lines) if baseline else tuple(lines),
        advice=tuple(_advice(defended, lines)),
        worse=WORSE,
        heading="" if any(line.state != "partly" for line in lines) else "PARTLY REVEALED at every lambda",
    )


def _is_undefended(report: AuditReport) -> bool:
    return not any(report.settings[name] for name in ("weight", "noise"))


def _line(report: AuditReport) -> Line:
    rows = report.rows
    mean = _average(_mean_picture_ssims(report))
    states = [picture_state(*pair) for pair in zip(_best_ssims(report), _mean_picture_ssims(report), strict=True)]
    attacks = {}
    for name, column in ATTACKS.items():
        ssim = float(report.summary[column] or 0)
        failed = ssim <= mean
        attacks[name] = Cell(ssim, "below the mean picture on average" if failed else "", failed=failed)
    cells = {
        **mark_worst(attacks),
        IDENTITY: Cell(report.summary["identity_cosine"]),
        BACK: Cell(f"{states.count('comes back')} of {len(rows)}"),
        MEAN: Cell(mean),
        ACCURACY: Cell(report.summary["accuracy"], _interval_note(report, "accuracy")),
        UNDEFENDED_ACCURACY: Cell(report.summary["accuracy_undefended"]),
        CORRELATION: Cell(report.summary["mcc"], "" if report.summary["mcc"] is not None else SINGLE_CLASS),
    }
    return Line(report.release.removeprefix("representation, "), worst_state(states), cells)


def _interval_note(report: AuditReport, name: str) -> str:
    low, high = (report.summary[f"{name}_{end}"] for end in ("low", "high"))
    if low is None or high is None:
        return "no interval: one private person only"
    return f"95 % interval over {report.summary['people']} people: {float(low):.2f} to {float(high):.2f}"


def _verdict(reports: Sequence[AuditReport], bare: float, mean: float) -> str:
    sentences = [
        f"Undefended, the attack with the highest PSNR has a mean SSIM of {bare:.2f}; the mean picture has {mean:.2f}."
    ]
    for report in reports:
        name = report.release.removeprefix("representation, ")
        found = come_back_sentence(_best_ssims(report), _mean_picture_ssims(report))
        sentences.append(f"With {name}: {found}")
    return " ".join(sentences)


def _best_ssims(report: AuditReport) -> list[float]:
    """Return for each picture the SSIM of the attack that reveals most of it."""
    return [max(float(row.values[column] or 0) for column in ATTACKS.values()) for row in report.rows]


def _mean_picture_ssims(report: AuditReport) -> list[float]:
    """Return for each picture the SSIM of the mean picture."""
    return [float(row.values["ssim_mean_picture"] or 0) for row in report.rows]


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _advice(reports: Sequence[AuditReport], lines: Sequence[Line]) -> list[str]:
    last = reports[-1]
    undefended = float(last.summary["accuracy_undefended"] or 0)
    held = [report for report, line in zip(reports, lines, strict=True) if line.state == "nothing found"]
    if held:
        best = max(held, key=lambda report: float(report.summary["accuracy"] or 0))
        choice = (
            f"Use {best.release.removeprefix('representation, ')}: these attacks got nothing, at a task accuracy of "
            f"{best.summary['accuracy']:.2f} (undefended {undefended:.2f})."
        )
    else:
        least = min(reports, key=lambda report: _average(_best_ssims(report)))
        choice = (
            f"No audited lambda hides the pictures. The least is revealed with "
            f"{least.release.removeprefix('representation, ')}, at a task accuracy of {least.summary['accuracy']:.2f} "
            f"(undefended {undefended:.2f}); try larger ones (--weights 4 8) before you share."
        )
    warning = not_learned(undefended, float(last.summary["accuracy_by_chance"] or 0))
    return [
        *([warning] if warning else []),
        choice,
        "Release each picture once: noise averages out over several releases of the same picture.",
        f"Judge again with decoders of your own before you rely on it: an SSIM gain below {GAIN:g} here is no proof.",
    ]
