"""What audits found, for people: a page with the reconstructions side by side, Markdown, JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from PIL import Image

from onlymymodel.data.atomic import write_atomic
from onlymymodel.evaluate.audits.audit import AuditReport, Finding, Picture, Value
from onlymymodel.evaluate.audits.similarity import SIMILARITY_DEFINITION
from onlymymodel.evaluate.html import csp_hash, data_uri, environment, json_text, png

PAGE, JSON, MARKDOWN = "audit.html", "audit.json", "audit.md"
SCHEMA = 1
SHOWN = 16  # findings of a report whose pictures are shown


@dataclass(frozen=True)
class Plot:
    """A drawing by matplotlib.

    Attributes:
        svg: the drawing.
        caption: what it shows.
    """

    svg: str
    caption: str

    @property
    def uri(self) -> str:
        """It as a `data:` URI."""
        return data_uri(self.svg.encode(), "svg+xml")


@dataclass(frozen=True)
class Section:
    """A report with its plots."""

    report: AuditReport
    plots: tuple[Plot, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Names of all figures of rows and controls, in the order in which they first occur."""
        return list(dict.fromkeys(name for found in self._all for name in found.values))

    @property
    def shown(self) -> list[Finding]:
        """The findings that have pictures, as many of each part as a page bears."""
        parts = (self.report.rows, self.report.controls)
        return [found for part in parts for found in [one for one in part if one.pictures][:SHOWN]]

    @property
    def _all(self) -> Iterator[Finding]:
        yield from self.report.rows
        yield from self.report.controls


def write_audits(folder: Path, sections: Sequence[Section], *, title: str, header: Mapping[str, Any]) -> None:
    """Write `audit.json`, and the Markdown and the page that follow from the same reports.

    Args:
        header: command, environment, seeds: what the figures depend on besides the releases.
    """
    content = {
        "schema": SCHEMA,
        **header,
        "definitions": SIMILARITY_DEFINITION,
        "reports": [section.report.to_json() for section in sections],
    }
    write_atomic(folder / JSON, json_text(content).encode())
    write_atomic(folder / MARKDOWN, to_markdown([section.report for section in sections]).encode())
    write_atomic(folder / PAGE, render(sections, title=title).encode())


def render(sections: Sequence[Section], *, title: str) -> str:
    """One self-contained HTML page: no request leaves it."""
    jinja = environment()
    jinja.filters |= {"figure": figure, "picture": _picture, "csp_hash": csp_hash}
    return jinja.get_template("audit.html.j2").render(title=title, sections=sections, definitions=SIMILARITY_DEFINITION)


def to_markdown(reports: Sequence[AuditReport]) -> str:
    """Assumptions, summary and tables of every report (GitHub's Markdown)."""
    return "\n\n".join(block for report in reports for block in _blocks(report)) + "\n"


def _blocks(report: AuditReport) -> Iterator[str]:
    yield f"## {_plain(report.release)}: {_plain(report.adversary)}"
    yield "Assumed:\n" + "\n".join(f"- {_plain(sentence)}" for sentence in report.assumptions)
    yield _grid(["over all", "figure"], [[name, figure(value)] for name, value in report.summary.items()])
    columns = Section(report).columns
    for part, findings in (("found", report.rows), ("control", report.controls)):
        lines = [[found.name, *(figure(found.values.get(name)) for name in columns)] for found in findings]
        yield _grid([part, *columns], lines)


def figure(value: Value) -> str:
    """A figure as people read it; a dash where there is none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if isfinite(value) else str(value)
    return str(value)


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(map(_plain, row))} |" for row in rows)


def _plain(text: str) -> str:
    """A stranger's text as one line that ends no table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _picture(pixels: Picture) -> str:
    """A picture as a `data:` URI."""
    return png(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
