"""Audit reports as files: a page with the reconstructions side by side, Markdown, and JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from PIL import Image

from onlymymodel.data.atomic import write_atomic
from onlymymodel.evaluate.audits.columns import meaning
from onlymymodel.evaluate.audits.decision import STATE_MEANING, Cell, Decision
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow, Picture, Value
from onlymymodel.evaluate.audits.similarity import SIMILARITY_DEFINITION
from onlymymodel.evaluate.html import csp_hash, data_uri, json_text, png_uri, template_environment

PAGE, JSON, MARKDOWN = "audit.html", "audit.json", "audit.md"
SCHEMA = 2
MAX_ILLUSTRATED = 16  # rows, and controls, of a report whose pictures are shown


@dataclass(frozen=True)
class Plot:
    """A plot by matplotlib.

    Attributes:
        svg: the plot as SVG text.
        caption: what the plot shows.
    """

    svg: str
    caption: str

    @property
    def uri(self) -> str:
        """The plot as a `data:` URI."""
        return data_uri(self.svg.encode(), "svg+xml")


@dataclass(frozen=True)
class Section:
    """A report with its plots."""

    report: AuditReport
    plots: tuple[Plot, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Names of the measurements of all rows and controls, in order of first occurrence."""
        rows = (*self.report.rows, *self.report.controls)
        return list(dict.fromkeys(name for row in rows for name in row.values))

    @property
    def meanings(self) -> dict[str, str]:
        """Return the known meanings of the columns and of the summary's entries."""
        names = dict.fromkeys([*self.columns, *self.report.summary])
        return {name: text for name in names if (text := meaning(name))}

    @property
    def illustrated(self) -> list[AuditRow]:
        """The rows and controls with pictures, at most `MAX_ILLUSTRATED` of each."""
        parts = (self.report.rows, self.report.controls)
        return [row for part in parts for row in [row for row in part if row.pictures][:MAX_ILLUSTRATED]]


def write_audits(
    folder: Path, decision: Decision, sections: Sequence[Section], *, title: str, header: Mapping[str, Any]
) -> None:
    """Write `audit.json`, `audit.md` and `audit.html` of the same decision and reports.

    Args:
        decision: what the reports come to.
        header: what the measurements depend on besides the releases: command, environment, seeds.
    """
    content = {
        "schema": SCHEMA,
        **header,
        "decision": decision.to_json(),
        "definitions": SIMILARITY_DEFINITION,
        "reports": [section.report.to_json() for section in sections],
    }
    write_atomic(folder / JSON, json_text(content).encode())
    write_atomic(folder / MARKDOWN, to_markdown(decision, [section.report for section in sections]).encode())
    write_atomic(folder / PAGE, render(decision, sections, title=title).encode())


def render(decision: Decision, sections: Sequence[Section], *, title: str) -> str:
    """Return one self-contained HTML page, which loads nothing from elsewhere: the decision, then its evidence."""
    jinja = template_environment()
    jinja.filters |= {"value": format_value, "picture": _picture_uri, "csp_hash": csp_hash}
    return jinja.get_template("audit.html.j2").render(
        title=title,
        decision=decision,
        states=STATE_MEANING,
        sections=sections,
        definitions=SIMILARITY_DEFINITION,
    )


def to_markdown(decision: Decision, reports: Sequence[AuditReport]) -> str:
    """Return the decision, then assumptions, summary and tables of every report as GitHub's Markdown."""
    blocks = [decision_markdown(decision), *(block for report in reports for block in _markdown_blocks(report))]
    return "\n\n".join(blocks) + "\n"


def decision_markdown(decision: Decision) -> str:
    """Return the verdict, its table, what to do and what would make it worse as GitHub's Markdown."""
    notes = decision.notes
    lines = [
        [line.name, line.state or "", *(_cell_text(line.cells.get(column), notes) for column in decision.columns)]
        for line in decision.lines
    ]
    blocks = [
        f"# {decision.headline}",
        _escape(decision.verdict),
        _table(["", "state", *decision.columns], lines),
        "\n".join(f"[{number}] {_escape(note)}  " for number, note in enumerate(notes, 1)),
        "What to do:\n" + "\n".join(f"- {_escape(sentence)}" for sentence in decision.advice),
        f"What would make it worse: {_escape(decision.worse)}",
        "Columns:\n" + "\n".join(f"- {name}: {_escape(text)}" for name, text in decision.columns.items()),
        f"States: {STATE_MEANING}.",
    ]
    return "\n\n".join(block for block in blocks if block)


def _cell_text(cell: Cell | None, notes: Sequence[str]) -> str:
    """Return a cell as Markdown: bold for the worst attack, marked for a failed one, with its note's number."""
    if cell is None:
        return ""
    text = f"**{format_value(cell.value)}**" if cell.worst else format_value(cell.value)
    return text + (" failed" if cell.failed else "") + (f" [{notes.index(cell.note) + 1}]" if cell.note else "")


def _markdown_blocks(report: AuditReport) -> list[str]:
    columns = Section(report).columns
    blocks = [
        f"## {_escape(report.release)}: {_escape(report.adversary)}",
        "Assumed:\n" + "\n".join(f"- {_escape(sentence)}" for sentence in report.assumptions),
        _table(["summary", "value"], [[name, format_value(value)] for name, value in report.summary.items()]),
    ]
    if report.missing:
        blocks.append("Dashes:\n" + "\n".join(f"- {name}: {_escape(text)}" for name, text in report.missing.items()))
    for part, rows in (("row", report.rows), ("control", report.controls)):
        lines = [[row.name, *(_value_text(row, name) for name in columns)] for row in rows]
        blocks.append(_table([part, *columns], lines))
    return blocks


def _value_text(row: AuditRow, name: str) -> str:
    """Return a measurement of a row; nothing if the row, such as a control, does not have it."""
    return format_value(row.values[name]) if name in row.values else ""


def format_value(value: Value) -> str:
    """Return a measurement as text for people, with four significant digits; a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if isfinite(value) else str(value)
    return str(value)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(map(_escape, row))} |" for row in rows)


def _escape(text: str) -> str:
    """Return untrusted text as one line that cannot end the cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _picture_uri(pixels: Picture) -> str:
    """Return a picture as a `data:` URI."""
    return png_uri(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
