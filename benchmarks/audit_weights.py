"""The weights of benchmarks/audits.py: evidence of training pictures over seeds, and a whole audit of each network."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from assets import ASSETS
from audit_units import SEEDS, Figures, Measured, Unit, interval

from onlymymodel.evaluate.audits.networks import accuracy, small_network, train_network
from onlymymodel.evaluate.audits.options import NetworkKind
from onlymymodel.evaluate.audits.page import Section
from onlymymodel.evaluate.audits.pictures import Pictures, digit_pictures, folder_pictures, portrait_pictures
from onlymymodel.evaluate.audits.weights.audit import TRAINING, weights_report
from onlymymodel.evaluate.audits.weights.decision import weights_decision
from onlymymodel.evaluate.audits.weights.evidence import training_evidence

PACKAGES = ("weights",)
KINDS: tuple[NetworkKind, ...] = ("mlp", "cnn", "vit")
MEMBERS, EPOCHS = 60, 300
PEOPLE, PHOTOS = 10, 10  # of LFW
GENERATOR_STEPS, RECONSTRUCTION_STEPS = 60, 200


def digits(seed: int) -> tuple[Pictures, Pictures]:
    """Return sixty digits to train on, and the others."""
    return digit_pictures(16).split(MEMBERS, seed)


def portraits(seed: int) -> tuple[Pictures, Pictures]:
    """Return sixty rendered portraits to train on, with the expression as the class, and others."""
    return portrait_pictures(4 * MEMBERS, 16, seed=seed).split(MEMBERS, seed)


def lfw(seed: int) -> tuple[Pictures, Pictures]:
    """Return half of the photos of ten people of LFW to train on, with the person as the class, and the other half."""
    photos = folder_pictures(ASSETS / "faces" / "lfw_identity", 32)
    rows = [row for row, label in enumerate(photos.labels.tolist()) if label < PEOPLE]
    chosen = photos.take(rows)
    few = Pictures(chosen.pixels, chosen.labels, chosen.groups, chosen.names, PEOPLE)
    return few.split(len(few) // 2, seed)


def units() -> list[Unit]:
    """Return the units; those of LFW where its photos are."""
    sets: dict[str, Callable[[int], tuple[Pictures, Pictures]]] = {"digits": digits, "portraits": portraits}
    if ASSETS.exists():
        sets["LFW"] = lfw
    return [
        *(
            Unit(f"{kind}, {name}", seed, partial(_evidence, kind, make, seed))
            for name, make in sets.items()
            for kind in KINDS
            for seed in SEEDS
        ),
        *(Unit(f"{kind}, digits, whole", 0, partial(_whole, kind)) for kind in KINDS),
    ]


def tables(results: Sequence[dict[str, Any]]) -> Figures:
    """Return privacy and performance of every network and set, with intervals over seeds, and the whole audits."""
    lines = []
    for name in dict.fromkeys(result["name"] for result in results if not result["reports"]):
        figures = [result["figures"] for result in results if result["name"] == name]
        columns = {column: interval([own[column] for own in figures]) for column in figures[0]}
        lines.append({"network": name, "seeds": len(figures), **columns})
    whole = [{"network": result["name"], **report["summary"]} for result in results for report in result["reports"]]
    return {"evidence": lines, "whole": whole}


def _evidence(kind: NetworkKind, make: Callable[[int], tuple[Pictures, Pictures]], seed: int) -> Measured:
    """Train a network until it memorizes its pictures, and test whether its weights betray them."""
    members, others = make(seed)
    channels, size = members.pixels.shape[1:3]
    network = small_network(kind, channels, size, members.classes, activation="relu", homogeneous=True, seed=seed)
    train_network(network, members, epochs=EPOCHS, seed=seed, progress=False, **TRAINING)
    figures: Figures = {"accuracy_training": accuracy(network, members), "accuracy_others": accuracy(network, others)}
    for prefix, right_only in (("", False), ("right_", True)):
        found = training_evidence(network, members, others, seed=seed, right_only=right_only)
        columns = ("pictures", "cosine_training", "cosine_others", "difference", "p")
        figures |= {f"{prefix}{column}": found[column] for column in columns}
    return Measured(figures=figures)


def _whole(kind: NetworkKind) -> Measured:
    members, others = digits(0)
    report = weights_report(
        kind, members, others, steps=GENERATOR_STEPS, reconstruction_steps=RECONSTRUCTION_STEPS, epochs=EPOCHS, seed=0
    )
    return Measured([Section(report)], weights_decision(report))
