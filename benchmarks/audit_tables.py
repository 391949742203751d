"""Tables of results/audits/: what each release reveals, beside its controls, with 95 % intervals."""

import json
from typing import Any

from assets import RESULTS
from audit_units import interval
from markup import table

Rows = list[list[str]]
Figure = dict[str, Any] | None
DIGITS = "digits"  # which show nobody
MEASURE_NAMES = {
    "degrees_of_freedom": "degrees of freedom",
    "jacobian_rank": "rank of the Jacobian",
    "stable_rank": "stable rank",
    "variation": "variation",
    "auc": "membership AUC",
}
PREDICTOR_NAMES = {
    "jacobian_norm": "norm of the Jacobian",
    "s_max": "s_max",
    "s_min_cosine": "s_min of the direction",
    "gradient_cosine": "cosine of the gradients after the attack",
}


def tables(part: str, name: str) -> list[dict[str, Any]]:
    """Return the lines of one table of a part of benchmarks/audits.py; an empty list where it has not been run."""
    return list(content(part).get("tables", {}).get(name, []))


def content(part: str) -> dict[str, Any]:
    """Return the results of a part of benchmarks/audits.py; empty where it has not been run."""
    path = RESULTS / "audits" / f"{part}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def gradients() -> str:
    """Return similarity of reconstructions with intervals over gradients, beside the mean picture."""
    rows: Rows = []
    for line in [*tables("gradients", "gradients"), *tables("faces", "gradients")]:
        labels = "given" if line["labels_found"] is None else f"{100 * line['labels_found']:.0f} %"
        failed = (
            " (failed)" if line["ssim_gain"] and min(line["ssim_gain"]["mean"], line["psnr_gain"]["mean"]) <= 0 else ""
        )
        back = f"{line['come_back']} of {line['pictures']}"
        values = [spread(line["psnr"], "{:.1f}"), spread(line["ssim"]), plain(line["ssim_mean_picture"]), back, labels]
        rows.append([line["gradient"], line["defense"], line["attack"] + failed, *values])
    head = [
        "gradient", "defense", "attack", "PSNR in dB [95 %]", "SSIM [95 %]", "SSIM of the mean picture", "come back",
        "labels found",
    ]  # fmt: skip
    return table(head, rows)


def predictors() -> str:
    """Return rank correlations of the predictors of the risk with the PSNR of the reconstructions."""
    rows: Rows = []
    for line in tables("gradients", "gradients"):
        if len(line["correlations"]) > 1:  # predictors were computed
            cells = [correlation(line["correlations"].get(name)) for name in PREDICTOR_NAMES]
            rows.append([f"{line['gradient']}, {line['attack']}", *cells])
    return table(["gradient and attack", *(f"rho of {name} (p, n)" for name in PREDICTOR_NAMES.values())], rows)


def protected_gradients() -> str:
    """Return whether the gradient of a protected picture reveals the original, as a sentence."""
    reports = (report for unit in content("gradients").get("units", []) for report in unit["reports"])
    report = next((report for report in reports if "psnr_to_original" in report["rows"][0]), None)
    if report is None:
        return ""
    rows = report["rows"]
    found, original = (spread(interval([row[name] for row in rows]), "{:.1f}") for name in ("psnr", "psnr_to_original"))
    controls = [row for row in report["controls"] if row["name"] == "the protected picture itself"]
    itself = f"{controls[0]['psnr_to_original']:.1f}"
    return (
        f"The gradients of {len(rows)} protected portraits (epsilon 16) give the protected pictures back at {found} "
        f"dB, and with them the originals at {original} dB (the protected pictures themselves: {itself} dB): "
        "protection of the image does not protect its gradient.\n"
    )


def layers() -> str:
    """Return reconstruction, noise and membership by layer, with intervals over seeds."""
    rows: Rows = []
    for line in [*tables("intermediate", "layers"), *tables("faces", "layers")]:
        attacks = [spread(line[name]) for name in ("ssim", "ssim_refined", "ssim_with_noise")]
        accuracies = [spread(line[name]) for name in ("accuracy_unchanged", "accuracy_with_noise")]
        rows.append([line["network"], line["layer"], *attacks, *accuracies, spread(line["auc"])])
    head = [
        "network", "layer", "SSIM of an inverter [95 %]", "refined with the network", "inverter, with noise",
        "accuracy", "accuracy, with noise", "membership AUC",
    ]  # fmt: skip
    return table(head, rows)


def networks() -> str:
    """Return controls, membership inference from answers, and rank correlations of measures with reconstructions."""
    rows: Rows = []
    for line in [*tables("intermediate", "networks"), *tables("faces", "networks")]:
        loss, shadows, rho = line["loss"], line["shadows"], line["rho_with_ssim"]
        values = [spread(line["ssim_of_the_pixels"]), spread(line["ssim_without_a_signal"])]
        values += [spread(attack[name]) for attack in (loss, shadows) for name in ("auc", "tpr")]
        values += [plain(rho[name], "{:.2f}") for name in rho]
        rows.append([line["network"], str(line["seeds"]), str(line["layers"]), *values])
    head = [
        "network", "seeds", "layers", "SSIM of the pixels", "SSIM without a signal", "AUC of the loss",
        "TPR at 1 % FPR of the loss", "AUC of shadow networks", "TPR at 1 % FPR of shadow networks",
        "rho with SSIM over layers: degrees of freedom", "rank of the Jacobian", "stable rank", "variation",
    ]  # fmt: skip
    return table(head, rows)


def epochs() -> str:
    """Return for each measure its falls and rises over the training, over the layers."""
    rows: Rows = []
    for line in tables("intermediate", "epochs"):
        known = [change for change in line["changes"].values() if change["fall"] is not None]
        falls, rises = ([change[name] for change in known] for name in ("fall", "rise"))
        spans = [f"{100 * min(side):.0f} % to {100 * max(side):.0f} %" if side else "-" for side in (falls, rises)]
        rows.append([MEASURE_NAMES[line["measure"]], f"{line['falls_then_rises_in']} of {line['layers']}", *spans])
    head = ["measure", "layers in which it falls and then rises", "mean fall, over the layers", "mean rise"]
    return table(head, rows)


def weights() -> str:
    """Return whether weights betray their training pictures, beside what the networks are worth to their task."""
    rows: Rows = []
    for line in tables("weights", "evidence"):
        names = ("accuracy_training", "accuracy_others", "cosine_training", "cosine_others", "difference")
        cells = [spread(line[name]) for name in (*names, "right_difference")]
        rows.append([line["network"], str(line["seeds"]), *cells])
    head = [
        "network, set", "seeds", "accuracy on training pictures", "on others", "cosine with training pictures [95 %]",
        "with others", "difference", "difference, right answers only",
    ]  # fmt: skip
    return table(head, rows)


def whole_weights() -> str:
    """Return reconstructions from weights and generated pictures, of one training each."""
    rows: Rows = []
    for line in tables("weights", "whole"):
        names = ("correlation_training", "correlation_others", "best_correlation", "best_correlation_others")
        gap = f"{line['gap']:.3f} [{line['gap_low']:.3f}, {line['gap_high']:.3f}]" if "gap" in line else "-"
        rows.append([line["network"], *(f"{line[name]:.2f}" for name in names), gap])
    head = [
        "network", "ten best reconstructions: correlation with training pictures", "with others", "the best: with "
        "training pictures", "with others", "generated pictures: gap of SSIM [95 %]",
    ]  # fmt: skip
    return table(head, rows)


def representations() -> str:
    """Return the quality of the task and of the best attack's reconstructions with intervals over people."""
    rows: Rows = []
    for line in tables("representation", "representations"):
        names = ("mcc", "accuracy", "accuracy_over_undefended", "ssim", "ssim_over_undefended")
        cells = [spread(line[name]) for name in names]
        rows.append([line["pictures"], line["representation"], *cells, _identity(line)])
    for line in tables("representation", "controls"):
        # the first representation, and the same pictures again, are left out
        if line["pictures"] in (rows[0][0], DIGITS) and not line["control"].startswith("lambda 0"):
            cells = ["-", "-", "-", spread(line["ssim"]), "-", _identity(line)]
            rows.append([line["pictures"], f"control: {line['control']}", *cells])
    head = [
        "pictures", "representation", "task MCC [95 %]", "task accuracy", "minus undefended", "SSIM of the best attack",
        "minus undefended", "identity cosine",
    ]  # fmt: skip
    return table(head, rows)


def _identity(line: dict[str, Any]) -> str:
    return "-" if line["pictures"] == DIGITS else spread(line["identity_cosine"])


def spread(figure: Figure, form: str = "{:.2f}") -> str:
    """Return a mean with its interval."""
    if figure is None:
        return "-"
    if figure["low"] is None:
        return form.format(figure["mean"])
    return " ".join([form.format(figure["mean"]), f"[{form.format(figure['low'])}, {form.format(figure['high'])}]"])


def plain(figure: Figure, form: str = "{:.2f}") -> str:
    """Return a mean."""
    return "-" if figure is None else form.format(figure["mean"])


def correlation(figure: dict[str, Any] | None) -> str:
    """Return a rank correlation with its p-value and n."""
    if figure is None or figure["rho"] is None:
        return "-"
    p = "< 0.001" if figure["p"] < 0.001 else f"{figure['p']:.3f}"
    return f"{figure['rho']:.2f} ({p}, {figure['n']})"
