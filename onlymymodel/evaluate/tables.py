"""An evaluation as text: CSV for programs, Markdown for documents, a few columns for the terminal."""

import csv
import io
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence

from onlymymodel.evaluate import identity
from onlymymodel.evaluate.change import QUANTILES, UNCHANGED_NOTE, change, ssim_words
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Results, Row, Run

TERMINAL, CELL = 100, 17  # columns
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of a formula
REASONS = 5
OWN_NOTE = "has classes of its own: right is its answer to the clean photo; where that is missing, so are later ones"
UNMAPPED_NOTE = "has no word for some classes, whose photos are left out of its figures"
NOT_COUNTED = "not independent, and in no mean"
MEAN_NOTE = "A mean counts every independent held-out model the same, and an answer that is missing as a photo it read."
LIMITS = (
    "The held-out models stand for models like them, on photos like these. A model of another kind may still read "
    "them.",
    "The surrogates are no evidence about other models: the protection was fitted to them, so low figures there are "
    "expected and prove little.",
    "Whoever has protected photos can train or adapt a model on them, and methods yet to come may undo the change. "
    "A photo that is out cannot be protected again.",
    "Only these files, through these channels, were judged. Other resizing, cropping, filtering or compression may "
    "weaken the protection, and may cost the authorized model its answer too.",
    "People still recognize what they see: the change is made to be overlooked.",
    "Few photos leave room for chance; the intervals say how much.",
)


def to_csv(results: Results) -> str:
    """One line for each model, version and channel: every count, share and interval; shares in [0, 1].

    Text that a spreadsheet would take for a formula gets a leading apostrophe; what is not UTF-8 becomes `?`.
    """
    runs = {run.name: run for run in results.runs}
    lines = [
        _csv_line(row, version, channel, runs.get(version))
        for row in results.rows
        for version in versions(results)
        for channel in results.channels
    ]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def to_markdown(results: Results) -> str:
    """The tables of an evaluation with the definitions that they need (GitHub's Markdown)."""
    columns = versions(results)
    missing = failed(results)
    blocks = [
        "## What the models read",
        f"{len(results.photos)} photos: share read right [Wilson 95% interval, in %] (right/photos). *Kept* is the "
        "share of the photos read right when clean that is still read right.",
        _grid(["model", "role", *map(code, columns)], _headline(results, columns)),
        *_notes(results, "\\*", "†", code),
        MEAN_NOTE,
        *_recognized(results, columns),
        "## The change",
        _grid(["run", "epsilon", "recipe", "photos"], [_run_line(run) for run in results.runs]),
        _grid(
            ["run", "measure", *QUANTILES], [[code(run.name), *line] for run in results.runs for line in change(run)]
        ),
        f"{UNCHANGED_NOTE} SSIM: {ssim_words()}.",
        *([block for run in results.runs for block in _channels(results, run)] if results.channels[1:] else []),
        "## Failures",
        f"{missing} answers are missing." if missing else "Every model answered every time.",
        *(["\n".join(f"- {reason}" for reason in reasons(results, code))] if results.failures else []),
        "## What this does not promise",
        "\n".join(f"- {limit}" for limit in LIMITS),
    ]
    return "\n\n".join(blocks) + "\n"


def to_text(results: Results) -> str:
    """A table for the terminal, at most 100 columns wide, without control characters."""
    names = [f"{row.role:10} {printable(row.model)}{signs(row, '*', '!')}" for row in results.rows]
    width = min(max(map(len, [*names, " " * 36])), 49)
    at_once = (TERMINAL - width) // CELL
    lines: list[str] = []
    for start in range(0, len(versions(results)), at_once):
        columns = versions(results)[start : start + at_once]
        lines.append(_text_line("", columns, width))
        for name, row in zip(names, results.rows, strict=True):
            scores = [row.score(column) for column in columns]
            lines.append(_text_line(name, [_short(score.share, score.interval) for score in scores], width))
        for channel in results.channels:
            through = "" if channel == AS_WRITTEN else f", {printable(channel)}"
            for name, shares in summaries(results, columns, channel):
                lines.append(_text_line(name + through, [_or_none(share) for share in shares], width))
        for row in identity.recognizers(results):
            lines += _text_identity(row, columns, width)
        lines.append("")
    lines += _notes(results, "*", "!", printable)
    lines += identity.notes(results, printable)
    if missing := failed(results):
        lines.append(f"{missing} answers are missing: not right above, and read in a mean")
    return "\n".join(
        part for line in lines for part in ([line] if len(line) <= TERMINAL else textwrap.wrap(line, TERMINAL))
    )


def versions(results: Results) -> list[str]:
    """`clean` and the runs, in the order of all tables."""
    return [CLEAN, *(run.name for run in results.runs)]


def summaries(results: Results, columns: Sequence[str], channel: str) -> list[tuple[str, list[float | None]]]:
    """What matters of one channel: (name, share for each version)."""
    kept = [results.authorized.score(column, channel).kept for column in columns]
    means = [results.heldout_mean(column, channel) for column in columns]
    return [("authorized, kept", kept), *([("mean of held-out", means)] if results.counted() else [])]


def failed(results: Results) -> int:
    """How many answers are missing, or cannot be measured, over all models, versions and channels."""
    scores = (
        row.score(version, channel) for row in results.rows for version, by in row.answers.items() for channel in by
    )
    return sum(score.failed for score in scores)


def reasons(results: Results, quote: Callable[[str], str]) -> list[str]:
    """The most frequent reasons of failures, each with its model and number."""
    counts = Counter((failure.model, failure.reason) for failure in results.failures)
    told = [
        f"{number} times {quote(model)}: {quote(reason)}" for (model, reason), number in counts.most_common(REASONS)
    ]
    more = len(counts) - len(told)
    return told + ([f"{more} more reasons in results.json"] if more else [])


def percent(share: float) -> str:
    """A share in [0, 1] with one decimal."""
    return f"{share:.1%}"


def signs(row: Row, own: str, remark: str) -> str:
    """The signs behind a model's name."""
    return (own if row.truth == "own" else "") + (remark if row.remark else "")


def code(text: str) -> str:
    """A stranger's text as code of one line that neither ends a table's cell nor is read as Markdown."""
    line = " ".join(_encodable(text).split())
    if line.isprintable() and not set(line) & set("`|\\<"):
        return f"`{line}`" if line else ""
    return "<code>" + "".join(sign if sign.isalnum() or sign == " " else f"&#{ord(sign)};" for sign in line) + "</code>"


def printable(text: str) -> str:
    """A stranger's text without what would steer a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _csv_line(row: Row, version: str, channel: str, run: Run | None) -> dict[str, str | int | float | None]:
    score = row.score(version, channel)
    return {
        "model": _cell(row.model),
        "role": row.role,
        "family": _cell(row.family),
        "truth": row.truth,
        "remark": _cell(row.remark),
        "version": _cell(version),
        "epsilon": run.epsilon if run else 0.0,
        "recipe": _cell(run.recipe if run else ""),
        "channel": _cell(channel),
        "photos": score.photos,
        "right": score.right,
        "failed": score.failed,
        "share": score.share,
        "share_low": score.interval[0],
        "share_high": score.interval[1],
        "readable": score.readable,
        "still_right": score.still_right,
        "kept": score.kept,
        "kept_low": score.kept_interval[0],
        "kept_high": score.kept_interval[1],
        "unprotected": score.unprotected,
        "sha256": _cell(row.sha256),
        **identity.columns(row, version, channel),
    }


def _cell(text: str) -> str:
    return _encodable("'" + text if text.startswith(FORMULA) else text)


def _encodable(text: str) -> str:
    # a file name that is not UTF-8 reaches us with lone surrogates
    return text.encode("utf-8", "replace").decode("utf-8")


def _headline(results: Results, columns: Sequence[str]) -> list[list[str]]:
    """A line a model; what the authorized model keeps below it, the mean at the end."""
    lines = []
    for row in results.rows:
        scores = [row.score(column) for column in columns]
        name = code(row.model) + signs(row, "\\*", "†")
        lines.append([name, row.role, *(_long(one.share, one.interval, one.right, one.photos) for one in scores)])
        if row.role == "authorized":
            kept = [_long(one.kept, one.kept_interval, one.still_right, one.readable) for one in scores]
            lines.append([name, "kept", *kept])
    means = [["", name, *map(_or_none, shares)] for name, shares in summaries(results, columns, AS_WRITTEN)[1:]]
    return lines + means


def _long(share: float | None, interval: tuple[float, float], hits: int | None, total: int) -> str:
    if share is None:
        return "none"
    return f"{percent(share)} [{interval[0] * 100:.1f}-{interval[1] * 100:.1f}] ({hits}/{total})"


def _recognized(results: Results, columns: Sequence[str]) -> list[str]:
    """Heading, table and notes of the models that have a gallery; nothing where there are none."""
    lines = [
        [code(row.model) + signs(row, "\\*", "†"), code(version), code(channel)]
        + [_long(one.share, one.interval, one.hits, one.total) for one in identity.figures(row, version, channel)]
        for row in identity.recognizers(results)
        for version in columns
        for channel in results.channels
    ]
    if not lines:
        return []
    head = ["model", "version", "channel", *identity.NAMES]
    told = "\n".join(f"- {note}" for note in identity.notes(results, code))
    return ["## Who is recognized", identity.NOTE, _grid(head, lines), told]


def _run_line(run: Run) -> list[str]:
    ended = ", ".join(f"{number} {code(status)}" for status, number in run.statuses.items())
    epsilon = "not known" if run.epsilon is None else f"{run.epsilon:g}/255"
    budget = f"{epsilon}, {run.bounds}" if run.bounds else epsilon
    return [code(run.name), budget, code(run.recipe), ended or "not known"]


def _channels(results: Results, run: Run) -> list[str]:
    """Heading and table of what passes through each channel."""
    by_channel = [summaries(results, [run.name], channel) for channel in results.channels]
    lines = [
        [name, *(_or_none(channel[place][1][0]) for channel in by_channel)]
        for place, (name, _) in enumerate(by_channel[0])
    ]
    for row in results.rows:
        shares = [percent(row.score(run.name, channel).share) for channel in results.channels]
        lines.append([code(row.model) + signs(row, "\\*", "†"), *shares])
    return [f"## {code(run.name)} through other channels", _grid(["", *map(code, results.channels)], lines)]


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def _notes(results: Results, own: str, remark: str, quote: Callable[[str], str]) -> list[str]:
    """What the signs mean that occur."""
    told = [f"{own} {OWN_NOTE}"] if any(row.truth == "own" for row in results.rows) else []
    marked = [row for row in results.rows if row.remark]
    told += [f"{remark} {quote(row.model)} is {NOT_COUNTED}: {quote(row.remark)}" for row in marked]
    return told + [
        f"{quote(row.model)} {UNMAPPED_NOTE}: {', '.join(map(quote, row.unmapped))}"
        for row in results.rows
        if row.unmapped
    ]


def _text_identity(row: Row, columns: Sequence[str], width: int) -> list[str]:
    """A line for each figure of a model with a gallery."""
    lines = [_fit(f"identity: {printable(row.model)}", width)]
    by_version = [identity.figures(row, column) for column in columns]
    for name, found in zip(identity.NAMES, zip(*by_version, strict=True), strict=True):
        lines.append(_text_line(f"  {name}", [_short(one.share, one.interval) for one in found], width))
    return lines


def _text_line(label: str, cells: Sequence[str], width: int) -> str:
    shown = [_fit(printable(cell), CELL - 2) for cell in cells]
    return (_fit(label, width).ljust(width) + "".join(f"{cell:>{CELL}}" for cell in shown)).rstrip()


def _short(share: float | None, interval: tuple[float, float]) -> str:
    return "none" if share is None else f"{percent(share)} [{interval[0] * 100:.0f}-{interval[1] * 100:.0f}]"


def _or_none(share: float | None) -> str:
    return "none" if share is None else percent(share)


def _fit(text: str, width: int) -> str:
    """The text with its middle left out where it is too long: both ends tell models apart."""
    if len(text) <= width:
        return text
    kept = width - 3
    return text[: kept - kept // 2] + "..." + text[len(text) - kept // 2 :]
