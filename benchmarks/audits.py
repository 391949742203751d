"""All four audits, on pictures that need no download and on real faces: what each release reveals.

    python benchmarks/audits.py                     # results/audits/ and a page with the pictures
    python benchmarks/audits.py --only weights      # one part, without the page of all

The pictures of real faces stay private: their page goes to the cache, only their measurements to results/audits/.
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

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
from onlymymodel.evaluate.audits.gradients.reports import gradient_reports
from onlymymodel.evaluate.audits.layers.audit import LayerAdversary, LayerRelease
from onlymymodel.evaluate.audits.layers.epochs import epochs_report
from onlymymodel.evaluate.audits.layers.plots import epochs_plot, layer_plot
from onlymymodel.evaluate.audits.networks import small_network, train_network
from onlymymodel.evaluate.audits.options import NetworkKind
from onlymymodel.evaluate.audits.page import Plot, Section
from onlymymodel.evaluate.audits.page import render as page
from onlymymodel.evaluate.audits.pictures import (
    Pictures,
    digit_pictures,
    folder_pictures,
    portrait_pictures,
    resize_and_crop,
)
from onlymymodel.evaluate.audits.report import AuditReport, audit_release
from onlymymodel.evaluate.audits.representation.audit import representation_reports
from onlymymodel.evaluate.audits.representation.plot import privacy_plot
from onlymymodel.evaluate.audits.weights.audit import weights_report
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
PAGE = WORK / "audits" / "audits.html"  # megabytes, which this command reproduces: not tracked


def main() -> None:
    """Run the requested parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    configure()
    page_sections: list[Section] = []
    for name in arguments.only:
        if name == "faces" and not ASSETS.exists():
            print(f"faces: left out, since {ASSETS} is missing")
            continue
        started = time.perf_counter()
        sections = PARTS[name]()
        content = {
            "schema": 1,
            "made_by": f"benchmarks/audits.py --only {name}",
            "seconds": round(time.perf_counter() - started, 1),
            "seed": SEED,
            "environment": environment(torch.device("cpu")),
            "reports": [section.report.to_json() for section in sections],
        }
        write_atomic(RESULTS / "audits" / f"{name}.json", json_text(content).encode())
        if name == "faces":
            write_atomic(WORK / "audits" / "faces.html", page(sections, title="onlymymodel: audits").encode())
        else:
            page_sections += sections
        print(f"{name}: {len(sections)} reports in {content['seconds']:.0f} s")
    if set(PARTS) - set(arguments.only) <= {"faces"}:
        write_atomic(PAGE, page(page_sections, title="onlymymodel: audits").encode())
        print(f"page: {PAGE.relative_to(ROOT)}")


def gradients() -> list[Section]:
    """Audit gradients of a fresh network with noise and of a trained one with defenses, also at protected portraits."""
    public, attacked = digit_pictures(16).split(600, SEED)
    fresh = small_network("cnn", 1, 16, 10, seed=SEED)
    audited = _named(
        "fresh CNN, digits",
        gradient_reports(fresh, attacked.take(range(6)), attacks=("dlg", "inverting"), defenses=NOISES, seed=SEED),
    )
    trained = small_network("cnn", 1, 16, 10, seed=SEED)
    train_network(trained, public, epochs=4, seed=SEED)
    audited += _named(
        "trained CNN, digits",
        gradient_reports(trained, attacked.take(range(6)), attacks=ATTACKS, defenses=DEFENSES, seed=SEED),
    )
    audited += _named("fresh CNN, portraits", _at_pictures(portrait_pictures(4, 32, seed=SEED)))
    originals, protected = protected_portraits(4)
    network = small_network("cnn", 3, 32, originals.classes, seed=SEED)
    reports = gradient_reports(
        network, protected, attacks=("inverting",), originals=originals.pixels, predictors=False, seed=SEED
    )
    return [Section(report) for report in audited + _named("protected portraits, epsilon 16", reports)]


def intermediate() -> list[Section]:
    """Audit the layers of a small network, also over the epochs of its training, and of one that identifies people."""
    sections = []
    members, others = digit_pictures(16).take(range(600)).split(300, SEED)
    network = small_network("cnn", 1, 16, 10, seed=SEED)
    by_epoch = epochs_report(network, members, others, epochs=EPOCHS, name="CNN, digits", seed=SEED)
    sections.append(_layers(LayerRelease("CNN, digits", network, others, members)))
    sections.append(Section(by_epoch, (Plot(epochs_plot(by_epoch), "CNN on digits: every layer over the epochs"),)))
    members, others = portrait_pictures(400, 32, task="identity", seed=SEED).split(200, SEED)
    network = small_network("cnn", 3, 32, members.classes, seed=SEED)
    train_network(network, members, epochs=40, seed=SEED)
    return [*sections, _layers(LayerRelease("CNN, portraits", network, others, members))]


def weights() -> list[Section]:
    """Audit the weights of three architectures that memorized the same sixty digits."""
    members, others = digit_pictures(16).split(60, SEED)
    return [Section(weights_report(kind, members, others, seed=SEED)) for kind in KINDS]


def representation() -> list[Section]:
    """Measure the utility-privacy curve on portraits of people who are in no public picture."""
    public, private = portrait_pictures(2240, 32, seed=SEED).split_by_group(0.75, SEED)
    reports = representation_reports(public, private, LAMBDAS, embedder=load_model("zoo:identity-residual"))
    plot = Plot(privacy_plot(reports), "Accuracy of the task and reconstructions of a new decoder, by lambda")
    return [Section(reports[0], (plot,)), *map(Section, reports[1:])]


def faces() -> list[Section]:
    """Audit gradients at photos of LFW, and the layers of a real classifier of expressions."""
    people = folder_pictures(ASSETS / "faces" / "lfw_identity", 32)
    audited = _named("fresh CNN, LFW", _at_pictures(people.take([0, 10, 20, 30])))
    photos = folder_pictures(ASSETS / "faces" / "lfw_emotion", 250)  # at their own size
    aligned = torch.cat([_aligned(part) for part in torch.split(photos.pixels, 1)])
    photos = replace(photos, pixels=aligned)
    model = load_model(face_uri("mini_xception", Path()).replace("fit=align", "fit=squash"))  # they are aligned
    adversary = LayerAdversary(steps=300, jacobian_pictures=1, seed=SEED)
    release = LayerRelease("mini_xception, LFW", model, photos, max_layers=8)
    report = audit_release(release, adversary)
    layers = Section(report, (Plot(layer_plot(report), "mini_xception, layer by layer"),))
    return [*map(Section, audited), layers]


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


def _layers(release: LayerRelease) -> Section:
    report = audit_release(release, LayerAdversary(steps=300, seed=SEED))
    return Section(report, (Plot(layer_plot(report), f"{release.name}: layer by layer"),))


def _named(name: str, reports: Sequence[AuditReport]) -> list[AuditReport]:
    """Return the reports with the name of the attacked network or pictures in their releases."""
    return [replace(report, release=f"{name}: {report.release}") for report in reports]


PARTS: dict[str, Callable[[], list[Section]]] = {
    part.__name__: part for part in (gradients, intermediate, weights, representation, faces)
}

if __name__ == "__main__":
    main()
