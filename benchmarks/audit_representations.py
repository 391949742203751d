"""The representations of benchmarks/audits.py: utility and privacy over seeds, with intervals by people.

The first setting is measured with all seeds and two lambdas; the others vary the task, the pictures and the length of
the representation, with one seed.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from audit_units import SEEDS, Figures, Measured, Unit, interval

from onlymymodel import load_model
from onlymymodel.evaluate.audits.options import RepresentationSettings, Task
from onlymymodel.evaluate.audits.page import Plot, Section
from onlymymodel.evaluate.audits.pictures import Pictures, digit_pictures, portrait_pictures
from onlymymodel.evaluate.audits.report import AuditReport
from onlymymodel.evaluate.audits.representation.audit import representation_reports
from onlymymodel.evaluate.audits.representation.decision import representation_decision
from onlymymodel.evaluate.audits.representation.plot import privacy_plot

PACKAGES = ("representation", "layers")
SHARES = (0.5, 0.25)  # of the people, for the encoder and for the judge; the others are private
PORTRAITS, PEOPLE, SIZE, DIGITS_SIZE, STEPS, DECODER_STEPS = 2400, 200, 32, 16, 300, 200
MEASURES = ("accuracy", "ssim", "ssim_mean_picture", "identity_cosine", "perceptual")
UNDEFENDED = "undefended"


class Setting(NamedTuple):
    """One setting; its pictures are portraits with a task, or digits without one.

    Attributes:
        task: of the portraits; None for digits.
        dimension: length of a representation.
        lambdas: of the defenses.
        seeds: of everything.
    """

    task: Task | None = "attributes"
    dimension: int = 128
    lambdas: tuple[float, ...] = (2.0,)
    seeds: Sequence[int] = SEEDS[:1]


BASE = "portraits, attributes"
SETTINGS = {
    BASE: Setting(lambdas=(0.0, 2.0), seeds=SEEDS),
    "portraits, attributes, 32 numbers": Setting(dimension=32),
    "portraits, attributes, 512 numbers": Setting(dimension=512),
    "portraits, emotion": Setting("emotion"),
    "digits": Setting(None),
}


def units() -> list[Unit]:
    """Return the units."""
    return [
        Unit(name, seed, partial(_measure, setting, seed))
        for name, setting in SETTINGS.items()
        for seed in setting.seeds
    ]


def tables(results: Sequence[dict[str, Any]]) -> Figures:
    """Return each representation's figures, and their differences to the undefended one, with intervals over people.

    The values of a person are averaged over the seeds in which the person is private. The Matthews correlation is that
    of all private pictures of a seed, with intervals over seeds.
    """
    lines: list[Figures] = []
    controls: list[Figures] = []
    for pictures, group in groupby(results, lambda result: result["name"]):
        of_setting = list(group)
        lines += _lines(pictures, of_setting)
        controls += [{"pictures": pictures, **row} for row in _controls(of_setting)]
    return {"representations": lines, "controls": controls}


def _lines(pictures: str, results: Sequence[dict[str, Any]]) -> Iterator[Figures]:
    """Yield the line of each representation of one setting."""
    chance = interval([result["figures"]["accuracy_by_chance"] for result in results])
    for name in results[0]["figures"]["people"]:
        line: Figures = {"pictures": pictures, "representation": name, "seeds": len(results)}
        for measure in MEASURES:
            own, bare = (_by_person(results, which, measure) for which in (name, UNDEFENDED))
            line[measure] = interval(list(own.values()))
            line[f"{measure}_over_undefended"] = interval([own[person] - bare[person] for person in own])
        correlations = [result["figures"]["mcc"] for result in results]
        line["mcc"] = interval([own[name] for own in correlations])
        yield {**line, "accuracy_by_chance": chance}


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


def _measure(setting: Setting, seed: int) -> Measured:
    training, public, private = _pictures(setting, seed).split_into_groups(SHARES, seed)
    reports = representation_reports(
        training, public, private, setting.lambdas, embedder=load_model("zoo:identity-residual"),
        decoder_steps=DECODER_STEPS,
        settings=RepresentationSettings(steps=STEPS, seed=seed, dimension=setting.dimension),
    )  # fmt: skip
    plot = Plot(privacy_plot(reports[1:]), "Accuracy of the task and reconstructions of the best attack, by lambda")
    sections = [Section(reports[0], (plot,)), *map(Section, reports[1:])]
    names = [UNDEFENDED, *(report.release.removeprefix("representation, ") for report in reports[1:])]
    figures = {
        "accuracy_by_chance": reports[0].summary["accuracy_by_chance"],
        "mcc": {name: report.summary["mcc"] for name, report in zip(names, reports, strict=True)},
        "people": {name: _people(report) for name, report in zip(names, reports, strict=True)},
    }
    return Measured(sections, representation_decision(reports), figures, rows=False)


def _pictures(setting: Setting, seed: int) -> Pictures:
    if setting.task is None:
        return digit_pictures(DIGITS_SIZE)
    return portrait_pictures(PORTRAITS, SIZE, task=setting.task, seed=seed, people=PEOPLE)


def _people(report: AuditReport) -> dict[str, Figures]:
    """Return the means of the measures over the pictures of each private person."""
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for row in report.rows:
        values = {measure: float(row.values.get(measure) or 0) for measure in MEASURES}
        rows[str(row.values["person"])].append({**values, "accuracy": float(row.values["right"] or 0)})
    return {
        person: {measure: sum(row[measure] for row in own) / len(own) for measure in MEASURES}
        for person, own in rows.items()
    }
