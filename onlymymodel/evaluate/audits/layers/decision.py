"""The decision of the audit of layers: layers in lines, attacks in columns, and where to cut the network."""

from collections.abc import Sequence

from onlymymodel.evaluate.audits.decision import Cell, Decision, Line, State, mark_worst, worst_state
from onlymymodel.evaluate.audits.layers.audit import MEAN_PICTURE, NONMEMBERS, SHUFFLED
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow

INVERTER, MEMBERSHIP, BACK, MEAN, DEVICE = (
    "inverter", "membership AUC", "come back", "mean picture", "stays on the device",
)  # fmt: skip
COLUMNS = {
    INVERTER: "mean SSIM of the pictures that an inverter reconstructs from this layer's outputs",
    MEMBERSHIP: "probability that a training picture scores higher than another one; 0.5 is guessing",
    BACK: "share of the pictures that the inverter returns at SSIM 0.9 or more",
    MEAN: "mean SSIM of the mean picture, a guess without any output",
    DEVICE: "share of the network's parameters that the device computes with if it is cut here; the task's accuracy "
    "stays the same, since nothing is changed: this is the cost",
}
MARGIN = 0.1  # share of the pictures partly revealed above that of an inverter of shuffled pairs, a control
DEVIATIONS = 3  # standard deviations above guessing from which an AUC counts: many layers are tested
WORSE = (
    "a stronger inverter, more or more similar pictures of the adversary's own, several layers or several outputs of "
    "one picture at once, or a network that has memorized its training pictures"
)


def layer_decision(report: AuditReport) -> Decision:
    """Return the decision on a network's layers by a `LayerAdversary`'s report."""
    mean = next((float(row.values["ssim"] or 0) for row in report.controls if row.name == MEAN_PICTURE), None)
    lines = tuple(_line(report, row, mean) for row in report.rows)
    as_is = worst_state([line.state for line in lines if line.state])
    return Decision(
        state=as_is,
        verdict=_verdict(report, lines, mean),
        columns=COLUMNS,
        lines=lines,
        advice=tuple(_advice(lines)),
        worse=WORSE,
        heading={
            "comes back": "NOT SAFE to send every layer",
            "partly": "Some layers are PARTLY REVEALING",
            "nothing found": "",
        }[as_is],
    )


def _line(report: AuditReport, row: AuditRow, mean: float | None) -> Line:
    ssim, auc = row.values["ssim"], row.values["auc"]
    failed = ssim is not None and mean is not None and float(ssim) <= mean
    shuffled = next((row.values.get("partly") for row in report.controls if row.name == SHUFFLED), None)
    state: State = "nothing found"
    if row.values.get("come_back"):
        state = "comes back"
    elif float(row.values.get("partly") or 0) > float(shuffled or 0) + MARGIN:
        state = "partly"
    betrays = auc is not None and float(auc) > 0.5 + DEVIATIONS * float(row.values["auc_deviation"] or 0)
    attacks = {
        INVERTER: Cell(ssim, report.missing.get("ssim", "below the mean picture" if failed else ""), failed=failed)
    }
    cells = {
        **(mark_worst(attacks) if state != "nothing found" else attacks),
        MEMBERSHIP: Cell(auc, report.missing.get("auc", ""), worst=betrays),
        BACK: Cell(row.values.get("come_back"), report.missing.get("come_back", "")),
        MEAN: Cell(mean, "" if mean is not None else "no inverter was trained"),
        DEVICE: Cell(row.values["on_device"]),
    }
    return Line(row.name, worst_state([state, "partly" if betrays else "nothing found"]), cells)


def _verdict(report: AuditReport, lines: Sequence[Line], mean: float | None) -> str:
    if mean is None:
        return "No inverter was trained, so nothing is known of reconstruction."
    ssims = [float(row.values["ssim"] or 0) for row in report.rows]
    highest, lowest = (choose(range(len(ssims)), key=lambda index: ssims[index]) for choose in (max, min))
    sentences = [
        f"Of {len(lines)} layers, pictures come back from {sum(line.state == 'comes back' for line in lines)} and "
        f"{sum(line.state == 'partly' for line in lines)} more are partly revealing.",
        f"{lines[highest].name} returns pictures at a mean SSIM of {ssims[highest]:.2f}, {lines[lowest].name} at "
        f"{ssims[lowest]:.2f}; the mean picture, which needs no output, has {mean:.2f}.",
    ]
    aucs = [(float(auc), row.name) for row in report.rows if (auc := row.values["auc"]) is not None]
    if aucs:
        auc, name = max(aucs)
        control = next((row for row in report.controls if row.name == NONMEMBERS), None)
        beside = f"; among pictures that it never saw, up to {control.values['highest_auc']:.2f}" if control else ""
        sentences.append(f"Training pictures are told apart at an AUC of up to {auc:.2f} ({name}){beside}.")
    return " ".join(sentences)


def _advice(lines: Sequence[Line]) -> list[str]:
    """Return where to cut: before which layers everything is revealed, and after which nothing was found."""
    revealing = [index for index, line in enumerate(lines) if line.state != "nothing found"]
    back = [index for index, line in enumerate(lines) if line.state == "comes back"]
    advice = []
    if not revealing:
        advice.append(
            f"If you must send outputs, cut at {lines[-1].name} rather than earlier, and repeat the audit with "
            "--steps 3000 and pictures like yours before you rely on this."
        )
    elif revealing[-1] + 1 < len(lines):
        cut = lines[revealing[-1] + 1]
        share = cut.cells[DEVICE].value
        advice.append(
            f"Cut at {cut.name} or later: these attacks got nothing from there on. The device then computes with "
            f"{float(share or 0):.0%} of the parameters."
        )
    elif back and back[-1] + 1 < len(lines):
        cut = lines[back[-1] + 1]
        advice.append(
            f"No layer is free of leaks; no picture comes back whole from {cut.name} on. Cut there or later, and add "
            "noise to what is sent."
        )
    else:
        advice.append(
            "Cutting does not help: every layer reveals something. Send only the final answer, or train an encoder "
            "that hides the picture: omm protect-representation."
        )
    advice.append("Send one output for each picture, rounded and with noise, and not the outputs of several layers.")
    return advice
