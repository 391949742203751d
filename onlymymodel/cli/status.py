"""`omm status`."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from onlymymodel.cli.flags import folder_here, natural
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.parser import Parser
from onlymymodel.evaluate.text import replace_unprintable
from onlymymodel.progress import duration

if TYPE_CHECKING:
    from onlymymodel.protect.run_status import RunStatus

LAST = 3  # lines that are shown
WORDS = {
    "stopped": "stopped before its end",
    "unknown": "on another computer, which this one cannot see at work; it may have been stopped",
}


def add_flags(parser: Parser) -> None:
    """Add the flags."""
    parser.description = (
        "Say what a run of `omm protect` in DST, or of its shards, has done so far, and when it will end. Nothing is\n"
        "written; call it from another terminal while the run is at work."
    )
    parser.add_argument("out", type=folder_here, metavar="DST", help="the --out of omm protect")
    lines = f"number of last photos to show ({LAST})"
    parser.add_argument("--last", type=natural, default=LAST, metavar="N", help=lines)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the status of a run; return 0."""
    with exit_on_interrupt():
        from onlymymodel.protect.run_status import read_status
    statuses = read_status(arguments.out, arguments.last)
    total = _total(statuses)
    output = arguments.output
    output.say(_counts(str(arguments.out), total["counts"], total["photos"]))
    for status in statuses:
        output.say(*map(replace_unprintable, _lines(status)))
    output.add(out=arguments.out, **total, runs=[_fields(status) for status in statuses])
    return 0


def _total(statuses: Sequence["RunStatus"]) -> dict[str, Any]:
    """Return the sums over all runs."""
    counts: Counter[str] = sum((status.counts for status in statuses), Counter())
    numbers = [status.photos for status in statuses]
    known = [number for number in numbers if number is not None]
    return {"counts": dict(counts), "photos": sum(known) if len(known) == len(numbers) else None}


def _counts(name: str, counts: dict[str, int], photos: int | None) -> str:
    of = "" if photos is None else f" of {photos}"
    by_status = ", ".join(f"{count} {status}" for status, count in counts.items())
    done = f"{sum(counts.values())}{of} photos done"
    return replace_unprintable(f"{name}: {done}" + (f": {by_status}" if by_status else ""))


def _lines(status: "RunStatus") -> Iterator[str]:
    """Yield what is said of one run."""
    if status.shard is not None:
        yield _counts(f"shard {status.shard}", status.counts, status.photos)
    state = WORDS.get(status.state, status.state)
    yield f"  {state}" + ("" if status.holder is None else f": {status.holder}")
    if status.seconds_per_photo is not None:
        yield f"  {status.seconds_per_photo:.1f} s a photo, the last at {_local(status.written)}"
    if status.expected_end is not None and status.remaining:
        rest = status.remaining * (status.seconds_per_photo or 0)
        yield f"  {status.remaining} more take about {duration(rest)}: until {_local(status.expected_end)}"
    for line in status.last:
        reason = f": {line['reason']}" if line.get("reason") else ""
        yield f"  {line.get('status')!s:16} {line['source']}{reason}"


def _local(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _fields(status: "RunStatus") -> dict[str, Any]:
    """Return the status of one run as JSON values; moments are in UTC."""
    holder = status.holder
    return {
        "folder": status.folder,
        "shard": None if status.shard is None else str(status.shard),
        "state": status.state,
        "process": None if holder is None else holder.process,
        "computer": None if holder is None else holder.computer,
        "since": None if holder is None else holder.since.isoformat(),
        "photos": status.photos,
        "done": status.done,
        "counts": dict(status.counts),
        "seconds_per_photo": status.seconds_per_photo,
        "last_written": None if status.written is None else status.written.isoformat(),
        "expected_end": None if status.expected_end is None else status.expected_end.isoformat(timespec="seconds"),
        "last": [{key: line.get(key) for key in ("source", "status", "reason", "seconds")} for line in status.last],
    }
