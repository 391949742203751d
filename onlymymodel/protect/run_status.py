"""Read the progress of one run from its folder while it writes, without writing or importing torch."""

import platform
from collections import Counter, deque
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Literal

from onlymymodel.data.folder_lock import Holder, read_lock
from onlymymodel.data.manifest import Line, Manifest
from onlymymodel.protect.shards import Shard

MANIFEST = "manifest.jsonl"
State = Literal["running", "stopped", "unknown", "not running"]


@dataclass(frozen=True)
class RunStatus:
    """Progress of a run.

    Attributes:
        folder: its output folder.
        shard: the shard whose folder it is; None for a whole run.
        statuses: the latest status of each photo with a record; for a shard also of photos that were merged before.
        names: its photos in the source; None where they are not known.
        here: number of photos that the present, or last, run has recorded; earlier runs recorded the others.
        holder: who holds the lock of the folder, or held it when it was killed.
        written: when the manifest was last written; None where there is none.
        last: the last lines of the manifest.
    """

    folder: Path
    shard: Shard | None
    statuses: Mapping[str, str]
    here: int
    holder: Holder | None
    written: datetime | None
    last: tuple[Line, ...]
    names: Set[str] | None = None

    @cached_property
    def counts(self) -> Counter[str]:
        """Number of photos with each status."""
        return Counter(self.statuses.values())

    @property
    def photos(self) -> int | None:
        """Number of photos in the source or with a record; by the lock where the source is not known, else None."""
        if self.names is not None:
            return len(self.names | self.statuses.keys())
        if self.holder is None or self.holder.photos is None:
            return None
        return max(self.holder.photos, len(self.statuses))

    @property
    def done(self) -> int:
        """Number of photos that have a record."""
        return self.counts.total()

    @property
    def remaining(self) -> int | None:
        """Number of photos that have none yet; None where that is not known."""
        return None if self.photos is None else max(0, self.photos - self.done)

    @property
    def state(self) -> State:
        """Return whether a run is at work; `stopped` if it was killed, `unknown` if only its computer can tell."""
        if self.holder is None:
            return "not running"
        if self.holder.holds:
            return "running"
        return "stopped" if self.holder.computer == platform.node() else "unknown"

    @cached_property
    def seconds_per_photo(self) -> float | None:
        """Mean time between two records of the run at work; None where none is at work or has recorded anything."""
        if self.state != "running" or not self.here or self.holder is None or self.written is None:
            return None
        return max(0.0, (self.written - self.holder.since).total_seconds()) / self.here

    @property
    def expected_end(self) -> datetime | None:
        """Return when the run at work will have done all photos, at its rate so far; None where that cannot be told."""
        if self.seconds_per_photo is None or self.remaining is None or self.written is None:
            return None
        return self.written + timedelta(seconds=self.remaining * self.seconds_per_photo)


def read_run(folder: Path, shard: Shard | None, last: int) -> RunStatus:
    """Read the manifest and the lock of a run.

    Args:
        folder: its folder.
        shard: the shard whose folder it is; None for a whole run.
        last: number of last lines of the manifest to keep.

    Raises:
        OSError: a file cannot be read.
        UserError: a line of the manifest is broken.
    """
    holder = read_lock(folder)
    statuses: dict[str, str] = {}
    lines: deque[Line] = deque(maxlen=last)
    here, offset_of_run = 0, 0 if holder is None else holder.offset
    manifest = Manifest(folder / MANIFEST)
    for number, (offset, data) in enumerate(manifest.lines(), start=1):
        record = manifest.parse(number, data)
        if record is not None and isinstance(record.get("source"), str):
            statuses[record["source"]] = str(record.get("status"))
            lines.append(record)
            here += offset >= offset_of_run
    return RunStatus(folder, shard, statuses, here, holder, _written(folder / MANIFEST), tuple(lines))


def _written(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat(follow_symlinks=False).st_mtime, UTC)
    except FileNotFoundError:
        return None
