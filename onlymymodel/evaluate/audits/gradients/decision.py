"""The decision of the gradient audit: defenses in lines, attacks in columns, the cost in task accuracy beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.decision import (
    RECOVERED,
    Cell,
    Decision,
    Line,
    State,
    come_back_sentence,
    mark_worst,
    not_learned,
    picture_state,
    worst_state,
)
from onlymymodel.evaluate.audits.gradients.comparison import TO_ORIGINAL
from onlymymodel.evaluate.audits.gradients.defenses import parse_defense
from onlymymodel.evaluate.audits.gradients.privacy import DELTA, epsilon
from onlymymodel.evaluate.audits.options import NO_DEFENSE
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow

MEAN, BACK, EPSILON, ACCURACY = "mean picture", "come back", "epsilon", "task accuracy"
NO_GUARANTEE = "no differential privacy: the defense adds no noise that is independent of the picture after clipping"
FIRST_MULTIPLIER = 0.1  # of the noise that is advised where none was audited
WORSE = (
    "a larger attack (more steps, restarts), a network that is less trained, fewer pictures or local steps behind one "
    "gradient, batch norm statistics that are sent along, or several rounds of the same client"
)


@dataclass(frozen=True)
class Cost:
    """Task accuracy with and without a defense.

    Attributes:
        accuracies: accuracy of a network trained on gradients with each defense, by the defense's name.
        meaning: how it was measured; the reason of the dashes if there are no accuracies.
        chance: accuracy of always answering the most common class.
    """

    accuracies: Mapping[str, float]
    meaning: str
    chance: float = 0.0


@dataclass(frozen=True)
class _Audited:
    """The reports of one defense."""

    defense: str
    reports: Sequence[AuditReport]

    @property
    def best(self) -> list[float]:
        """The best SSIM of every picture over the attacks that beat the mean picture there."""
        names = [row.name for row in self.reports[0].rows]
        rows = [{row.name: row for row in report.rows} for report in self.reports]
        return [max((_ssim(by_name[name]) for by_name in rows), default=0.0) for name in names]

    @property
    def state(self) -> State:
        """The worst state of any picture under any attack."""
        return worst_state(self.states)

    @property
    def states(self) -> list[State]:
        """The state of every picture under the attack that reveals most of it."""
        return [picture_state(*pair) for pair in zip(self.best, self.guesses, strict=True)]

    @property
    def guesses(self) -> list[float]:
        """SSIM of the mean picture to every picture."""
        return [_number(row, "ssim_mean_picture") for row in self.reports[0].rows]


def gradient_decision(reports: Sequence[AuditReport], cost: Cost) -> Decision:
    """Return the decision on some gradients by the reports of `gradient_reports`."""
    by_defense: dict[str, list[AuditReport]] = {}
    for report in reports:
        by_defense.setdefault(report.settings["defense"], []).append(report)
    audited = [_Audited(name, of_defense) for name, of_defense in by_defense.items()]
    as_is = next((one for one in audited if one.defense == NO_DEFENSE), audited[0])
    columns = {
        **{name: f"mean SSIM of what {name} reconstructs" for name in dict.fromkeys(r.adversary for r in reports)},
        MEAN: "mean SSIM of the mean of the other pictures, a guess without any gradient",
        BACK: f"pictures that at least one attack returns at SSIM {RECOVERED:g} or more, above the mean picture's",
        EPSILON: f"differential privacy of one gradient that is sent or not, at delta {DELTA:g}, by Opacus; it grows "
        "with every further round",
        ACCURACY: cost.meaning,
    }
    return Decision(
        state=as_is.state,
        verdict=_verdict(as_is, audited),
        columns=columns,
        lines=tuple(_line(one, cost) for one in audited),
        advice=tuple(_advice(as_is, audited, cost)),
        worse=WORSE,
    )


def _line(one: _Audited, cost: Cost) -> Line:
    attacks = mark_worst({report.adversary: _cell(report) for report in one.reports})
    accuracy = cost.accuracies.get(one.defense)
    return Line(
        f"defense {one.defense}",
        one.state,
        {
            **attacks,
            MEAN: Cell(sum(one.guesses) / len(one.guesses)),
            BACK: Cell(f"{one.states.count('comes back')} of {len(one.best)}"),
            EPSILON: _epsilon(one.defense),
            ACCURACY: Cell(accuracy, "" if accuracy is not None else cost.meaning),
        },
    )


def _epsilon(defense: str) -> Cell:
    multiplier = parse_defense(defense).multiplier
    if multiplier is None:
        return Cell(None, NO_GUARANTEE)
    try:
        return Cell(epsilon(multiplier))
    except UserError as error:
        return Cell(None, str(error))


def _cell(report: AuditReport) -> Cell:
    """Return the mean SSIM of an attack, marked as failed if its mean PSNR or SSIM is below the mean picture's."""
    suffix = TO_ORIGINAL if "ssim" + TO_ORIGINAL in report.rows[0].values else ""
    rows = [row for row in report.rows if row.values.get("ssim" + suffix) is not None]
    if not rows:
        return Cell(None, "no gradient had a signal: it is zero or not finite, which does not make the picture private")
    ssim, psnr = (sum(_number(row, name + suffix) for row in rows) / len(rows) for name in ("ssim", "psnr"))
    guess, decibels = (
        sum(_number(row, f"{name}_mean_picture") for row in rows) / len(rows) for name in ("ssim", "psnr")
    )
    below = [
        text
        for text, failed in (
            (f"SSIM {ssim:.2f} against {guess:.2f}", ssim <= guess),
            (f"PSNR {psnr:.1f} against {decibels:.1f} dB", psnr <= decibels),
        )
        if failed
    ]
    note = f"below the mean picture on average: {' and '.join(below)}" if below else ""
    return Cell(ssim, note, failed=bool(below))


def _verdict(as_is: _Audited, audited: Sequence[_Audited]) -> str:
    name = "Without a defense" if as_is.defense == NO_DEFENSE else f"With {as_is.defense}"
    sentences = [f"{name}: {come_back_sentence(as_is.best, as_is.guesses)}"]
    for one in audited:
        if one is not as_is:
            sentences.append(f"With {one.defense}: {come_back_sentence(one.best, one.guesses)}")
    return " ".join(sentences)


def _advice(as_is: _Audited, audited: Sequence[_Audited], cost: Cost) -> list[str]:
    settings = as_is.reports[0].settings
    held = [one for one in audited if one.state == "nothing found"]
    advice = []
    if as_is.state == "nothing found":
        advice.append(
            "Do not take this as a licence to share: repeat the audit with more attacks (--attacks dlg idlg inverting "
            "gradinversion) and more pictures (--limit 32) before you rely on it."
        )
    elif held:
        best = max(held, key=lambda one: cost.accuracies.get(one.defense, 0.0))
        at = cost.accuracies.get(best.defense)
        price = f" (task accuracy {at:.2f})" if at is not None else ""
        advice.append(f"Of the audited defenses, these attacks got nothing through {best.defense}{price}: start there.")
    else:
        strongest = max(parse_defense(one.defense).multiplier or 0.0 for one in audited)
        stronger = 2 * strongest or FIRST_MULTIPLIER
        none = "No audited defense held." if len(audited) > 1 else "No other defense was audited."
        advice.append(
            f"{none} Audit stronger ones: clipping with absolute noise (--defenses clip:1+dp:{stronger:g}), "
            "until no picture comes back at a task accuracy that you can bear."
        )
    if settings["batch"] < 8:
        advice.append(
            f"Audit whether more pictures behind one gradient help: --batch {max(8, 2 * settings['batch'])}. Secure "
            "aggregation over clients has the same effect, and small pictures come back from batches too."
        )
    best_accuracy = max(cost.accuracies.values(), default=1.0)
    if warning := not_learned(best_accuracy, cost.chance):
        advice.append(warning)
    advice.append("Do not send batch norm statistics or gradients of single pictures; send sums over clients.")
    return advice


def _ssim(row: AuditRow) -> float:
    """Return the SSIM of a reconstruction, to the original if the picture is protected.

    It counts only if its PSNR beats the mean picture's too; otherwise it is 0, or the mean picture's if that is lower.
    """
    suffix = TO_ORIGINAL if "ssim" + TO_ORIGINAL in row.values else ""
    if row.values.get("ssim" + suffix) is None or _number(row, "psnr" + suffix) <= _number(row, "psnr_mean_picture"):
        return min(0.0, _number(row, "ssim_mean_picture"))
    return _number(row, "ssim" + suffix)


def _number(row: AuditRow, name: str) -> float:
    value = row.values[name]
    return float(value) if value is not None else 0.0
