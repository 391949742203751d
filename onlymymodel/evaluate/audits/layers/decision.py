"""The decision of the audit of layers: layers in lines, attacks in columns, and where to cut the network."""

from collections.abc import Sequence

from onlymymodel.evaluate.audits.decision import GAIN, Cell, Decision, Line, State, mark_worst, worst_state
from onlymymodel.evaluate.audits.layers.audit import LOSS_THRESHOLD, MEAN_PICTURE, NONMEMBERS, SHADOWS, SHUFFLED
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow, Value

INVERTER, REFINED, MEMBERSHIP, TPR, BACK, MEAN, DEVICE = (
    "inverter", "refined", "membership AUC", "TPR at 1 % FPR", "come back", "mean picture", "stays on the device",
)  # fmt: skip
NOISY, NOISY_ACCURACY = "inverter, with noise", "accuracy, with noise"
COLUMNS = {
    INVERTER: "mean SSIM of the pictures that an inverter reconstructs from this layer's outputs",
    REFINED: "the same of some pictures, if the adversary has the network and refines the inverter's results with it",
    MEMBERSHIP: "probability that a training picture scores higher than another one; 0.5 is guessing",
    TPR: "share of the training pictures that are found while 1 % of the others are taken for one; 0.01 is guessing",
    BACK: "share of the pictures that one of the two returns at SSIM 0.9 or more",
    MEAN: "mean SSIM of the mean picture, a guess without any output",
    DEVICE: "share of the network's parameters that the device computes with if it is cut here; the task's accuracy "
    "stays the same without noise: this is the cost",
    NOISY: "mean SSIM of an inverter of outputs with the Gaussian noise of the bound (--bound), by which every "
    "estimate without further knowledge of pictures has a large error",
    NOISY_ACCURACY: "accuracy of the network's answers on these pictures with that noise on this layer",
}
NOISY_COST = "accuracy_with_noise"
USES_LABEL = "this attack reads the network's answer and the true label, and no layer"
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
    answers = tuple(_answer_line(row) for row in _answer_rows(report))
    as_is = worst_state([line.state for line in (*lines, *answers) if line.state])
    return Decision(
        state=as_is,
        verdict=_verdict(report, lines, mean),
        columns={
            name: text for name, text in COLUMNS.items() if any(name in line.cells for line in (*lines, *answers))
        },
        lines=(*lines, *answers),
        advice=tuple(_advice(lines, report, mean)),
        worse=WORSE,
        heading={
            "comes back": "NOT SAFE to send every layer",
            "partly": "Some layers are PARTLY REVEALING",
            "nothing found": "",
        }[as_is],
    )


def _line(report: AuditReport, row: AuditRow, mean: float | None) -> Line:
    shuffled = next((row.values.get("partly") for row in report.controls if row.name == SHUFFLED), None)
    state: State = "nothing found"
    if row.values.get("come_back"):
        state = "comes back"
    elif float(row.values.get("partly") or 0) > float(shuffled or 0) + MARGIN:
        state = "partly"
    attacks = {
        name: _attack(row.values[column], mean, report.missing.get(column, ""))
        for name, column in ((INVERTER, "ssim"), (REFINED, "ssim_refined"))
    }
    betrays = _betrays(row)
    cells = {
        **(mark_worst(attacks) if state != "nothing found" else attacks),
        MEMBERSHIP: Cell(row.values["auc"], report.missing.get("auc", ""), worst=betrays),
        BACK: Cell(row.values.get("come_back"), report.missing.get("come_back", "")),
        MEAN: Cell(mean, "" if mean is not None else "no inverter was trained"),
        DEVICE: Cell(row.values["on_device"]),
    }
    if mean is not None:
        for name, column in (
            (NOISY, "ssim_with_noise"),
            (NOISY_ACCURACY, NOISY_COST),
        ):
            cells[name] = Cell(row.values[column], report.missing.get(column, ""))
    return Line(_name(report, row), worst_state([state, "partly" if betrays else "nothing found"]), cells)


def _name(report: AuditReport, row: AuditRow) -> str:
    """Return the name of a layer with the kind of its module, as names such as `net.4` say little."""
    return f"{row.name} ({report.settings['kinds'][row.name]})"


def _attack(ssim: Value, mean: float | None, missing: str) -> Cell:
    failed = ssim is not None and mean is not None and float(ssim) <= mean
    return Cell(ssim, missing if ssim is None else "below the mean picture" if failed else "", failed=failed)


def _answer_line(row: AuditRow) -> Line:
    """Return the line of an attack that infers membership from the network's answer and the true label."""
    betrays = _betrays(row)
    cells = {
        MEMBERSHIP: Cell(row.values["auc"], USES_LABEL, worst=betrays),
        TPR: Cell(row.values["tpr"], worst=betrays),
    }
    return Line(row.name, "partly" if betrays else "nothing found", cells)


def _betrays(row: AuditRow) -> bool:
    """Return whether an attack's AUC is clearly above guessing."""
    auc = row.values["auc"]
    return auc is not None and float(auc) > 0.5 + DEVIATIONS * float(row.values["auc_deviation"] or 0)


def _verdict(report: AuditReport, lines: Sequence[Line], mean: float | None) -> str:
    if mean is None:
        return "No inverter was trained, so nothing is known of reconstruction."
    ssims = [max(float(row.values[name] or 0) for name in ("ssim", "ssim_refined")) for row in report.rows]
    highest, lowest = (choose(range(len(ssims)), key=lambda index: ssims[index]) for choose in (max, min))
    sentences = [
        f"Of {len(lines)} layers, pictures come back from {sum(line.state == 'comes back' for line in lines)} and "
        f"{sum(line.state == 'partly' for line in lines)} more are partly revealing.",
        f"Layer {lines[highest].name} returns pictures at a mean SSIM of {ssims[highest]:.2f}, {lines[lowest].name} at "
        f"{ssims[lowest]:.2f}; the mean picture, which needs no output, has {mean:.2f}.",
    ]
    answers = _answer_rows(report)
    aucs = [(float(auc), row.name) for row in (*report.rows, *answers) if (auc := row.values["auc"]) is not None]
    if aucs:
        auc, name = max(aucs)
        control = next((row for row in report.controls if row.name == NONMEMBERS), None)
        beside = f"; among pictures that it never saw, up to {control.values['highest_auc']:.2f}" if control else ""
        sentences.append(f"Training pictures are told apart at an AUC of up to {auc:.2f} ({name}){beside}.")
    found = next((row.values["tpr"] for row in answers if row.name == SHADOWS and _betrays(row)), None)
    if found is not None:
        sentences.append(
            f"Shadow networks find {100 * float(found):.0f} % of them while taking 1 % of the others for one."
        )
    return " ".join(sentences)


def _advice(lines: Sequence[Line], report: AuditReport, mean: float | None) -> list[str]:
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
            "Cutting does not help: even the last of these outputs reveals something. Send the answer's label alone, "
            "or train an encoder that hides the picture: omm protect-representation."
        )
    advice += _noise_advice(report, mean)
    if any(line.state != "nothing found" for line in map(_answer_line, _answer_rows(report))):
        advice.append(
            "Answers tell training pictures from others better than guessing does, and no cut hides that: train "
            "with more pictures, fewer epochs or differential privacy, or answer with labels only."
        )
    advice.append("Send one output for each picture, and not the outputs of several layers.")
    return advice


def _noise_advice(report: AuditReport, mean: float | None) -> list[str]:
    """Return at which layer the noise of the bound helps, with its cost, or that it does not."""
    rows = [row for row in report.rows if row.values.get(NOISY_COST) is not None]
    if not rows or mean is None:
        return []
    held = [row for row in rows if float(row.values["ssim_with_noise"] or 0) < mean + GAIN]
    if held:
        best = max(held, key=lambda row: float(row.values[NOISY_COST] or 0))
        text = "an inverter of the noisy outputs gets nothing"
    else:
        best = min(rows, key=lambda row: float(row.values["ssim_with_noise"] or 0))
        text = (
            "the bound does not hold for an inverter that has learned from pictures of this kind: even here it reaches "
            f"an SSIM of {float(best.values['ssim_with_noise'] or 0):.2f}, so audit more noise (--bound 0.99) or do "
            "not rely on it"
        )
    noise, cost, usual = (float(best.values[name] or 0) for name in ("noise", NOISY_COST, "accuracy_unchanged"))
    return [
        f"Noise: with a Gaussian deviation of {noise:.3g} on every output of {_name(report, best)} the accuracy is "
        f"{cost:.2f} (without noise {usual:.2f}); {text}."
    ]


def _answer_rows(report: AuditReport) -> list[AuditRow]:
    return [row for row in report.controls if row.name in (LOSS_THRESHOLD, SHADOWS)]
