"""Summarize the outcomes of a run's photos, in words and as JSON values."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from onlymymodel.errors import number_of
from onlymymodel.evaluate.text import replace_unprintable
from onlymymodel.protect.folder_summary import Outcome, Summary
from onlymymodel.protect.photo_record import MANIFEST

NAMED = 10  # photos of one status, or else reasons, that are named
SIGNATURE_LOST = "the folder was signed and has changed: its seal has no signature now (--sign KEY)"
NUMBER = re.compile(r"-?\d+(\.\d+)?")
ALREADY_MISREAD = (
    "written, but no stand-in reads the original, so nothing shows that the change misleads a model; name stand-ins "
    "that read these photos"
)


def report(summary: Summary, out: str, say: Callable[[str], None], name: str = "") -> None:
    """Say how many photos have each status and why.

    Args:
        summary: outcome of the run.
        out: the output folder, a path or an address.
        say: prints a line.
        name: of what was protected, before the first line.
    """
    counts = summary.counts
    say(f"{name}{counts['protected']} of {counts.total()} photos protected, in {replace_unprintable(out)}")
    if counts["already-misread"]:
        say(f"{counts['already-misread']} already-misread: {ALREADY_MISREAD}")
    for status in ("unchanged", "skipped", "failed"):
        if counts[status]:
            say(f"{counts[status]} {status}:")
            for line in _reasons([outcome for outcome in summary.outcomes if outcome.status == status], out):
                say(replace_unprintable(f"  {line}"))
    if summary.own_outputs:
        were, are = ("was", "is") if summary.own_outputs == 1 else ("were", "are")
        say(
            f"{summary.own_outputs} of the photos in the source {were} written by an earlier run and {are} protected "
            "already: protect originals, not protected photos"
        )
    if summary.not_photos:
        say(f"{number_of(summary.not_photos, 'other file')} ignored")


def _reasons(outcomes: Sequence[Outcome], out: str) -> Iterator[str]:
    """Yield lines with the reasons: of each photo, or of photos with the same reason where there are many."""
    if len(outcomes) <= NAMED:
        yield from (f"{outcome.source}: {outcome.reason}" for outcome in outcomes)
        return
    alike: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        alike.setdefault(NUMBER.sub("#", outcome.reason), []).append(outcome)
    groups = sorted(alike.values(), key=len, reverse=True)
    for first, *others in groups[:NAMED]:
        yield f"{first.source}{f' and {len(others)} more' if others else ''}: {first.reason}"
    if len(groups) > NAMED:
        yield f"... and {number_of(len(groups) - NAMED, 'more reason')}, in {out}/{MANIFEST}"


def summary_fields(summary: Summary) -> dict[str, Any]:
    """Return the outcome of a run as JSON values."""
    return {
        "photos": summary.counts.total(),
        "counts": dict(summary.counts),
        "not_protected": [
            {"photo": outcome.source, "status": outcome.status, "reason": outcome.reason}
            for outcome in summary.outcomes
            if outcome.status != "protected"
        ],
        "other_files": summary.not_photos,
        "protected_before": summary.own_outputs,
    }
