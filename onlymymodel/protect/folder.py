"""Protect a folder of photos in batches, resumable after any interruption, with one manifest line for each photo."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onlymymodel.data.folder import Entry, check_destination, scan
from onlymymodel.data.rows.source import RowsFolder
from onlymymodel.data.source import Source, local_path
from onlymymodel.data.stores.store import LocalStore, Store
from onlymymodel.protect import run_record
from onlymymodel.protect.attack.targets import target_class_of_each
from onlymymodel.protect.context import Context
from onlymymodel.protect.dataset_card import write_card
from onlymymodel.protect.folder_run import FolderRun
from onlymymodel.protect.folder_summary import Summary
from onlymymodel.protect.limits import UNLIMITED, Limits
from onlymymodel.protect.photo_record import MANIFEST
from onlymymodel.protect.ray_engine import RaySettings
from onlymymodel.protect.shards import Shard, check_shards
from onlymymodel.protect.workers import WorkerSettings
from onlymymodel.runtime import configure
from onlymymodel.surrogates.uri import parse_uri

__all__ = ["Job", "Summary", "protect_folder", "relative_path"]


@dataclass(frozen=True)
class Job:
    """A folder to protect, and where to write the protected photos.

    Attributes:
        source: a folder, or one photo, also of a remote store; or rows of Parquet files.
        out: a new folder, or that of an earlier, unfinished run with the same settings.
        context: models and settings.
        uris: URIs of the run's models, for `run.json`.
        labels: class index of each photo by its path below the source; the label of any other photo is the authorized
            model's answer.
        masks: for the region `mask`: one mask for all photos, or a folder with a mask for each photo, which has the
            photo's path and name with any image suffix.
        batch_size: number of photos of one working size, or of faces on them, that are optimized together.
        only: paths below the source of the photos to protect; other files are ignored. All photos if None.
        workers: processes, or actors of Ray, that compute, each with one thread; None to compute in this one. The
            written bytes do not depend on it where this one has one thread, too.
        shard: the part of the photos to protect, in a folder of its own in `out`, see `merge_shards`; all if None.
        identical: whether to refuse a process that computes other numbers than the first one, see `Canary`.
        results: the store of the protected photos, whose records are in `out`; the folder `out` if None.
        limits: of memory and time, for each process.
        scanned: what `scan` has found in the source; it is scanned again if None.
    """

    source: Source
    out: Path
    context: Context
    uris: Mapping[str, Any]
    labels: Mapping[str, int] = field(default_factory=dict)
    masks: Path | None = None
    batch_size: int = 8
    only: Collection[str] | None = None
    workers: WorkerSettings | RaySettings | None = None
    shard: Shard | None = None
    limits: Limits = UNLIMITED
    identical: bool = False
    results: Store | None = None
    scanned: Sequence[Entry] | None = None

    @property
    def store(self) -> Store:
        """Return the folder of the protected photos."""
        return LocalStore(self.out) if self.results is None else self.results

    def entries(self) -> list[Entry]:
        """Return every file below the source that the run is about. Raises UserError, see `scan`."""
        entries = self.scanned
        if entries is None:
            entries = scan(self.source, f".{self.context.format}", self.context.exclude, self.store.sources)
        return [
            entry
            for entry in entries
            if (self.only is None or str(entry.relative) in self.only)
            and (self.shard is None or self.shard.has(entry.relative))
        ]


def protect_folder(job: Job, *, progress: bool = True) -> Summary:
    """Protect every photo of a folder; a run that was stopped is resumed.

    The plan (which photos share a batch) depends only on the folder and the settings, and a batch of which only a
    part was written is computed again as a whole, so that a resumed run writes the same bytes.

    Raises:
        UserError: before the first photo, see `scan`, `check_destination`, `target_class_of_each`,
            `Budget.check_available`, `check_shards`, `Store.lock`, `run_record.check_source` and `run_record.write`; or
            later, if the manifest cannot be written, which ends the run.
    """
    configure()
    job = replace(job, results=job.store)  # one store for all of the run: it is held, and remembers files
    entries = job.entries()
    check_destination(job.source, job.out)
    target_class_of_each(job.context.authorized, job.context.surrogates, job.context.recipe)
    job.context.budget.check_available()
    check_shards(job.out, job.shard)
    merged = None
    if job.shard is not None:
        merged = job.store
        _write_run_record(job)
        job = _in_folder_of_shard(job, job.shard)
    photos = sum(entry.status != "not-a-photo" for entry in entries)
    with job.store.lock(photos=photos, offset=_size(job.out / MANIFEST)):
        _write_run_record(job)
        job.store.remove_partials()
        summary = FolderRun(job, merged).protect(entries, progress)
        if merged is None:
            write_card(job.out, summary.counts)
        return summary


def _write_run_record(job: Job) -> None:
    run_record.check_source(job.out, job.source, job.store.base)
    source, rows = relative_path(job.source, job.store.base), isinstance(job.source, RowsFolder)
    run_record.write(job.out, job.context, job.batch_size, job.uris, source, rows=rows)
    if not job.store.create_record(run_record.NAME):  # another run was first: it has to have the same settings
        run_record.write(job.out, job.context, job.batch_size, job.uris, source, rows=rows)


def _in_folder_of_shard(job: Job, shard: Shard) -> Job:
    """Return the job with the folder of the shard, and the models' files relative to it."""
    folder = shard.folder(job.out)
    folder.mkdir(job.out.stat().st_mode & 0o777, exist_ok=True)
    results = job.store.below(folder.name, folder)

    def moved(uri: str) -> str:
        return parse_uri(uri, job.store.base).relative_to(results.base)

    authorized, surrogates = moved(job.uris["authorized"]), [moved(uri) for uri in job.uris["surrogates"]]
    return replace(
        job, out=folder, results=results, uris={**job.uris, "authorized": authorized, "surrogates": surrogates}
    )


def _size(path: Path) -> int:
    """Return the number of bytes of a file; 0 if there is none."""
    return path.stat(follow_symlinks=False).st_size if path.exists() else 0


def relative_path(path: Source, folder: Path) -> str:
    """Return a path relative to a folder, with forward slashes; of a store, its address."""
    here = local_path(path)
    if here is None:
        return str(path)
    return Path(os.path.relpath(here.resolve(), folder.resolve())).as_posix()
