"""All four audits, on pictures that need no download and on real faces: what each release reveals.

    python benchmarks/audits.py                     # results/audits/ and pages with the pictures
    python benchmarks/audits.py --only weights      # one part

The pictures of real faces stay private: their page goes to the cache, only their measurements to results/audits/.
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from assets import ASSETS, RESULTS, ROOT, WORK, face_uri
from PIL import Image
from torch import Tensor

from onlymymodel import Budget, configure, load_model, protect_bytes
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import decode
from onlymymodel.data.portraits import EMOTIONS, IDENTITIES, render
from onlymymodel.demo import BUNDLED
from onlymymodel.evaluate.audits.decision import Decision
from onlymymodel.evaluate.audits.gradients.decision import Cost, gradient_decision
from onlymymodel.evaluate.audits.gradients.reports import gradient_reports
from onlymymodel.evaluate.audits.layers.audit import LayerAdversary, LayerRelease
from onlymymodel.evaluate.audits.layers.decision import layer_decision
from onlymymodel.evaluate.audits.layers.epochs import epochs_report
from onlymymodel.evaluate.audits.layers.plots import epochs_plot, layer_plot
from onlymymodel.evaluate.audits.networks import small_network, train_network
from onlymymodel.evaluate.audits.options import NetworkKind
from onlymymodel.evaluate.audits.page import Plot, Section
from onlymymodel.evaluate.audits.page import render as render_page
from onlymymodel.evaluate.audits.pictures import (
    Pictures,
    digit_pictures,
    folder_pictures,
    portrait_pictures,
    resize_and_crop,
)
from onlymymodel.evaluate.audits.report import AuditReport, audit_release
from onlymymodel.evaluate.audits.representation.audit import representation_reports
from onlymymodel.evaluate.audits.representation.decision import representation_decision
from onlymymodel.evaluate.audits.representation.plot import privacy_plot
from onlymymodel.evaluate.audits.weights.audit import weights_report
from onlymymodel.evaluate.audits.weights.decision import weights_decision
from onlymymodel.evaluate.html import json_text
from onlymymodel.runtime import environment
from onlymymodel.surrogates.classifier import Preprocess

SEED = 0
KINDS: tuple[NetworkKind, ...] = ("mlp", "cnn", "vit")
NOISES = ("none", "noise:0.001", "noise:0.01", "noise:0.1")
DEFENSES = ("none", "noise:0.1", "clip:1+noise:0.01", "topk:0.1")
ATTACKS = ("dlg", "idlg", "inverting", "gradinversion")
LAMBDAS = (0.0, 0.7, 2.0)
EPOCHS = (0, 1, 2, 5, 10, 20, 40)
PAGES = WORK / "audits"  # megabytes, which this command reproduces: not tracked


class Audit(NamedTuple):
    """One audit: its name, what it decides, and its reports."""

    name: str
    decision: Decision
    sections: Sequence[Section]


def main() -> None:
    """Run the requested parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    configure()
    for name in arguments.only:
        if name == "faces" and not ASSETS.exists():
            print(f"faces: left out, since {ASSETS} is missing")
            continue
        started = time.perf_counter()
        audits = PARTS[name]()
        seconds = time.perf_counter() - started
        content = {
            "schema": 2,
            "made_by": f"benchmarks/audits.py --only {name}",
            "seconds": round(seconds, 1),
            "seed": SEED,
            "environment": environment(torch.device("cpu")),
            "decisions": [{"audit": audit.name, **audit.decision.to_json()} for audit in audits],
            "reports": [section.report.to_json() for audit in audits for section in audit.sections],
        }
        write_atomic(RESULTS / "audits" / f"{name}.json", json_text(content).encode())
        for number, audit in enumerate(audits):
            page = render_page(audit.decision, audit.sections, title=f"onlymymodel: {audit.name}")
            write_atomic(PAGES / f"{name}-{number}.html", page.encode())
        print(f"{name}: {len(audits)} audits in {seconds:.0f} s, pages in {PAGES.relative_to(ROOT)}")


def gradients() -> list[Audit]:
    """Audit gradients of a fresh network with noise and of a trained one with defenses, also at protected portraits."""
    public, attacked = digit_pictures(16).split(600, SEED)
    fresh = small_network("cnn", 1, 16, 10, seed=SEED)
    attacked = attacked.take(range(6))
    fresh_reports = gradient_reports(fresh, attacked, attacks=("dlg", "inverting"), defenses=NOISES, seed=SEED)
    trained = small_network("cnn", 1, 16, 10, seed=SEED)
    train_network(trained, public, epochs=4, seed=SEED)
    trained_reports = gradient_reports(trained, attacked, attacks=ATTACKS, defenses=DEFENSES, seed=SEED)
    originals, protected = protected_portraits(4)
    network = small_network("cnn", 3, 32, originals.classes, seed=SEED)
    reports = gradient_reports(
        network, protected, attacks=("inverting",), originals=originals.pixels, predictors=False, seed=SEED
    )
    return [
        _gradients("fresh CNN, digits", fresh_reports),
        _gradients("trained CNN, digits", trained_reports),
        _gradients("fresh CNN, portraits", _at_pictures(portrait_pictures(4, 32, seed=SEED))),
        _gradients("protected portraits, epsilon 16", reports),
    ]


def intermediate() -> list[Audit]:
    """Audit the layers of a small network, also over the epochs of its training, and of one that identifies people."""
    members, others = digit_pictures(16).take(range(600)).split(300, SEED)
    network = small_network("cnn", 1, 16, 10, seed=SEED)
    by_epoch = epochs_report(network, members, others, epochs=EPOCHS, name="CNN, digits", seed=SEED)
    over = Section(by_epoch, (Plot(epochs_plot(by_epoch), "CNN on digits: every layer over the epochs"),))
    digits = _layers(LayerRelease("CNN, digits", network, others, members))
    members, others = portrait_pictures(400, 32, task="identity", seed=SEED).split(200, SEED)
    network = small_network("cnn", 3, 32, members.classes, seed=SEED)
    train_network(network, members, epochs=40, seed=SEED)
    portraits = _layers(LayerRelease("CNN, portraits", network, others, members))
    return [digits._replace(sections=[*digits.sections, over]), portraits]


def weights() -> list[Audit]:
    """Audit the weights of three architectures that memorized the same sixty digits."""
    members, others = digit_pictures(16).split(60, SEED)
    reports = {kind: weights_report(kind, members, others, seed=SEED) for kind in KINDS}
    return [Audit(kind, weights_decision(report), [Section(report)]) for kind, report in reports.items()]


def representation() -> list[Audit]:
    """Measure the utility-privacy curve on portraits of people who are in no public picture."""
    public, private = portrait_pictures(2240, 32, seed=SEED).split_by_group(0.75, SEED)
    reports = representation_reports(public, private, LAMBDAS, embedder=load_model("zoo:identity-residual"))
    plot = Plot(privacy_plot(reports), "Accuracy of the task and reconstructions of a new decoder, by lambda")
    sections = [Section(reports[0], (plot,)), *map(Section, reports[1:])]
    return [Audit("portraits", representation_decision(reports), sections)]


def faces() -> list[Audit]:
    """Audit gradients at photos of LFW, and the layers of a real classifier of expressions."""
    people = folder_pictures(ASSETS / "faces" / "lfw_identity", 32)
    audited = _gradients("fresh CNN, LFW", _at_pictures(people.take([0, 10, 20, 30])))
    photos = folder_pictures(ASSETS / "faces" / "lfw_emotion", 250)  # at their own size
    aligned = torch.cat([_aligned(part) for part in torch.split(photos.pixels, 1)])
    photos = replace(photos, pixels=aligned)
    model = load_model(face_uri("mini_xception", Path()).replace("fit=align", "fit=squash"))  # they are aligned
    adversary = LayerAdversary(steps=300, jacobian_pictures=1, seed=SEED)
    release = LayerRelease("mini_xception, LFW", model, photos, max_layers=8)
    report = audit_release(release, adversary)
    layers = Section(report, (Plot(layer_plot(report), "mini_xception, layer by layer"),))
    return [audited, Audit("mini_xception, LFW", layer_decision(report), [layers])]


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


def _aligned(photo: Tensor) -> Tensor:
    """Return the aligned face (1,3,64,64), small enough for a small inverter."""
    face = Preprocess(height=160, width=160, fit="align").canvas(photo)
    return F.interpolate(face, size=(64, 64), mode="bilinear", antialias=True)


def _at_pictures(pictures: Pictures) -> list[AuditReport]:
    """Run two attacks on gradients of a fresh CNN at 32x32, without a defense."""
    network = small_network("cnn", 3, 32, pictures.classes, seed=SEED)
    return gradient_reports(network, pictures, attacks=("dlg", "inverting"), seed=SEED)


def _layers(release: LayerRelease) -> Audit:
    report = audit_release(release, LayerAdversary(steps=300, seed=SEED))
    section = Section(report, (Plot(layer_plot(report), f"{release.name}: layer by layer"),))
    return Audit(release.name, layer_decision(report), [section])


def _gradients(name: str, reports: Sequence[AuditReport]) -> Audit:
    """Return the audit with the name of the attacked network or pictures in its releases."""
    cost = Cost({}, "not measured here: see omm audit gradients")
    named = [replace(report, release=f"{name}: {report.release}") for report in reports]
    return Audit(name, gradient_decision(reports, cost), list(map(Section, named)))


PARTS: dict[str, Callable[[], list[Audit]]] = {
    part.__name__: part for part in (gradients, intermediate, weights, representation, faces)
}

if __name__ == "__main__":
    main()
