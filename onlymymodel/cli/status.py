"""`omm status`."""

import argparse
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from onlymymodel.cli.flags import folder_here, natural
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.parser import Parser
from onlymymodel.evaluate.text import replace_unprintable
from onlymymodel.progress import duration
from onlymymodel.protect.shards import parts_of

if TYPE_CHECKING:
    from onlymymodel.protect.folder_status import FolderStatus
    from onlymymodel.protect.run_status import RunStatus

LAST = 3  # lines that are shown
ABSENT = 10  # shards that have not begun and are named
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
        from onlymymodel.protect.folder_status import read_status
    status = read_status(arguments.out, arguments.last)
    output = arguments.output
    output.say(_counts(str(arguments.out), status.counts, status.photos))
    output.say(*map(replace_unprintable, _lines_of_all(status)))
    output.add(
        out=arguments.out,
        counts=dict(status.counts),
        photos=status.photos,
        gone=status.gone,
        not_begun=[str(shard) for shard in status.absent],
        shard_counts=sorted({shard.count for shard in status.shards}),
        runs=[_fields(run) for run in status.runs],
    )
    return 0


def _lines_of_all(status: "FolderStatus") -> Iterator[str]:
    """Yield what is said below the counts of all photos."""
    if status.gone:
        yield f"  {status.gone} of them no longer in the source"
    if len({shard.count for shard in status.shards}) > 1:
        yield f"  {parts_of(status.shards)}: omm merge takes those of one count; remove the folders of the others"
    for run in status.runs:
        yield from _lines(run, merged=run.shard is None and len(status.runs) > 1)
    for shard in status.absent[:ABSENT]:
        yield f"shard {shard}: not begun"
    if len(status.absent) > ABSENT:
        yield f"... and {len(status.absent) - ABSENT} more shards: not begun"


def _counts(name: str, counts: Mapping[str, int], photos: int | None) -> str:
    of = "" if photos is None else f" of {photos}"
    by_status = ", ".join(f"{count} {status}" for status, count in counts.items())
    done = f"{sum(counts.values())}{of} photos done"
    return replace_unprintable(f"{name}: {done}" + (f": {by_status}" if by_status else ""))


def _lines(status: "RunStatus", *, merged: bool) -> Iterator[str]:
    """Yield what is said of one run; `merged`: shards of it are there, too."""
    if status.shard is not None:
        yield _counts(f"shard {status.shard}", status.counts, status.photos)
    elif merged:
        yield _counts("merged before", status.counts, None)
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
