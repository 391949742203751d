"""The decision of the audit of weights: kinds of evidence in lines, and what the network is worth to its task."""

from collections.abc import Mapping

from onlymymodel.evaluate.audits.decision import RECOVERED, Cell, Decision, Line, State, worst_state
from onlymymodel.evaluate.audits.report import AuditReport, Value
from onlymymodel.evaluate.audits.weights.audit import EVIDENCE, GENERATOR, RECONSTRUCTION, RIGHT

FINDING, CONTROL, LOW, HIGH = "training pictures", "other pictures", "difference, low", "difference, high"
COLUMNS = {
    FINDING: "the figure of the line for the pictures that the network was trained on",
    CONTROL: "the same figure for as many pictures of the same classes that it was not trained on",
    LOW: "lower end of the difference's 95 % interval; above 0 the weights betray their training pictures",
    HIGH: "upper end of the difference's 95 % interval",
}
CORRELATED = 0.9  # correlation from which a rebuilt picture counts as come back, as for an SSIM
MARGIN = 0.1  # of the mean correlation of the ten best above that with other pictures
QUIET: State = "nothing found"
WORSE = (
    "longer training, fewer pictures for each class, no regularization or augmentation, and an adversary who knows "
    "some of the training pictures or has candidates to test"
)
COSINE = "cosine of the weights with the best non-negative combination of these pictures' margin gradients"


def weights_decision(report: AuditReport) -> Decision:
    """Return the decision on released weights by the report of `weights_report`."""
    by_name = {row.name: row.values for row in report.rows}
    lines = [_evidence("margin gradients", by_name[EVIDENCE], report)]
    lines.append(_evidence("margin gradients, right answers only", by_name[RIGHT], report))
    lines.append(_reconstruction(by_name[RECONSTRUCTION]))
    if GENERATOR in by_name:
        lines.append(_generator(report, by_name[GENERATOR]))
    state = worst_state([line.state for line in lines if line.state])
    return Decision(
        state=state,
        verdict=_verdict(report),
        columns=COLUMNS,
        lines=(*lines, *_accuracy(report)),
        advice=tuple(_advice(state)),
        worse=WORSE,
        heading="NOT SAFE if membership is a secret" if state == "partly" else "",
    )


def _evidence(name: str, values: Mapping[str, Value], report: AuditReport) -> Line:
    low, note = values["difference_low"], report.missing.get("cosine_training", COSINE)
    betrays = low is not None and float(low) > 0
    cells = {
        FINDING: Cell(values["cosine_training"], COSINE if low is not None else note, worst=betrays),
        CONTROL: Cell(values["cosine_others"], "" if low is not None else note),
        LOW: Cell(low, "" if low is not None else note),
        HIGH: Cell(values["difference_high"], "" if low is not None else note),
    }
    state: State = "partly" if betrays else QUIET
    return Line(name, state if low is not None else None, cells)


def _reconstruction(values: Mapping[str, Value]) -> Line:
    own, other, best = (
        float(values[name] or 0) for name in ("correlation_training", "correlation_others", "best_correlation")
    )
    state: State = "partly" if own > other + MARGIN else QUIET
    if state == "partly" and best >= CORRELATED:
        state = "comes back"
    no_interval = "the ten best candidates of one reconstruction have no interval here"
    cells = {
        FINDING: Cell(own, "mean correlation of the ten best candidates, less the class mean", worst=state != QUIET),
        CONTROL: Cell(other),
        LOW: Cell(None, no_interval),
        HIGH: Cell(None, no_interval),
    }
    return Line("reconstructed pictures", state, cells)


def _generator(report: AuditReport, values: Mapping[str, Value]) -> Line:
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
    """Return the verdict by rightly answered pictures, the stricter control, where there are enough of them."""
    by_name = {row.name: row.values for row in report.rows}
    strict = by_name[RIGHT]["cosine_training"] is not None
    evidence, rebuilt = by_name[RIGHT if strict else EVIDENCE], by_name[RECONSTRUCTION]
    sentences = ["There were too few pictures to test the weights with."]
    if evidence["cosine_training"] is not None:
        says = "betray" if float(evidence["difference_low"] or 0) > 0 else "do not betray"
        sentences = [
            f"The weights {says} which pictures they were trained on: margin gradients of {evidence['pictures']} "
            f"training pictures explain them at a cosine of {evidence['cosine_training']:.2f}, those of as many others "
            f"{'that are answered rightly too ' if strict else ''}at {evidence['cosine_others']:.2f} (95 % interval of "
            f"the difference {evidence['difference_low']:.2f} to {evidence['difference_high']:.2f})."
        ]
        if not strict:
            sentences.append(
                "Too few others are answered rightly for the stricter control: wrong answers alone may make the "
                "difference, and tell training pictures apart without the weights."
            )
    sentences.append(
        f"The ten best reconstructed pictures correlate at {rebuilt['correlation_training']:.2f} with training "
        f"pictures and at {rebuilt['correlation_others']:.2f} with others; the best at "
        f"{rebuilt['best_correlation']:.2f}."
    )
    return " ".join(sentences)


def _advice(state: State) -> list[str]:
    first = (
        "Do not release these weights if nobody may know who is in the training set; train with differential privacy "
        "(DP-SGD, for example by Opacus), more pictures for each class and fewer epochs, and audit again."
        if state != "nothing found"
        else "Nothing was found by these attacks, and stronger ones exist: release weights only if the training set "
        "may become known, or train with differential privacy."
    )
    return [first, "Offer answers instead of weights where that suffices, with labels and without probabilities."]
