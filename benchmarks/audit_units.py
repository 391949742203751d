"""The units of benchmarks/audits.py: one measurement each, kept until its code or its settings change."""

import ast
import hashlib
import inspect
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from assets import ROOT, WORK

from onlymymodel.data.atomic import write_atomic
from onlymymodel.evaluate.audits.decision import Decision
from onlymymodel.evaluate.audits.intervals import mean_interval
from onlymymodel.evaluate.audits.page import Section, render
from onlymymodel.evaluate.html import json_text
from onlymymodel.runtime import environment

SEEDS = (0, 1, 2, 3, 4)
PAGES = WORK / "audits"  # megabytes, which the command reproduces: not tracked
KEPT = PAGES / "units"
AUDITS = ROOT / "onlymymodel" / "evaluate" / "audits"
SHOWN_ONLY = {"columns.py", "decision.py", "page.py", "plot.py", "plots.py", "plotting.py"}  # they measure nothing
Figures = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """The result of a unit.

    Attributes:
        sections: reports with their plots.
        decision: what they come to; None for a unit that has no page of its own.
        figures: further measurements as JSON values.
        rows: whether the rows of the reports are kept in results/; otherwise only summary and controls are.
    """

    sections: Sequence[Section] = ()
    decision: Decision | None = None
    figures: Figures = field(default_factory=dict)
    rows: bool = True


@dataclass(frozen=True)
class Unit:
    """One measurement.

    Attributes:
        name: its name, unique within a part.
        seed: its seed.
        measure: makes it.
    """

    name: str
    seed: int
    measure: Callable[[], Measured]


def fingerprint(module: Any, packages: Sequence[str]) -> str:
    """Return the hash of the code of a part: its module, the audits' shared modules, and those of some packages.

    Comments and docstrings do not count.
    """
    shared = [path for path in AUDITS.glob("*.py") if path.name not in SHOWN_ONLY]
    own = [path for name in packages for path in (AUDITS / name).glob("*.py") if path.name not in SHOWN_ONLY]
    sources = [inspect.getsource(module), *(path.read_text(encoding="utf-8") for path in sorted([*shared, *own]))]
    return hashlib.sha256("\n".join(map(_without_docstrings, sources)).encode()).hexdigest()


def _without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def measure(part: str, unit: Unit, code: str) -> dict[str, Any]:
    """Return a unit's result as JSON values: the kept one of the same code and machine, or a new one."""
    path = KEPT / f"{part}-{unit.name.replace(' ', '-').replace(',', '')}-{unit.seed}.json"
    key = {"code": code, "environment": environment(torch.device("cpu"))}
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return dict(kept["result"])
    started = time.perf_counter()
    measured = unit.measure()
    result = {
        "name": unit.name,
        "seed": unit.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "figures": measured.figures,
        "reports": [
            {name: value for name, value in section.report.to_json().items() if measured.rows or name != "rows"}
            for section in measured.sections
        ],
    }
    if measured.decision:
        page = render(measured.decision, measured.sections, title=f"onlymymodel: {unit.name}")
        write_atomic(PAGES / f"{path.stem}.html", page.encode())
    write_atomic(path, json_text({"key": key, "result": result}).encode())
    return result


def interval(values: Sequence[float | None]) -> Figures | None:
    """Return mean, ends of the 95 % interval and n of the values that there are; None without any."""
    known = [float(value) for value in values if value is not None]
    return mean_interval(known)._asdict() if known else None


def relative(path: Path) -> str:
    """Return a path below the repository for people."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
