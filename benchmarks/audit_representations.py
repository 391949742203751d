"""The representations of benchmarks/audits.py: utility and privacy by lambda, over seeds, with intervals by people."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

from audit_units import SEEDS, Figures, Measured, Unit, interval

from onlymymodel import load_model
from onlymymodel.evaluate.audits.options import RepresentationSettings
from onlymymodel.evaluate.audits.page import Plot, Section
from onlymymodel.evaluate.audits.pictures import portrait_pictures
from onlymymodel.evaluate.audits.report import AuditReport
from onlymymodel.evaluate.audits.representation.audit import representation_reports
from onlymymodel.evaluate.audits.representation.decision import representation_decision
from onlymymodel.evaluate.audits.representation.plot import privacy_plot

PACKAGES = ("representation", "layers")
LAMBDAS = (0.0, 2.0)
SHARES = (0.5, 0.25)  # of the people, for the encoder and for the judge; the others are private
PICTURES, SIZE, STEPS, DECODER_STEPS = 1200, 32, 300, 200
MEASURES = ("accuracy", "ssim", "ssim_mean_picture", "identity_cosine", "perceptual")
UNDEFENDED = "undefended"


def units() -> list[Unit]:
    """Return the units."""
    return [Unit("portraits", seed, partial(_portraits, seed)) for seed in SEEDS]


def tables(results: Sequence[dict[str, Any]]) -> Figures:
    """Return each representation's figures, and their differences to the undefended one, with intervals over people.

    The values of a person are averaged over the seeds in which the person is private.
    """
    names = list(results[0]["figures"]["people"])
    lines = []
    for name in names:
        line: Figures = {"representation": name, "seeds": len(results)}
        for measure in MEASURES:
            own, bare = (_by_person(results, which, measure) for which in (name, UNDEFENDED))
            line[measure] = interval(list(own.values()))
            line[f"{measure}_over_undefended"] = interval([own[person] - bare[person] for person in own])
        lines.append(line)
    chance = interval([result["figures"]["accuracy_by_chance"] for result in results])
    return {"representations": lines, "accuracy_by_chance": chance, "controls": _controls(results)}


def _controls(results: Sequence[dict[str, Any]]) -> list[Figures]:
    """Return the controls with intervals over seeds."""
    first = [result["reports"][0]["controls"] for result in results]
    columns = ("psnr", "ssim", "perceptual", "identity_cosine")
    return [
        {"control": rows[0]["name"], **{column: interval([row.get(column) for row in rows]) for column in columns}}
        for rows in zip(*first, strict=True)
    ]


def _by_person(results: Sequence[dict[str, Any]], name: str, measure: str) -> dict[str, float]:
    """Return a measure's mean over the seeds for each person."""
    values: dict[str, list[float]] = defaultdict(list)
    for result in results:
        for person, figures in result["figures"]["people"][name].items():
            values[person].append(figures[measure])
    return {person: sum(own) / len(own) for person, own in sorted(values.items())}


def _portraits(seed: int) -> Measured:
    parts = portrait_pictures(PICTURES, SIZE, seed=seed).split_into_groups(SHARES, seed)
    training, public, private = parts
    reports = representation_reports(
        training, public, private, LAMBDAS, embedder=load_model("zoo:identity-residual"),
        decoder_steps=DECODER_STEPS, settings=RepresentationSettings(steps=STEPS, seed=seed),
    )  # fmt: skip
    plot = Plot(privacy_plot(reports[1:]), "Accuracy of the task and reconstructions of the best attack, by lambda")
    sections = [Section(reports[0], (plot,)), *map(Section, reports[1:])]
    names = [UNDEFENDED, *(report.release.removeprefix("representation, ") for report in reports[1:])]
    figures = {
        "accuracy_by_chance": reports[0].summary["accuracy_by_chance"],
        "people": {name: _people(report) for name, report in zip(names, reports, strict=True)},
    }
    return Measured(sections, representation_decision(reports), figures, rows=False)


def _people(report: AuditReport) -> dict[str, Figures]:
    """Return the means of the measures over the pictures of each private person."""
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for row in report.rows:
        values = {measure: float(row.values.get(measure) or 0) for measure in MEASURES}
        right = float(row.values["class"] == row.values["class_read"])
        rows[str(row.values["person"])].append({**values, "accuracy": right})
    return {
        person: {measure: sum(row[measure] for row in own) / len(own) for measure in MEASURES}
        for person, own in rows.items()
    }
