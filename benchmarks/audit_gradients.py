"""The gradients of benchmarks/audits.py: defenses, architectures, batches and local steps, protected portraits."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from audit_units import Figures, Measured, Unit, interval
from PIL import Image
from torch import Tensor, nn

from onlymymodel import Budget, protect_bytes
from onlymymodel.data.image_io import decode
from onlymymodel.data.portraits import EMOTIONS, IDENTITIES, render
from onlymymodel.demo import BUNDLED
from onlymymodel.evaluate.audits.gradients.decision import Cost, gradient_decision
from onlymymodel.evaluate.audits.gradients.plot import CAPTION, trajectory_plot
from onlymymodel.evaluate.audits.gradients.reports import gradient_reports
from onlymymodel.evaluate.audits.networks import small_network, train_network
from onlymymodel.evaluate.audits.options import NetworkKind
from onlymymodel.evaluate.audits.page import Plot, Section
from onlymymodel.evaluate.audits.pictures import Pictures, digit_pictures, portrait_pictures, resize_and_crop
from onlymymodel.evaluate.audits.report import AuditReport

PACKAGES = ("gradients",)
SEED = 0
PICTURES, FEW = 30, 5  # predictors of the risk are judged by 30 pictures, the rest by 5
PREDICTORS = ("jacobian_norm", "s_max", "s_min_cosine", "noise_bound", "gradient_cosine")
DEFENSES = ("none", "noise:0.1", "clip:1+dp:0.1", "topk:0.1")
OTHER_KINDS: tuple[NetworkKind, ...] = ("mlp", "vit")
BATCHES = ((1, 1), (4, 1), (8, 1), (1, 4), (4, 4))  # pictures and local steps behind one update
IN_BATCHES = 16  # pictures


def units() -> list[Unit]:
    """Return the units."""
    named: dict[str, Callable[[], Measured]] = {
        "fresh CNN, digits": lambda: _digits(0, ("inverting",), PICTURES, ("none",)),
        "trained CNN, digits": lambda: _digits(4, ("gradinversion",), PICTURES, ("none",)),
        "fresh CNN, digits, defenses": lambda: _digits(0, ("dlg", "inverting"), FEW, DEFENSES),
        "trained CNN, digits, defenses": lambda: _digits(4, ("idlg", "inverting", "gradinversion"), FEW, DEFENSES),
        "trained CNN, digits, five starts": lambda: _digits(4, ("dlg",), FEW, ("none",), restarts=4),
        **{f"fresh {kind}, digits": partial(_kind, kind) for kind in OTHER_KINDS},
        **{
            f"fresh CNN, digits, {batch} in a batch, {steps} local steps": partial(_batch, batch, steps)
            for batch, steps in BATCHES
        },
        "fresh CNN, portraits": _portraits,
        "protected portraits, epsilon 16": _protected,
    }
    return [Unit(name, SEED, measure) for name, measure in named.items()]


def tables(results: Sequence[dict[str, Any]]) -> Figures:
    """Return a line for each report; intervals are over gradients, of one picture or of one batch."""
    return {"gradients": [line(result["name"], report) for result in results for report in result["reports"]]}


def line(name: str, report: dict[str, Any]) -> Figures:
    """Return the figures of one report with intervals over gradients; pictures of a batch are averaged first."""
    size, rows = report["settings"]["batch"], report["rows"]
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]

    def over(key: str, minus: str = "") -> Figures | None:
        values = [
            None
            if any(row.get(key) is None for row in batch)
            else sum(row[key] - (row[minus] if minus else 0) for row in batch) / len(batch)
            for batch in batches
        ]
        return interval(values)

    summary = report["summary"]
    return {
        "gradient": name,
        "release": report["release"],
        "attack": report["adversary"],
        "defense": report["settings"]["defense"],
        "pictures": len(rows),
        "psnr": over("psnr"),
        "ssim": over("ssim"),
        "ssim_mean_picture": over("ssim_mean_picture"),
        "ssim_gain": over("ssim", "ssim_mean_picture"),
        "psnr_gain": over("psnr", "psnr_mean_picture"),
        "come_back": sum((row.get("ssim") or 0) >= 0.9 for row in rows),
        "labels_found": summary.get("labels_found"),
        "correlations": {
            predictor: {key: summary[f"{key}_{predictor}_psnr"] for key in ("rho", "p", "n")}
            for predictor in PREDICTORS
            if f"rho_{predictor}_psnr" in summary
        },
    }


def measured(name: str, reports: Sequence[AuditReport]) -> Measured:
    """Return reports as a unit's result, with the name of the attacked network or pictures in their releases."""
    cost = Cost({}, "not measured here: see omm audit gradients")
    named = [replace(report, release=f"{name}: {report.release}") for report in reports]
    plots = [(Plot(trajectory_plot(report), CAPTION),) if report.series else () for report in named]
    return Measured(list(map(Section, named, plots)), gradient_decision(reports, cost))


def _network(epochs: int, kind: NetworkKind = "cnn") -> tuple[nn.Module, Pictures]:
    """Return a network, fresh or trained on 600 digits for some epochs, and digits that it was not trained on."""
    public, attacked = digit_pictures(16).split(600, SEED)
    network = small_network(kind, 1, 16, 10, seed=SEED)
    if epochs:
        train_network(network, public, epochs=epochs, seed=SEED)
    return network, attacked


def _digits(epochs: int, attacks: Sequence[str], count: int, defenses: Sequence[str], restarts: int = 0) -> Measured:
    network, attacked = _network(epochs)
    reports = gradient_reports(
        network, attacked.take(range(count)), attacks=attacks, defenses=defenses, restarts=restarts,
        predictors=count >= PICTURES, seed=SEED,
    )  # fmt: skip
    return measured(f"{'trained' if epochs else 'fresh'} CNN, digits", reports)


def _kind(kind: NetworkKind) -> Measured:
    network, attacked = _network(0, kind)
    reports = gradient_reports(network, attacked.take(range(FEW)), attacks=("inverting",), predictors=False, seed=SEED)
    return measured(f"fresh {kind}, digits", reports)


def _batch(batch: int, steps: int) -> Measured:
    network, attacked = _network(0)
    pictures = attacked.take(range(IN_BATCHES if batch > 1 else FEW))
    reports = gradient_reports(
        network, pictures, attacks=("inverting",), batch=batch, local_steps=steps, predictors=False, seed=SEED
    )
    return measured("fresh CNN, digits", reports)


def _portraits() -> Measured:
    pictures = portrait_pictures(FEW, 32, seed=SEED)
    network = small_network("cnn", 3, 32, pictures.classes, seed=SEED)
    reports = gradient_reports(network, pictures, attacks=("dlg", "inverting"), predictors=False, seed=SEED)
    return measured("fresh CNN, portraits", reports)


def _protected() -> Measured:
    originals, protected = protected_portraits(4)
    network = small_network("cnn", 3, 32, originals.classes, seed=SEED)
    reports = gradient_reports(
        network, protected, attacks=("inverting",), originals=originals.pixels, predictors=False, seed=SEED
    )
    return measured("protected portraits, epsilon 16", reports)


def protected_portraits(count: int) -> tuple[Pictures, Pictures]:
    """Return portraits and their protected versions at epsilon 16, both at 32x32."""
    context, _ = replace(BUNDLED, budget=Budget(16 / 255)).load()
    clean, protected = list[Tensor](), list[Tensor]()
    for number in range(count):
        buffer = io.BytesIO()
        photo = render(number, 0, SEED, 96)
        Image.fromarray(photo).save(buffer, "PNG")
        data, record = protect_bytes(buffer.getvalue(), label=number, context=context)
        if data is None:
            raise SystemExit(f"portrait {number} could not be protected: {record.reason}")
        clean.append(resize_and_crop(photo, 32))
        protected.append(resize_and_crop(decode(data).pixels, 32))
    names = tuple(f"portrait {number}" for number in range(count))
    labels, groups = torch.zeros(count, dtype=torch.long), torch.arange(count)
    assert count <= len(IDENTITIES)
    originals = Pictures(torch.stack(clean), labels, groups, names, len(EMOTIONS))
    return originals, replace(originals, pixels=torch.stack(protected))
