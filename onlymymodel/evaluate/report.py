"""The report of an evaluation: one HTML file with its figures, plots, photos and limits."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from onlymymodel.data.atomic import write_atomic
from onlymymodel.errors import number_of
from onlymymodel.evaluate import (
    attribute_tables,
    distortion_table,
    face_tables,
    language_tables,
    object_tables,
    plots,
    tables,
)
from onlymymodel.evaluate.adversaries import adversary_sentences
from onlymymodel.evaluate.deployment_summary import summarize_deployments
from onlymymodel.evaluate.harness import Pair
from onlymymodel.evaluate.heldout_effect import unmoved_runs
from onlymymodel.evaluate.html import csp_hash, plot_uris, template_environment
from onlymymodel.evaluate.recorded_margins import summarize_margins
from onlymymodel.evaluate.report_aside import Aside
from onlymymodel.evaluate.report_headline import least_deployment
from onlymymodel.evaluate.report_photos import OPEN, lead_photo, photo_cards
from onlymymodel.evaluate.report_settings import settings_tables
from onlymymodel.evaluate.results import ROLE_WORDS, Results, Role
from onlymymodel.evaluate.text import encodable, percent
from onlymymodel.surrogates.deployments import DEPLOYMENTS

STEPS = 20  # of the heat map
# (at 0 %, at 100 %) of the heat map, on a light and on a dark page
HEAT_COLORS = {"light": ((244, 240, 232), (38, 84, 124)), "dark": ((36, 34, 31), (150, 196, 232))}

# in the order of the page: role, heading, what the models of this role are for
GROUPS: tuple[tuple[Role, str, str], ...] = (
    ("authorized", "Authorized model", "must still read every photo"),
    ("held-out", "Judges", "held-out models, which took no part in the protection; these are the evidence"),
    ("surrogate", "Stand-ins", "surrogates, which stood in for unknown models; no evidence about others"),
)


@dataclass(frozen=True)
class ReportPlot:
    """A plot on the page.

    Attributes:
        light, dark: data URIs for a light and a dark page.
        caption: what it shows, in a few words.
        run: name of the run that it shows; "" where it shows all.
        description: its content in words.
    """

    light: str
    dark: str
    caption: str
    run: str
    description: str


def write_report(path: Path, page: str) -> None:
    """Write a page of `render_report`. Raises OSError where the file cannot be written."""
    write_atomic(path, encodable(page).encode())


def render_report(
    results: Results,
    pairs: Iterable[Pair],
    *,
    title: str,
    summary: str,
    amplify: int = 8,
    aside: Aside | None = None,
) -> str:
    """Return one self-contained HTML page, which requests nothing and can be read without scripts.

    Args:
        results: the evaluation.
        pairs: decoded photos in the order of the results, at least one, with every run; taken one at a time, and not
            needed again. At most 24 are shown, 13 of them at once; the figures are of all photos.
        title, summary: plain text: a few words, and a sentence of the caller's own below the headline.
        amplify: factor by which a difference is amplified.
        aside: a photo to show besides.

    Raises:
        ValueError: no pairs, or pairs that do not belong to these results.
    """
    groups = [(*group, rows) for group in GROUPS if (rows := results.photo_rows_of(group[0]))]
    cards = photo_cards(results, pairs, (row for group in GROUPS for row in results.rows_of(group[0])), amplify)
    lead = min(lead_photo(results), len(cards) - 1)
    return _template().render(
        title=title,
        summary=summary,
        amplify=amplify,
        results=results,
        groups=groups,
        least=least_deployment(results),
        deployments=summarize_deployments(results),
        margins=[(run, summarize_margins(run.margins)) for run in results.runs],
        unmoved=unmoved_runs(results),
        adversaries=adversary_sentences(results),
        footnotes=tables.footnotes(results, "*", "†", str),
        missing=tables.count_missing(results),
        reasons=tables.failure_reasons(results, str),
        gallery_notes=face_tables.notes(results, str),
        plots=list(_plots(results)),
        cards=cards,
        lead=lead,
        aside=aside,
        settings=settings_tables(results),
    )


def heat_steps(scheme: str) -> list[tuple[str, str]]:
    """Return (background, ink) of each step of the heat map, as CSS colors; their contrast is at least 4.5."""
    low, high = HEAT_COLORS[scheme]
    colors = [
        tuple(round(a + (b - a) * step / STEPS) for a, b in zip(low, high, strict=True)) for step in range(STEPS + 1)
    ]
    return [
        ("#{:02x}{:02x}{:02x}".format(*color), "#000" if _luminance(color) > 0.1791 else "#fff") for color in colors
    ]


def _luminance(color: Sequence[int]) -> float:
    """Relative luminance (WCAG 2.2); above 0.1791 black has the better contrast, and either has 4.58 there."""
    linear = [(part / 255 / 12.92) if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _plots(results: Results) -> Iterator[ReportPlot]:
    by_epsilon = plots.accuracy_by_epsilon(results)
    if by_epsilon is not None:
        description = plots.describe_accuracy_by_epsilon(results)
        yield ReportPlot(*plot_uris(by_epsilon), "By the strength of the change", "", description)
    for run in results.runs:
        by_channel = plots.accuracy_by_channel(results, run.name)
        if by_channel is not None:
            description = plots.describe_accuracy_by_channel(results, run.name)
            yield ReportPlot(*plot_uris(by_channel), "By the channel", run.name, description)


def _template() -> jinja2.Template:
    jinja = template_environment()
    jinja.globals |= {"tables": tables, "face_tables": face_tables, "distortion_table": distortion_table}
    jinja.globals |= {"object_tables": object_tables, "language_tables": language_tables}
    jinja.globals |= {"attribute_tables": attribute_tables}
    jinja.globals |= {"heat_steps": heat_steps, "number_of": number_of, "open": OPEN, "words": ROLE_WORDS}
    jinja.globals["meanings"] = {name: deployment.meaning for name, deployment in DEPLOYMENTS.items()}
    jinja.filters |= {
        "percent": percent,
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
        "csp_hash": csp_hash,
        "step": lambda share: round(share * STEPS),
    }
    return jinja.get_template("report.html.j2")
