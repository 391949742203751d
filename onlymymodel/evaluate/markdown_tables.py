"""An evaluation as Markdown, for documents (GitHub's dialect)."""

from collections.abc import Callable, Sequence

from onlymymodel.errors import number_of
from onlymymodel.evaluate import attribute_tables, face_tables, language_tables, object_tables
from onlymymodel.evaluate.adversaries import adversary_sentences
from onlymymodel.evaluate.deployment_summary import summarize_deployments
from onlymymodel.evaluate.distortion_table import QUANTILES, UNCHANGED_NOTE, definitions, distortion_rows
from onlymymodel.evaluate.heldout_effect import unmoved_runs
from onlymymodel.evaluate.recorded_margins import summarize_margins
from onlymymodel.evaluate.results import AS_WRITTEN, Results, Row, Run
from onlymymodel.evaluate.score import Proportion
from onlymymodel.evaluate.tables import (
    KEPT_NOTE,
    LIMITS,
    MEAN_NOTE,
    count_missing,
    failure_reasons,
    footnote_marks,
    footnotes,
    summary_shares,
)
from onlymymodel.evaluate.text import encodable, percent, percent_or_none
from onlymymodel.surrogates.deployments import DEPLOYMENTS

OWN_MARK, EXCLUDED_MARK = "\\*", "†"


def to_markdown(results: Results) -> str:
    """Return the tables of an evaluation with the definitions that they need."""
    missing = count_missing(results)
    blocks = [
        "## What the models read",
        f"{number_of(len(results.photos), 'photo')}: share read right [Wilson 95% interval, in %] (right/photos). "
        f"Kept: {KEPT_NOTE}",
        markdown_grid(["model", "role", *map(markdown_code, results.versions)], _model_lines(results)),
        *footnotes(results, OWN_MARK, EXCLUDED_MARK, markdown_code),
        MEAN_NOTE,
        *(f"**{markdown_code(run)}: {sentence}.**" for run, sentence in unmoved_runs(results)),
        *(f"{markdown_code(run)}: {sentence}." for run, sentence in adversary_sentences(results)),
        *_recognition(results),
        *_objects(results),
        *_language(results),
        *_attributes(results),
        "## The change",
        markdown_grid(["run", "epsilon", "recipe", "photos"], [_run_line(run) for run in results.runs]),
        markdown_grid(
            ["run", "measure", *QUANTILES],
            [[markdown_code(run.name), *line] for run in results.runs for line in distortion_rows(run)],
        ),
        f"{UNCHANGED_NOTE} {definitions()}",
        *([block for run in results.runs for block in _channels(results, run)] if results.channels[1:] else []),
        *_deployments(results),
        *(block for run in results.runs for block in _margins(run)),
        "## Failures",
        f"{number_of(missing, 'answer is', 'answers are')} missing." if missing else "Every model answered every time.",
        *([_bullets(failure_reasons(results, markdown_code))] if results.failures else []),
        "## What this does not promise",
        _bullets(LIMITS),
    ]
    return "\n\n".join(blocks) + "\n"


def markdown_code(text: str) -> str:
    """Return text of unknown origin as inline code that neither ends a table's cell nor is read as Markdown."""
    line = " ".join(encodable(text).split())
    if line.isprintable() and not set(line) & set("`|\\<"):
        return f"`{line}`" if line else ""
    escaped = (sign if sign.isalnum() or sign == " " else f"&#{ord(sign)};" for sign in line)
    return f"<code>{''.join(escaped)}</code>"


def markdown_grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table without a newline at its end."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def _model_lines(results: Results) -> list[list[str]]:
    """Return one line for each model, one for what the authorized model keeps, and one for the mean."""
    lines = []
    for row in results.photo_rows:
        scores = [row.score(version) for version in results.versions]
        read = [_with_counts(Proportion(score.right, score.photos)) for score in scores]
        lines.append([_marked(row), row.role, *read])
        if row.role == "authorized":
            kept = [_with_counts(score.kept_of_readable) for score in scores]
            lines.append([_marked(row), "kept", *kept])
    means = summary_shares(results, results.versions, AS_WRITTEN)[1:]
    return lines + [["", name, *map(percent_or_none, shares)] for name, shares in means]


def _recognition(results: Results) -> list[str]:
    """Return heading, table and notes of the models that have a gallery; nothing if there are none."""
    table = _shares(results, face_tables.rows_with_gallery(results), face_tables.proportions, face_tables.NAMES)
    if not table:
        return []
    return ["## Who is recognized", face_tables.NOTE, *table, _bullets(face_tables.notes(results, markdown_code))]


def _objects(results: Results) -> list[str]:
    """Return heading, note and table of the detectors; nothing if there are none."""
    table = _shares(results, object_tables.rows_of_detectors(results), object_tables.proportions, object_tables.NAMES)
    return ["## What is found", object_tables.NOTE, *table] if table else []


def _language(results: Results) -> list[str]:
    """Return heading, note and table of the models that are asked in words; nothing if there are none."""
    rows = language_tables.rows_of_language_models(results)
    table = _shares(results, rows, language_tables.proportions, language_tables.NAMES)
    return ["## Answers that name no class", language_tables.NOTE, *table] if table else []


def _attributes(results: Results) -> list[str]:
    """Return heading, note and table of the models of attributes; nothing if there are none."""
    lines = [
        [_marked(row), markdown_code(version), markdown_code(channel), *attribute_tables.cells(row, version, channel)]
        for row in attribute_tables.rows_of_attribute_models(results)
        for version in results.versions
        for channel in results.channels
    ]
    if not lines:
        return []
    head = ["model", "version", "channel", *attribute_tables.NAMES]
    return ["## Attributes", attribute_tables.NOTE, markdown_grid(head, lines)]


def _shares(
    results: Results,
    rows: Sequence[Row],
    proportions: Callable[[Row, str, str], Sequence[Proportion]],
    names: Sequence[str],
) -> list[str]:
    """Return a table of the shares of some models, a line for each version and channel; nothing without models."""
    lines = [
        [_marked(row), markdown_code(version), markdown_code(channel)]
        + [_with_counts(proportion) for proportion in proportions(row, version, channel)]
        for row in rows
        for version in results.versions
        for channel in results.channels
    ]
    return [markdown_grid(["model", "version", "channel", *names], lines)] if lines else []


def _run_line(run: Run) -> list[str]:
    statuses = ", ".join(f"{count} {markdown_code(status)}" for status, count in run.statuses.items())
    epsilon = "not known" if run.epsilon is None else f"{run.epsilon:g}/255"
    budget = f"{epsilon}, {run.bounds}" if run.bounds else epsilon
    return [markdown_code(run.name), budget, markdown_code(run.recipe), statuses or "not known"]


def _channels(results: Results, run: Run) -> list[str]:
    """Heading and table of the shares through each channel."""
    by_channel = [summary_shares(results, [run.name], channel) for channel in results.channels]
    lines = [
        [name, *(percent_or_none(summary[index][1][0]) for summary in by_channel)]
        for index, (name, _) in enumerate(by_channel[0])
    ]
    for row in results.photo_rows:
        shares = [percent(row.score(run.name, channel).share) for channel in results.channels]
        lines.append([_marked(row), *shares])
    head = ["", *map(markdown_code, results.channels)]
    return [f"## {markdown_code(run.name)} through other channels", markdown_grid(head, lines)]


def _deployments(results: Results) -> list[str]:
    """Heading, sentence and table of the deployments; nothing where none was evaluated."""
    blocks = []
    for summary in summarize_deployments(results):
        lines = []
        for name in (channel for channel in results.channels if channel in DEPLOYMENTS):
            kept = results.authorized.score(summary.run, name).kept_of_readable
            heldout = results.heldout_mean(summary.run, name)
            lines.append([name, DEPLOYMENTS[name].meaning, _with_counts(kept), percent_or_none(heldout)])
        head = ["deployment", "", "authorized: kept of those read when clean", "judges' mean"]
        heading, sentence = f"## {markdown_code(summary.run)} as deployed", summary.describe()
        blocks += [heading, f"{sentence[0].upper()}{sentence[1:]}.", markdown_grid(head, lines)]
    return blocks


def _margins(run: Run) -> list[str]:
    """Heading, sentence and table of the recorded margins; nothing where the manifest has none."""
    summary = summarize_margins(run.margins)
    if summary is None:
        return []
    lines = [
        [
            name,
            _with_counts(Proportion(one.kept, one.photos)),
            *(f"{margin:.2f}" for margin in (one.before, one.after, one.least)),
            markdown_code(one.least_photo),
        ]
        for name, one in run.margins.items()
    ]
    head = ["deployment", "kept of those read when clean", "mean margin, clean", "protected", "least", "photo"]
    sentence = (
        f"Recorded when the photos were protected, in logits: over {number_of(summary.deployments, 'deployment')} the "
        f"margin is {summary.mean:.2f} in the mean and {summary.least.least:.2f} at least (`{summary.least_name}`)."
    )
    return [f"## Margins of {markdown_code(run.name)}", sentence, markdown_grid(head, lines)]


def _marked(row: Row) -> str:
    return markdown_code(row.model) + footnote_marks(row, OWN_MARK, EXCLUDED_MARK)


def _with_counts(proportion: Proportion) -> str:
    if proportion.share is None:
        return "none"
    low, high = proportion.interval
    return f"{percent(proportion.share)} [{low * 100:.1f}-{high * 100:.1f}] ({proportion.hits}/{proportion.total})"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
