"""An evaluation as a text table for the terminal."""

import textwrap
from collections.abc import Sequence

from onlymymodel.errors import number_of
from onlymymodel.evaluate import attribute_tables, face_tables, language_tables, object_tables
from onlymymodel.evaluate.adversaries import adversary_sentences
from onlymymodel.evaluate.deployment_summary import summarize_deployments
from onlymymodel.evaluate.heldout_effect import unmoved_runs
from onlymymodel.evaluate.recorded_margins import summarize_margins
from onlymymodel.evaluate.results import AS_WRITTEN, ROLE_WORDS, Results, Row
from onlymymodel.evaluate.score import Proportion
from onlymymodel.evaluate.tables import count_missing, footnote_marks, footnotes, summary_shares
from onlymymodel.evaluate.text import percent, percent_or_none, replace_unprintable, shorten
from onlymymodel.surrogates.deployments import DEPLOYMENTS

TERMINAL, CELL, LONGEST_LABEL, SHORTEST_LABEL = 100, 17, 49, 20  # columns
OWN_MARK, EXCLUDED_MARK = "*", "!"
HEADS = ("identity", "originals")  # of the figures of a model with a gallery, and of an embedder


def to_text(results: Results, columns: int = TERMINAL) -> str:
    """Return a table for the terminal, without control characters.

    Args:
        results: the evaluation.
        columns: width of the terminal. Names of models are shortened so that the originals and one protected folder fit
            side by side, and more folders are shown below.
    """
    names = [
        f"{ROLE_WORDS[row.role]:10} {replace_unprintable(row.model)}{footnote_marks(row, OWN_MARK, EXCLUDED_MARK)}"
        for row in results.photo_rows
    ]
    room = max(SHORTEST_LABEL, min(LONGEST_LABEL, columns - 2 * CELL))
    width = min(max(map(len, [*names, " " * 36])), room)
    per_block = max(1, (columns - width) // CELL)
    lines: list[str] = []
    for start in range(0, len(results.versions), per_block):
        lines += [*_block(results, results.versions[start : start + per_block], names, width), ""]
    lines += [f"{replace_unprintable(s.run)}: {s.describe()}" for s in summarize_deployments(results)]
    lines += [f"{replace_unprintable(run)}: {sentence}" for run, sentence in adversary_sentences(results)]
    margins = {run.name: summarize_margins(run.margins) for run in results.runs}
    lines += [
        f"{replace_unprintable(run)}: {replace_unprintable(summary.describe())}"
        for run, summary in margins.items()
        if summary
    ]
    lines += footnotes(results, OWN_MARK, EXCLUDED_MARK, replace_unprintable)
    lines += face_tables.notes(results, replace_unprintable)
    if missing := count_missing(results):
        are = number_of(missing, "answer is", "answers are")
        lines.append(f"{are} missing: not right above, and counted as read in a mean")
    lines += [f"{replace_unprintable(run)}: {sentence}" for run, sentence in unmoved_runs(results)]
    return "\n".join(
        part for line in lines for part in ([line] if len(line) <= columns else textwrap.wrap(line, columns))
    )


def _block(results: Results, versions: Sequence[str], names: Sequence[str], width: int) -> list[str]:
    """Lines of as many versions as fit side by side."""
    lines = [_line("", versions, width)]
    for name, row in zip(names, results.photo_rows, strict=True):
        scores = [row.score(version) for version in versions]
        lines.append(_line(name, [_cell(Proportion(score.right, score.photos)) for score in scores], width))
    for channel in results.channels:
        if channel in DEPLOYMENTS:
            continue  # summarized below
        through = "" if channel == AS_WRITTEN else f", {replace_unprintable(channel)}"
        for name, shares in summary_shares(results, versions, channel):
            lines.append(_line(name + through, [percent_or_none(share) for share in shares], width))
    for row in face_tables.rows_with_gallery(results):
        lines += _recognition(row, versions, width)
    for row in object_tables.rows_of_detectors(results):
        found = [object_tables.proportions(row, version) for version in versions]
        lines += _figures("objects", row, object_tables.NAMES, found, width)
    for row in language_tables.rows_of_language_models(results):
        said = [language_tables.proportions(row, version) for version in versions]
        lines += _figures("in words", row, language_tables.NAMES, said, width)
    for row in attribute_tables.rows_of_attribute_models(results):
        lines += _correlations(row, versions, width)
    return lines


def _correlations(row: Row, versions: Sequence[str], width: int) -> list[str]:
    """Return a line for each correlation of a model of attributes, and one for what is undefined."""
    lines = [shorten(f"attributes: {replace_unprintable(row.model)}", width, "...")]
    by_version = [attribute_tables.correlations(row, version) for version in versions]
    for name, found in zip(attribute_tables.NAMES, zip(*by_version, strict=True), strict=True):
        present = [correlation for correlation in found if correlation is not None]
        if not present:
            continue
        means = ["none" if one.mean is None else f"{one.mean:.3f}" for one in present]
        lines.append(_line(f"  {name}", means, width))
        if any(one.undefined for one in present):
            counts = [f"{one.undefined} of {one.attributes + one.undefined}" for one in present]
            lines.append(_line("    undefined for", counts, width))
    return lines


def _figures(
    head: str, row: Row, names: Sequence[str], by_version: Sequence[Sequence[Proportion]], width: int
) -> list[str]:
    """Return a line for each figure of a model of a certain kind."""
    return [shorten(f"{head}: {replace_unprintable(row.model)}", width, "...")] + [
        _line(f"  {name}", [_cell(proportion) for proportion in proportions], width)
        for name, proportions in zip(names, zip(*by_version, strict=True), strict=True)
    ]


def _recognition(row: Row, versions: Sequence[str], width: int) -> list[str]:
    """Return a line for each figure of a model with a gallery."""
    lines = [shorten(f"{HEADS[row.kind == 'embedder']}: {replace_unprintable(row.model)}", width, "...")]
    by_version = [face_tables.proportions(row, version) for version in versions]
    for name, proportions in zip(face_tables.NAMES, zip(*by_version, strict=True), strict=True):
        lines.append(_line(f"  {name}", [_cell(proportion) for proportion in proportions], width))
    return lines


def _line(label: str, cells: Sequence[str], width: int) -> str:
    shown = [shorten(replace_unprintable(cell), CELL - 2, "...") for cell in cells]
    return (shorten(label, width, "...").ljust(width) + "".join(f"{cell:>{CELL}}" for cell in shown)).rstrip()


def _cell(proportion: Proportion) -> str:
    if proportion.share is None:
        return "none"
    low, high = proportion.interval
    return f"{percent(proportion.share)} [{low * 100:.0f}-{high * 100:.0f}]"
