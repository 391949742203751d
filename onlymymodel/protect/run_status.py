"""Read the progress of a run from its folder while it writes, without writing or importing torch."""

import json
import os
import platform
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from onlymymodel.data.folder import Entry, scan
from onlymymodel.data.folder_lock import Holder, read_lock
from onlymymodel.data.manifest import Line, Manifest
from onlymymodel.data.regular_file import read_regular
from onlymymodel.errors import UserError
from onlymymodel.protect.output_folder import MAX_BYTES, RUN_RECORD
from onlymymodel.protect.shards import Shard, find_shards

MANIFEST = "manifest.jsonl"
State = Literal["running", "stopped", "unknown", "not running"]


@dataclass(frozen=True)
class RunStatus:
    """Progress of a run.

    Attributes:
        folder: its output folder.
        shard: the shard whose folder it is; None for a whole run.
        counts: number of photos with each status.
        photos: number of photos that the run is about; None if neither the run nor the source tells.
        here: number of photos that the present, or last, run has recorded; earlier runs recorded the others.
        holder: who holds the lock of the folder, or held it when it was killed.
        written: when the manifest was last written; None where there is none.
        last: the last lines of the manifest.
    """

    folder: Path
    shard: Shard | None
    counts: Counter[str]
    photos: int | None
    here: int
    holder: Holder | None
    written: datetime | None
    last: tuple[Line, ...]

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


def read_status(out: Path, last: int) -> list[RunStatus]:
    """Return what the run in a folder has done, or the runs of its shards.

    Args:
        out: the output folder of `omm protect`.
        last: number of last lines of the manifest to keep.

    Returns:
        The status of each shard, in order; before them that of the folder itself, if it has photos of its own.

    Raises:
        UserError: the folder was not made by `omm protect`, or a file in it cannot be read.
    """
    if not (out / RUN_RECORD).is_file():
        raise UserError(f"{out} was not made by omm protect: it has no {RUN_RECORD}")
    shards = find_shards(out)
    try:
        whole = [] if shards and not (out / MANIFEST).exists() else [_read(out, None, out, last)]
        return [*whole, *(_read(shard.folder(out), shard, out, last) for shard in shards)]
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error


def _read(folder: Path, shard: Shard | None, out: Path, last: int) -> RunStatus:
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
    photos = holder.photos if holder is not None else _photos_of_source(out, shard)
    written = _written(folder / MANIFEST)
    return RunStatus(folder, shard, Counter(statuses.values()), photos, here, holder, written, tuple(lines))


def _written(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat(follow_symlinks=False).st_mtime, UTC)
    except FileNotFoundError:
        return None


def _photos_of_source(out: Path, shard: Shard | None) -> int | None:
    """Return the number of photos of the source, or of a shard of it; None where the source is not a folder here."""
    try:
        run: dict[str, Any] = json.loads(read_regular(out / RUN_RECORD, MAX_BYTES, follow_links=False))
        exclude: Sequence[str] = tuple(map(str, run["settings"].get("exclude", ())))
        source = out / os.fspath(run["source"])
        entries: Sequence[Entry] = scan(source, exclude=exclude)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UserError):
        return None
    mine = (entry for entry in entries if shard is None or shard.has(entry.relative))
    return sum(entry.status != "not-a-photo" for entry in mine)
