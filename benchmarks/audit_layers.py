"""The layers of benchmarks/audits.py: reconstruction, noise and membership over seeds, and the layers over epochs."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from audit_units import SEEDS, Figures, Measured, Unit, interval
from torch import nn

from onlymymodel.evaluate.audits.layers.audit import (
    LOSS_THRESHOLD,
    NONMEMBERS,
    PIXELS,
    SHADOWS,
    SHUFFLED,
    LayerAdversary,
)
from onlymymodel.evaluate.audits.layers.decision import layer_decision
from onlymymodel.evaluate.audits.layers.epochs import MEASURES, epochs_report
from onlymymodel.evaluate.audits.layers.figures import ATTACK_FREE
from onlymymodel.evaluate.audits.layers.plots import epochs_plot, layer_plot
from onlymymodel.evaluate.audits.layers.release import LayerRelease
from onlymymodel.evaluate.audits.networks import small_network, train_network
from onlymymodel.evaluate.audits.page import Plot, Section
from onlymymodel.evaluate.audits.pictures import Pictures, digit_pictures, portrait_pictures
from onlymymodel.evaluate.audits.report import audit_release

PACKAGES = ("layers",)
EPOCHS = (0, 1, 2, 5, 10, 20, 40)
TRAINED = 40  # epochs, of the networks whose layers are attacked
STEPS, SHADOW_NETWORKS = 100, 6
COLUMNS = (
    "ssim", "ssim_unrefined", "ssim_refined", "come_back", "auc", "ssim_with_noise", "accuracy_unchanged",
    "accuracy_with_noise", "noise", "on_device", *ATTACK_FREE,
)  # fmt: skip


def units() -> list[Unit]:
    """Return the units."""
    return [
        *(Unit("CNN, digits", seed, partial(_digits, seed)) for seed in SEEDS),
        *(Unit("CNN, portraits", seed, partial(_portraits, seed)) for seed in SEEDS[:3]),
        Unit("CNN, digits, over the epochs", 0, _over_epochs),
    ]


def tables(results: Sequence[dict[str, Any]]) -> Figures:
    """Return layers, controls and correlations of each network with intervals over seeds, and falls and rises."""
    found: Figures = {"layers": [], "networks": [], "epochs": []}
    names = dict.fromkeys(result["name"] for result in results)
    for name in names:
        reports = [report for result in results if result["name"] == name for report in result["reports"]]
        if "over the epochs" in name:
            found["epochs"] += epochs_table(name, reports[0])
        else:
            found["layers"] += layers_table(name, reports)
            found["networks"].append(network_line(name, reports))
    return found


def layers_table(name: str, reports: Sequence[dict[str, Any]]) -> list[Figures]:
    """Return a line for each layer, with intervals over the reports, one for each seed."""
    lines = []
    for index, row in enumerate(reports[0]["rows"]):
        rows = [report["rows"][index] for report in reports]
        columns = {column: interval([own.get(column) for own in rows]) for column in COLUMNS}
        lines.append({"network": name, "layer": row["name"], **columns})
    return lines


def network_line(name: str, reports: Sequence[dict[str, Any]]) -> Figures:
    """Return controls, membership and rank correlations of one network, with intervals over the seeds."""

    def control(row_name: str, column: str) -> Figures | None:
        rows = [row for report in reports for row in report["controls"] if row["name"] == row_name]
        return interval([row.get(column) for row in rows])

    correlations = {
        measure: interval([report["summary"][f"rho_{measure}_ssim"] for report in reports]) for measure in ATTACK_FREE
    }
    return {
        "network": name,
        "seeds": len(reports),
        "layers": reports[0]["summary"]["layers"],
        "pictures": reports[0]["settings"]["pictures"],
        "ssim_of_the_pixels": control(PIXELS, "ssim"),
        "ssim_without_a_signal": control(SHUFFLED, "ssim"),
        "highest_auc": interval([report["summary"].get("highest_auc") for report in reports]),
        "highest_auc_of_nonmembers": control(NONMEMBERS, "highest_auc"),
        "loss": {column: control(LOSS_THRESHOLD, column) for column in ("auc", "tpr")},
        "shadows": {column: control(SHADOWS, column) for column in ("auc", "tpr")},
        "rho_with_ssim": correlations,
    }


def epochs_table(name: str, report: dict[str, Any]) -> list[Figures]:
    """Return falls and rises of every measure in every layer, and in how many layers both are above 0."""
    lines = []
    for measure in MEASURES:
        rows = [row for row in report["rows"] if "epoch" not in row]
        changes = {
            row["layer"]: {
                f"{change}{end}": row[f"{measure}_{change}{end}"]
                for change in ("fall", "rise")
                for end in ("", "_low", "_high")
            }
            for row in rows
        }
        count = report["summary"][f"{measure}_falls_then_rises_in"]
        lines.append(
            {
                "network": name,
                "measure": measure,
                "seeds": report["settings"]["seeds"],
                "layers": len(rows),
                "falls_then_rises_in": count,
                "changes": changes,
            }
        )
    return lines


def _digits(seed: int) -> Measured:
    members, others = digit_pictures(16).split(600, seed)[0].split(300, seed)
    return _audit("CNN, digits", members, others, seed, max_layers=5)


def _portraits(seed: int) -> Measured:
    members, others = portrait_pictures(400, 32, task="identity", seed=seed).split(200, seed)
    return _audit("CNN, portraits", members, others, seed, max_layers=3)


def _audit(name: str, members: Pictures, others: Pictures, seed: int, max_layers: int) -> Measured:
    def retrain(pictures: Pictures, own_seed: int) -> nn.Module:
        channels, size = members.pixels.shape[1:3]
        network = small_network("cnn", channels, size, members.classes, seed=own_seed)
        train_network(network, pictures, epochs=TRAINED, seed=own_seed, progress=False)
        return network

    release = LayerRelease(name, retrain(members, seed), others, members, max_layers=max_layers, retrain=retrain)
    report = audit_release(release, LayerAdversary(steps=STEPS, shadows=SHADOW_NETWORKS, seed=seed))
    section = Section(report, (Plot(layer_plot(report), f"{name}: layer by layer"),))
    return Measured([section], layer_decision(report))


def _over_epochs() -> Measured:
    members, others = digit_pictures(16).split(600, 0)[0].split(300, 0)
    report, _ = epochs_report(
        lambda seed: small_network("cnn", 1, 16, 10, seed=seed), members, others, epochs=EPOCHS, seeds=SEEDS,
        name="CNN, digits",
    )  # fmt: skip
    return Measured([Section(report, (Plot(epochs_plot(report), "CNN on digits: every layer over the epochs"),))])
