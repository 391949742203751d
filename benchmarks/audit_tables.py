"""Tables of results/audits/: what each release reveals, beside its controls."""

import json
from typing import Any

from assets import RESULTS
from markup import table

Rows = list[list[str]]
SHOWN = ("psnr", "ssim", "perceptual", "identity_cosine")


def reports(part: str) -> list[dict[str, Any]]:
    """Return the reports of one part of benchmarks/audits.py; an empty list where it has not been run."""
    path = RESULTS / "audits" / f"{part}.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["reports"]) if path.exists() else []


def gradients() -> str:
    """Return the PSNR of reconstructions beside those from another picture's gradient and the mean picture."""
    rows: Rows = []
    for report in [*reports("gradients"), *(report for report in reports("faces") if "mean_psnr" in report["summary"])]:
        summary = report["summary"]
        another, mean = (control(report, name, "psnr") for name in ("another batch's", "mean of the other"))
        labels = f"{100 * summary['labels_found']:.0f} %" if summary.get("labels_found") is not None else "given"
        values = [f"{summary['pictures']}", decibel(summary["mean_psnr"]), figure(summary["mean_ssim"]), labels]
        rows.append([report["release"], report["adversary"], *values, another, mean, rho(summary)])
    head = [
        "gradient", "attack", "pictures", "mean PSNR", "mean SSIM", "labels found", "control: another gradient",
        "control: mean picture", "rho of gradient similarity and PSNR",
    ]  # fmt: skip
    return table(head, rows)


def protected_gradients() -> str:
    """Return whether the gradient of a protected picture reveals the original, as a sentence."""
    for report in reports("gradients"):
        summary = report["summary"]
        if "mean_psnr_to_original" in summary:
            itself = control(report, "the protected picture itself", "psnr_to_original")
            protected, original = (decibel(summary[name]) for name in ("mean_psnr", "mean_psnr_to_original"))
            return (
                f"The gradients of {summary['pictures']} protected portraits (epsilon 16) give the protected pictures "
                f"back at {protected}, and with them the originals at {original} (the protected picture itself: "
                f"{itself}): protection of the image does not protect its gradient.\n"
            )
    return ""


def layers() -> str:
    """Return rank correlations of attack-free measures with reconstruction quality, over the layers of each network."""
    rows: Rows = []
    for report in [*reports("intermediate"), *reports("faces")]:
        summary = report["summary"]
        if "rho_jacobian_rank_ssim" in summary:
            names = ("jacobian_rank", "stable_rank", "degrees_of_freedom", "variation")
            spread = f"{figure(summary['lowest_ssim'])} to {figure(summary['highest_ssim'])}"
            bounds = f"{figure(summary['ssim_without_a_signal'])}, {figure(summary['ssim_of_the_pixels'])}"
            auc = f"{figure(summary.get('lowest_auc'))} to {figure(summary.get('highest_auc'))}"
            correlations = [figure(summary[f"rho_{name}_ssim"]) for name in names]
            rows.append([report["release"], str(summary["layers"]), spread, bounds, auc, *correlations])
    head = [
        "network", "layers", "SSIM of reconstructions", "controls: no signal, the pixels", "membership AUC",
        "rho with SSIM: Jacobian rank", "stable rank", "degrees of freedom", "variation",
    ]  # fmt: skip
    return table(head, rows)


def epochs() -> str:
    """Return in how many layers each measure falls and then rises over the training, as a sentence."""
    for report in reports("intermediate"):
        summary = report["summary"]
        if "jacobian_rank_falls_then_rises_in" in summary:
            names = ("degrees_of_freedom", "stable_rank", "jacobian_rank")
            freedom, stable, rank = (summary[f"{name}_falls_then_rises_in"] for name in names)
            return (
                f"Over the training of the CNN on digits degrees of freedom fall and then rise in {freedom} "
                f"of {summary['layers']} layers, the stable rank in {stable}, the numerical rank of the Jacobian in "
                f"{rank}.\n"
            )
    return ""


def weights() -> str:
    """Return the gap between SSIM to training and to held-out pictures, with its interval and its controls."""
    rows: Rows = []
    for report in reports("weights"):
        row = next(row for row in report["rows"] if "gap" in row)
        values = [figure(row["ssim_training"]), figure(row["ssim_held_out"]), gap(row)]
        controls = [control_row for control_row in report["controls"] if "gap" in control_row]
        rows.append([report["release"], *values, *map(gap, controls)])
    names = [
        control_row["name"]
        for report in reports("weights")[:1]
        for control_row in report["controls"]
        if "gap" in control_row
    ]
    head = ["weights", "SSIM to training pictures", "to held-out ones", "gap [95 %]"]
    return table([*head, *(f"control: {name}" for name in names)], rows)


def representations() -> str:
    """Return the quality of the task and of a new decoder's reconstructions, by lambda; controls below."""
    by_lambda, rows = reports("representation"), Rows()
    for report in by_lambda:
        summary = report["summary"]
        task = [figure(summary["accuracy"]), figure(summary["mcc"])]
        rows.append([report["release"], *task, *(figure(summary[name]) for name in SHOWN)])
    for row in by_lambda[0]["controls"] if by_lambda else []:
        rows.append([f"control: {row['name']}", "-", "-", *(figure(row.get(name)) for name in SHOWN)])
    head = ["release", "task accuracy", "MCC", "PSNR", "SSIM", "perceptual distance", "identity cosine"]
    return table(head, rows)


def control(report: dict[str, Any], name: str, value: str) -> str:
    """Return a PSNR of the control whose name begins so."""
    for row in report["controls"]:
        if row["name"].startswith(name):
            return decibel(row.get(value))
    return "-"


def gap(row: dict[str, Any]) -> str:
    """Return a gap with its interval."""
    if row.get("gap") is None:
        return "-"
    return f"{row['gap']:.3f} [{row['gap_low']:.3f}, {row['gap_high']:.3f}]"


def rho(summary: dict[str, Any]) -> str:
    """Return the rank correlation of the cosine of gradients with PSNR."""
    return figure(summary.get("rho_gradient_cosine_psnr"))


def decibel(value: float | None) -> str:
    """Return a PSNR as text."""
    return "-" if value is None else f"{value:.1f} dB"


def figure(value: float | None) -> str:
    """Return a number with three decimals."""
    return "-" if value is None else f"{value:.3f}"
