"""The real faces of benchmarks/audits.py: gradients at photos of LFW, and the layers of a classifier of expressions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from assets import ASSETS, face_uri
from audit_gradients import line, measured
from audit_layers import layers_table, network_line
from audit_units import Figures, Measured, Unit
from torch import Tensor

from onlymymodel import load_model
from onlymymodel.evaluate.audits.gradients.reports import gradient_reports
from onlymymodel.evaluate.audits.layers.audit import LayerAdversary
from onlymymodel.evaluate.audits.layers.decision import layer_decision
from onlymymodel.evaluate.audits.layers.plots import layer_plot
from onlymymodel.evaluate.audits.layers.release import LayerRelease
from onlymymodel.evaluate.audits.networks import small_network
from onlymymodel.evaluate.audits.page import Plot, Section
from onlymymodel.evaluate.audits.pictures import folder_pictures
from onlymymodel.evaluate.audits.report import audit_release
from onlymymodel.surrogates.classifier import Preprocess

PACKAGES = ("gradients", "layers")
SEED = 0
PEOPLE, LAYERS, STEPS, REFINEMENT = 4, 6, 100, 20


def units() -> list[Unit]:
    """Return the units."""
    return [Unit("fresh CNN, LFW", SEED, _gradients), Unit("mini_xception, LFW", SEED, _layers)]


def tables(results: Sequence[dict[str, Any]]) -> Figures:
    """Return the tables of gradients and of layers, of one seed."""
    gradients, layers = results
    return {
        "gradients": [line(gradients["name"], report) for report in gradients["reports"]],
        "layers": layers_table(layers["name"], layers["reports"]),
        "networks": [network_line(layers["name"], layers["reports"])],
    }


def _gradients() -> Measured:
    photos = folder_pictures(ASSETS / "faces" / "lfw_identity", 32)
    people = photos.take([10 * person for person in range(PEOPLE)])  # ten photos of each
    network = small_network("cnn", 3, 32, people.classes, seed=SEED)
    reports = gradient_reports(network, people, attacks=("dlg", "inverting"), predictors=False, seed=SEED)
    return measured("fresh CNN, LFW", reports)


def _layers() -> Measured:
    photos = folder_pictures(ASSETS / "faces" / "lfw_emotion", 250)  # at their own size
    aligned = torch.cat([_aligned(part) for part in torch.split(photos.pixels, 1)])
    photos = replace(photos, pixels=aligned)
    model = load_model(face_uri("mini_xception", Path()).replace("fit=align", "fit=squash"))  # they are aligned
    adversary = LayerAdversary(steps=STEPS, refinement=REFINEMENT, jacobian_pictures=1, seed=SEED)
    report = audit_release(LayerRelease("mini_xception, LFW", model, photos, max_layers=LAYERS), adversary)
    section = Section(report, (Plot(layer_plot(report), "mini_xception, layer by layer"),))
    return Measured([section], layer_decision(report))


def _aligned(photo: Tensor) -> Tensor:
    """Return the aligned face (1,3,64,64), small enough for a small inverter."""
    face = Preprocess(height=160, width=160, fit="align").canvas(photo)
    return F.interpolate(face, size=(64, 64), mode="bilinear", antialias=True).clamp(0, 1)
