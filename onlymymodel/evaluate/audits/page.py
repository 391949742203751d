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
from onlymymodel.evaluate.markdown_tables import markdown_code, markdown_grid
from onlymymodel.evaluate.text import encodable, replace_unprintable

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
    markdown = to_markdown(decision, [section.report for section in sections])
    for name, text in ((MARKDOWN, markdown), (PAGE, render(decision, sections, title=title))):
        write_atomic(folder / name, encodable(text).encode())


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
    """Return the decision, then assumptions, summary and tables of every report as GitHub's Markdown.

    Names in it come from unknown sources: they are neither HTML nor Markdown, and control no terminal.
    """
    blocks = [decision_markdown(decision), *(block for report in reports for block in _markdown_blocks(report))]
    return "\n\n".join(blocks) + "\n"


def decision_markdown(decision: Decision) -> str:
    """Return the verdict, its table, what to do and what would make it worse as GitHub's Markdown."""
    notes = decision.notes
    lines = [
        [
            markdown_code(line.name),
            line.state or "",
            *(_cell_text(line.cells.get(column), notes) for column in decision.columns),
        ]
        for line in decision.lines
    ]
    blocks = [
        f"# {decision.headline}",
        _sentence(decision.verdict),
        _table(["", "state", *decision.columns], lines),
        "\n".join(f"[{number}] {_sentence(note)}  " for number, note in enumerate(notes, 1)),
        "What to do:\n" + "\n".join(f"- {_sentence(sentence)}" for sentence in decision.advice),
        f"What would make it worse: {_sentence(decision.worse)}",
        "Columns:\n" + _meanings(decision.columns),
        f"States: {STATE_MEANING}.",
    ]
    return "\n\n".join(block for block in blocks if block)


def _cell_text(cell: Cell | None, notes: Sequence[str]) -> str:
    """Return a cell as Markdown: bold for the worst attack, marked for a failed one, with its note's number."""
    if cell is None:
        return ""
    text = f"**{_markdown_value(cell.value)}**" if cell.worst else _markdown_value(cell.value)
    return text + (" failed" if cell.failed else "") + (f" [{notes.index(cell.note) + 1}]" if cell.note else "")


def _markdown_blocks(report: AuditReport) -> list[str]:
    columns = Section(report).columns
    blocks = [
        f"## {_sentence(report.release)}: {_sentence(report.adversary)}",
        "Assumed:\n" + "\n".join(f"- {_sentence(sentence)}" for sentence in report.assumptions),
        _table(["summary", "value"], [[name, _markdown_value(value)] for name, value in report.summary.items()]),
    ]
    if report.missing:
        blocks.append("Dashes:\n" + _meanings(report.missing))
    for part, rows in (("row", report.rows), ("control", report.controls)):
        lines = [[markdown_code(row.name), *(_value_text(row, name) for name in columns)] for row in rows]
        blocks.append(_table([part, *columns], lines))
    return blocks


def _value_text(row: AuditRow, name: str) -> str:
    """Return a measurement of a row; nothing if the row, such as a control, does not have it."""
    return _markdown_value(row.values[name]) if name in row.values else ""


def _markdown_value(value: Value) -> str:
    """Return a measurement as Markdown; text may be the name of a photo or of a layer."""
    return markdown_code(value) if isinstance(value, str) else format_value(value)


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
    return markdown_grid([_sentence(name) for name in head], lines)


def _meanings(texts: Mapping[str, str]) -> str:
    """Return a list of names with their meanings."""
    return "\n".join(f"- {_sentence(name)}: {_sentence(text)}" for name, text in texts.items())


def _sentence(text: str) -> str:
    """Return a sentence with names of unknown origin as one line without HTML, links, pictures and ends of cells."""
    line = replace_unprintable(" ".join(text.split()))
    return line.replace("<", "&lt;").replace("](", "]&#40;").replace("|", "&#124;")


def _picture_uri(pixels: Picture) -> str:
    """Return a picture as a `data:` URI."""
    return png_uri(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
