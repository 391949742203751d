"""Read the progress of all runs in a folder, of the whole or of its shards, in which each photo counts once."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from onlymymodel.data.folder import scan
from onlymymodel.data.regular_file import read_regular
from onlymymodel.errors import UserError
from onlymymodel.protect.output_folder import MAX_BYTES, RUN_RECORD
from onlymymodel.protect.run_status import MANIFEST, RunStatus, read_run
from onlymymodel.protect.shards import Shard, find_shards, shard_of

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class FolderStatus:
    """Progress of all runs in a folder.

    Attributes:
        runs: the run in the folder itself, if it has photos of its own; then those of its shards, in order.
        counts: number of photos with each status, by the latest record of each photo.
        photos: number of photos in the source, or with a record; None where that is not known.
        gone: number of photos with a record that the source no longer has; 0 where that is not known.
        absent: shards without a folder that have photos to do, or may have; none where shards of several counts are
            there.
    """

    runs: tuple[RunStatus, ...]
    counts: Counter[str]
    photos: int | None
    gone: int = 0
    absent: tuple[Shard, ...] = ()

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The shards that have a folder."""
        return tuple(run.shard for run in self.runs if run.shard is not None)


def read_status(out: Path, last: int) -> FolderStatus:
    """Return what the run in a folder has done, or the runs of its shards.

    Args:
        out: the output folder of `omm protect`.
        last: number of last lines of each manifest to keep.

    Raises:
        UserError: the folder was not made by `omm protect`, or a file in it cannot be read.
    """
    if not (out / RUN_RECORD).is_file():
        raise UserError(f"{out} was not made by omm protect: it has no {RUN_RECORD}")
    shards = find_shards(out)
    try:
        whole = None if shards and not (out / MANIFEST).exists() else read_run(out, None, last)
        parts = [read_run(shard.folder(out), shard, last) for shard in shards]
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error
    if whole is not None and not parts:
        return _of_whole(whole, out)
    return _of_shards(whole, parts, _names_in_source(out))


def _of_whole(run: RunStatus, out: Path) -> FolderStatus:
    """Return the progress of a whole run; while it may be at work, its lock tells the number of photos."""
    if run.photos is None or run.state not in ("running", "unknown"):
        run = replace(run, names=_names_in_source(out))
    return FolderStatus((run,), run.counts, run.photos, _gone(run.statuses, run.names))


def _of_shards(whole: RunStatus | None, parts: Sequence[RunStatus], names: Set[str] | None) -> FolderStatus:
    """Return the progress of shards, and of the run into which earlier ones were merged.

    Args:
        whole: the merged run; None if there is none.
        parts: the shards.
        names: the photos in the source; None where they are not known.
    """
    merged: Mapping[str, str] = {} if whole is None else whole.statuses
    shards = [part.shard for part in parts if part.shard is not None]
    counts = {shard.count for shard in shards}
    names_of, merged_of = (_by_shard(some, counts) for some in (names or (), merged))
    runs = [] if whole is None else [replace(whole, names=names)]
    for part, shard in zip(parts, shards, strict=True):
        mine = None if names is None else names_of[shard]
        earlier = {name: merged[name] for name in merged_of[shard]}
        runs.append(replace(part, statuses={**earlier, **part.statuses}, names=mine))
    latest = dict(merged)
    for part in sorted(parts, key=lambda part: part.written or _NEVER):
        latest |= part.statuses
    absent: set[Shard] = set()
    if len(counts) == 1:
        (count,) = counts
        absent = {Shard(number, count) for number in range(1, count + 1)}.difference(shards)
        if names is not None:
            absent &= {shard_of(PurePosixPath(name), count) for name in names - latest.keys()}
        elif whole is not None:  # they may have been merged
            absent = set()
    return FolderStatus(
        tuple(runs),
        Counter(latest.values()),
        _total(runs[-len(parts) :], latest, names, complete=len(counts) == 1 and len(shards) == max(counts)),
        _gone(latest, names),
        tuple(sorted(absent, key=lambda shard: shard.number)),
    )


def _total(
    shards: Sequence[RunStatus], latest: Mapping[str, str], names: Set[str] | None, *, complete: bool
) -> int | None:
    """Return the number of photos of all shards; without the source their locks tell it, if all of them are there."""
    if names is not None:
        return len(names | latest.keys())
    numbers = [run.photos for run in shards]
    known = [number for number in numbers if number is not None]
    return max(sum(known), len(latest)) if complete and len(known) == len(numbers) else None


def _gone(statuses: Mapping[str, str], names: Set[str] | None) -> int:
    return 0 if names is None else len(statuses.keys() - names)


def _by_shard(names: Iterable[str], counts: Set[int]) -> defaultdict[Shard, set[str]]:
    """Return the photos of each shard, for each number of shards."""
    found = defaultdict[Shard, set[str]](set)
    for name in names:
        for count in counts:
            found[shard_of(PurePosixPath(name), count)].add(name)
    return found


def _names_in_source(out: Path) -> set[str] | None:
    """Return the photos of the source, and what looks like one; None where the source is not a folder here."""
    try:
        run: dict[str, Any] = json.loads(read_regular(out / RUN_RECORD, MAX_BYTES, follow_links=False))
        exclude = tuple(map(str, run["settings"].get("exclude", ())))
        entries = scan(out / os.fspath(run["source"]), exclude=exclude)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UserError):
        return None
    return {str(entry.relative) for entry in entries if entry.status != "not-a-photo"}
