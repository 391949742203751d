"""The decision of the audit of weights: kinds of evidence in lines, and what the network is worth to its task."""

from onlymymodel.evaluate.audits.decision import RECOVERED, Cell, Decision, Line, State, worst_state
from onlymymodel.evaluate.audits.report import AuditReport

FINDING, CONTROL, LOW, HIGH = "training pictures", "other pictures", "difference, low", "difference, high"
COLUMNS = {
    FINDING: "the figure of the line for the pictures that the network was trained on",
    CONTROL: "the same figure for as many pictures that it was not trained on",
    LOW: "lower end of the difference's 95 % interval; above 0 the weights betray their training pictures",
    HIGH: "upper end of the difference's 95 % interval",
}
WORSE = (
    "longer training, fewer pictures for each class, no regularization or augmentation, and an adversary who knows "
    "some of the training pictures or has candidates to test"
)


def weights_decision(report: AuditReport) -> Decision:
    """Return the decision on released weights by the report of `weights_report`."""
    line = _generator(report)
    lines = (line, *_accuracy(report))
    state = worst_state([line.state for line in lines if line.state])
    return Decision(
        state=state,
        verdict=_verdict(report),
        columns=COLUMNS,
        lines=lines,
        advice=tuple(_advice(state)),
        worse=WORSE,
    )


def _generator(report: AuditReport) -> Line:
    values = report.rows[0].values
    low = float(values["gap_low"] or 0)
    closest = max(float(row.values.get("ssim_closest") or 0) for row in report.rows)
    state: State = "nothing found"
    if low > 0:
        state = "comes back" if closest >= RECOVERED else "partly"
    cells = {
        FINDING: Cell(values["ssim_training"], "mean SSIM of generated pictures to matched pictures", worst=low > 0),
        CONTROL: Cell(values["ssim_held_out"]),
        LOW: Cell(low),
        HIGH: Cell(values["gap_high"]),
    }
    return Line("generated pictures", state, cells)


def _accuracy(report: AuditReport) -> list[Line]:
    training = report.settings["training"]
    if "accuracy_training" not in training:
        return []
    no_interval = "the accuracies of one network have no interval here"
    cells = {
        FINDING: Cell(training["accuracy_training"]),
        CONTROL: Cell(training["accuracy_held_out"]),
        LOW: Cell(None, no_interval),
        HIGH: Cell(None, no_interval),
    }
    return [Line("task accuracy", None, cells)]


def _verdict(report: AuditReport) -> str:
    values = report.rows[0].values
    return (
        f"Generated pictures have a mean SSIM of {values['ssim_training']:.2f} to training pictures and "
        f"{values['ssim_held_out']:.2f} to others: a gap of {values['gap']:.3f} (95 % interval {values['gap_low']:.3f} "
        f"to {values['gap_high']:.3f})."
    )


def _advice(state: State) -> list[str]:
    first = (
        "Do not release these weights if nobody may know who is in the training set; train with differential privacy "
        "(DP-SGD, for example by Opacus), more pictures for each class and fewer epochs, and audit again."
        if state != "nothing found"
        else "Nothing was found by these attacks, and stronger ones exist: release weights only if the training set "
        "may become known, or train with differential privacy."
    )
    return [first, "Offer answers instead of weights where that suffices, with labels and without probabilities."]
