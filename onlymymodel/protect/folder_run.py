"""One run over the photos of a folder: read batches, write files, and record each photo in the manifest."""

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import UNSET

from onlymymodel.data.folder import Entry
from onlymymodel.data.manifest import sha256
from onlymymodel.data.regular_file import max_photo_bytes, read_regular
from onlymymodel.data.stores.store import Store
from onlymymodel.progress import Task, counted
from onlymymodel.protect.batches import NO_MEMORY, UNEXPECTED, Result, plan_batches, protect_batch
from onlymymodel.protect.canary import Canary, run_canary
from onlymymodel.protect.context import PhotoSource
from onlymymodel.protect.earlier_records import EarlierRecords
from onlymymodel.protect.folder_summary import Outcome, Summary
from onlymymodel.protect.known_sources import KnownSources
from onlymymodel.protect.limits import TOO_MUCH_MEMORY, TOO_MUCH_TIME
from onlymymodel.protect.machines import add_machine
from onlymymodel.protect.masks import Masks
from onlymymodel.protect.own_outputs import own_outputs
from onlymymodel.protect.photo_outcome import blank_record
from onlymymodel.protect.photo_record import REPLACED, PhotoManifest, PhotoRecord
from onlymymodel.protect.ray_engine import RaySettings
from onlymymodel.protect.read_batch import Batch
from onlymymodel.protect.remote_batches import CHANGED, NOT_READ, PhotoName
from onlymymodel.protect.workers import WORKER_ENDED

if TYPE_CHECKING:
    from onlymymodel.protect.folder import Job

NOT_WRITTEN, NOT_REMOVED = "cannot be written", "the file of an earlier run cannot be removed"
KEPT = "the file of an earlier run stays"
OTHERS = (errno.ELOOP, errno.EINVAL, errno.EFBIG)  # errors of a link, of what is no file, and of one that has grown
# the photo may not have caused it, or another run may have other limits: the next run tries it again
TRIED_AGAIN = (
    NOT_WRITTEN, NOT_REMOVED, NO_MEMORY, UNEXPECTED, WORKER_ENDED, TOO_MUCH_MEMORY, TOO_MUCH_TIME, CHANGED, NOT_READ,
    REPLACED,
)  # fmt: skip


class FolderRun:
    """One run over a folder.

    Attributes:
        earlier: records of earlier runs into the same folder.
        merged: those of the store into which shards were merged; what is finished there is not computed again.
        own: see `own_outputs`.
        own_found: number of photos that are among them.
    """

    def __init__(self, job: "Job", merged: Store | None = None) -> None:
        self.job = job
        self.store = job.store
        self.manifest = PhotoManifest(job.out)
        self.earlier = EarlierRecords(self.store)
        self.merged = None if merged is None else EarlierRecords(merged)
        self.known = KnownSources(self.store.sources)
        self.masks = Masks(job.masks)
        self.own: Mapping[str, str] = {}
        self.own_found = 0

    def protect(self, entries: Sequence[Entry], progress: bool) -> Summary:
        """Protect the photos among the entries, and record the other files that look like photos as skipped."""
        outcomes: list[Outcome] = []
        self.find_own(entries)
        photos = [entry for entry in entries if entry.status == "photo"]
        with counted("protecting", len(photos), progress=progress) as task:
            for entry in entries:
                if entry.status == "refused":
                    record = self._record_refused(entry)
                    outcomes.append(Outcome(record.source, record.status, record.reason))
            batches = map(self.read_batch, self._plan(photos))
            for batch, results in self._compute(batches, task):
                for record in self._record_batch(batch, results):
                    outcomes.append(Outcome(record.source, record.status, record.reason))
                    task.photo(record.source, record.status, record.reason, record.seconds)
                self.store.save_records()
        if self.manifest.appended or self.earlier.superseded:
            self.earlier.close()
            self.manifest.drop_superseded()
        self.store.finish_records()
        not_photos = sum(entry.status == "not-a-photo" for entry in entries)
        return Summary(tuple(outcomes), not_photos, self.own_found)

    def find_own(self, entries: Sequence[Entry]) -> None:
        """Find what earlier runs have written, before the first batch is read."""
        merged = {} if self.merged is None else self.merged.outputs
        self.own = own_outputs(self.job.source, entries, {**merged, **self.earlier.outputs})

    def _plan(self, photos: Sequence[Entry]) -> Iterator[list[Entry]]:
        return plan_batches(photos, self.job.context, self.job.batch_size, self.job.limits)

    def _compute(self, batches: Iterator[Batch], task: Task[object]) -> Iterator[tuple[Batch, list[Result]]]:
        """Yield each batch with the results of its sources, computed here or by workers."""
        job, last, computed = self.job, monotonic(), 0
        if job.workers is not None:
            with job.workers.pool(job.context, job.batch_size, self._admit, job.limits) as pool:
                for batch, results in pool.run(batches):
                    if results:
                        # the first batches of all workers end at about the same time
                        shared = job.workers.count if computed < job.workers.count else 1
                        task.worked(len(results), (monotonic() - last) / shared)
                        computed += 1
                        last = last if computed < job.workers.count else monotonic()
                    yield batch, results
            return
        for batch in batches:
            # bound now: the step is shown while this batch is at work
            def on_step(step: int, steps: int, count: int = len(batch.sources)) -> None:
                task.note(f"{count} at work, step {step}/{steps}")

            results = []
            if batch.sources:
                if not computed:
                    self._admit(run_canary(job.context))
                computed += 1
                last = monotonic()
                results = protect_batch(batch.sources, job.context, on_step, job.batch_size, job.limits)
                task.worked(len(results), monotonic() - last)
            yield batch, results

    def _admit(self, canary: Canary) -> None:
        """Record the kind of machine of a process that computes; raises UserError where it must not, see `Job`."""
        add_machine(self.job.out, canary, identical=self.job.identical)

    def read_batch(self, entries: Sequence[Entry]) -> Batch:
        """Read the photos of a batch, and see which of them an earlier run finished."""
        if (finished := self._finished(entries)) is not None:
            return finished
        batch, digests = Batch(), list[str]()
        for entry in entries:
            label = self.job.labels.get(str(entry.relative))
            try:
                reason = NOT_WRITTEN
                if entry.output is not None:
                    self.store.check(str(entry.output))
                reason, stamp = "cannot be read", self.known.stamp(entry)
                source = self._read(entry, label)
            except (OSError, MemoryError) as error:
                reason = f"{reason}: {error.strerror}" if isinstance(error, OSError) else NO_MEMORY
                record = blank_record(PhotoSource(b"", label), self.job.context, "failed", reason)
                batch.unread.append((entry, replace(record, source_sha256=None)))
                continue
            digest = sha256(source.data)
            self.known.add(entry, digest, stamp)
            if digest in self.own:
                batch.own.append((entry, source, digest))
            else:
                batch.readable.append((entry, source))
                digests.append(digest)
                if isinstance(self.job.workers, RaySettings):
                    batch.names.append(PhotoName.of(entry, digest, label, self.masks.of(entry.relative)))
        for (entry, source), digest in zip(batch.readable, digests, strict=True):
            for record, store in self._earlier_records(entry):
                if self._holds(record, digest, source, store):
                    batch.finished[entry.relative] = record
        return batch

    def _finished(self, entries: Sequence[Entry]) -> Batch | None:
        """Return the batch without reading its photos, if they have not changed and are finished."""
        batch = Batch()
        for entry in entries:
            digest = None if self.job.context.region.kind == "mask" else self.known.sha256(entry)
            if digest is None or digest in self.own:
                return None
            source = PhotoSource(b"", self.job.labels.get(str(entry.relative)))
            batch.readable.append((entry, source))
            for record, store in self._earlier_records(entry):
                if self._holds(record, digest, source, store):
                    batch.finished[entry.relative] = record
            if entry.relative not in batch.finished:
                return None
        return batch

    def _earlier_records(self, entry: Entry) -> Iterator[tuple[PhotoRecord, Store]]:
        """Yield the records of a photo from earlier runs, and the store that has its file."""
        for earlier in (self.merged, self.earlier):
            if earlier is not None and (record := earlier.get(str(entry.relative))) is not None:
                yield record, earlier.store

    def _record_batch(self, batch: Batch, results: Sequence[Result]) -> Iterator[PhotoRecord]:
        """Record each photo of a batch; files that an earlier run finished are not written again."""
        for entry, record in batch.unread:
            yield self._finish_unread(entry, record)
        for entry, source, digest in batch.own:
            yield self._leave_own(entry, source, digest)
        computed = iter(results)
        for entry, _ in batch.readable:
            result = next(computed, None)  # none where all are finished
            if result is None or entry.relative in batch.finished:
                yield batch.finished[entry.relative]
            else:
                yield self._finish(entry, *result)

    def _leave_own(self, entry: Entry, source: PhotoSource, digest: str) -> PhotoRecord:
        """Return the record of a photo that an earlier run has written, which is not protected again.

        Where it has come into the place of its own original, the record of that original is kept.
        """
        self.own_found += 1
        for earlier, store in self._earlier_records(entry):
            if earlier.output is not None and earlier.output_sha256 == digest and store.holds(earlier.output, digest):
                return earlier
        reason = f"it is a protected photo already: {self.own[digest]}"
        return self._finish(entry, None, blank_record(source, self.job.context, "skipped", reason))

    def _read(self, entry: Entry, label: int | None) -> PhotoSource:
        """Return the input of a photo. Raises OSError or MemoryError."""
        limit = max_photo_bytes(self.job.context.max_pixels)
        mask = self.masks.of(entry.relative)
        return PhotoSource(read_regular(entry.file, limit), label, None if mask is None else read_regular(mask, limit))

    def _holds(self, record: PhotoRecord, digest: str, source: PhotoSource, store: Store) -> bool:
        """Return whether a record of an earlier run still holds: same source, mask, label and file in the store."""
        if record.source_sha256 != digest:
            return False
        if record.status in ("failed", "skipped") and record.reason.startswith(TRIED_AGAIN):
            return False
        if self.job.context.region.kind == "mask":
            # earlier versions recorded no region for a photo that was not protected: it had no mask, or it is
            # protected again
            recorded = None if record.region is None or record.region.sha256 is UNSET else record.region.sha256
            if recorded != (None if source.mask is None else sha256(source.mask)):
                return False
        if (record.label if record.label_source == "given" else None) != source.label:
            return False
        return record.output is None or store.holds(record.output, record.output_sha256)

    def _finish(self, entry: Entry, data: bytes | None, record: PhotoRecord) -> PhotoRecord:
        """Write the protected photo, or remove the file that an earlier run wrote for it; then write its record."""
        record = replace(record, source=str(entry.relative))
        earlier = self.earlier.get(record.source)
        if data is not None and entry.output is not None:
            try:
                self.store.write(str(entry.output), data, entry.file)
                record = replace(record, output=str(entry.output), output_sha256=sha256(data))
                self._release(str(entry.output), record.source)
            except OSError as error:
                record = replace(record, status="failed", reason=f"{NOT_WRITTEN}: {error.strerror}")
        if record.output is None and earlier is not None and earlier.output is not None:
            try:
                self.store.remove(earlier.output)
            except OSError as error:
                reason = f"{NOT_REMOVED}: {error.strerror} ({record.reason})"
                record = replace(record, status="failed", reason=reason)
                record = replace(record, output=earlier.output, output_sha256=earlier.output_sha256)
        if earlier is None or replace(earlier, seconds=None) != replace(record, seconds=None):
            self.manifest.append(record)
        return record

    def _release(self, output: str, source: str) -> None:
        """Record that a file which was that of another photo is now that of this one: the other is gone."""
        other = self.earlier.source_of(output)
        if other is not None and other != source and (earlier := self.earlier.get(other)) is not None:
            self.manifest.append(earlier.replaced_by(source))

    def _record_refused(self, entry: Entry) -> PhotoRecord:
        record = blank_record(PhotoSource(b""), self.job.context, "skipped", entry.reason or "")
        return self._finish_unread(entry, replace(record, source_sha256=None))

    def _finish_unread(self, entry: Entry, record: PhotoRecord) -> PhotoRecord:
        """Return the record of a photo that is not read, and write it unless an earlier run's may still be true.

        That its original cannot be read now, or only elsewhere, is no reason to remove what was protected.
        """
        for earlier, store in self._earlier_records(entry):
            has_file = earlier.output is not None and store.holds(earlier.output, earlier.output_sha256)
            if has_file and self._may_have(entry, earlier.source_sha256):
                return replace(record, source=earlier.source, reason=f"{record.reason}; {KEPT}")
        return self._finish(entry, None, record)

    def _may_have(self, entry: Entry, digest: str | None) -> bool:
        """Return whether a photo may have these contents: it has, or is a file that cannot be read."""
        try:
            limit = max_photo_bytes(self.job.context.max_pixels)
            return sha256(read_regular(entry.file, limit, follow_links=False)) == digest
        except OSError as error:
            return error.errno not in OTHERS
