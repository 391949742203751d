"""A folder of photos: planned, batched, resumable; every file ends in one line of the manifest."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from onlymymodel.data.atomic import sweep_partials, write_atomic
from onlymymodel.data.folder import Entry, check_destination, scan
from onlymymodel.data.image_io import SUFFIXES, PhotoError, probe
from onlymymodel.data.manifest import Manifest, sha256, sha256_file
from onlymymodel.errors import UserError
from onlymymodel.protect import run_record
from onlymymodel.protect.context import Context, Record, Source
from onlymymodel.protect.photo import protect_photos, working_shape
from onlymymodel.protect.record import blank_record
from onlymymodel.protect.toward import words_for_toward
from onlymymodel.runtime import configure

MANIFEST = "manifest.jsonl"
# failures of the machine, not of the photo: the next run tries again
NOT_WRITTEN, NO_MEMORY = "cannot be written", "not enough memory for this photo"


@dataclass(frozen=True)
class Job:
    """What to protect and where to.

    Attributes:
        source: a folder, or one photo.
        out: a folder, new or of an earlier, unfinished run with the same settings.
        labels: class index of each photo by its path below the source; others get the authorized model's answer.
        masks: for the region `mask`: one picture for all photos, or a folder with one for each, at its path and under
            its name with any suffix of a photo.
        batch_size: photos of one working size, or people on them, that are optimized together.
        only: paths below the source; other files are as if they were not there. All if None.
    """

    source: Path
    out: Path
    context: Context
    uris: run_record.ModelUris
    labels: Mapping[str, int] = field(default_factory=dict)
    masks: Path | None = None
    batch_size: int = 8
    only: Collection[str] | None = None


@dataclass(frozen=True)
class Summary:
    """How many photos ended in each status, and how many other files were passed over."""

    counts: Counter[str]
    passed_over: int

    @property
    def all_protected(self) -> bool:
        """Whether every photo is protected."""
        return set(self.counts) <= {"protected"}


def protect_folder(job: Job, *, progress: bool = True) -> Summary:
    """Protect every photo of a folder; a run that was stopped goes on where it was.

    The plan (which photos share a batch) depends on the folder and the settings alone, and a batch of which only
    a part was written is computed whole again, so that a resumed run writes the same bytes.

    Raises:
        UserError: before the first photo, see `scan`, `check_destination`, `words_for_toward`, `Budget.check_at_hand`
            and `run_record.write`; or because the manifest cannot be written, or a file of an earlier run cannot be
            removed, after which nothing more is.
    """
    configure()
    found = scan(job.source, f".{job.context.format}")
    entries = [entry for entry in found if job.only is None or str(entry.relative) in job.only]
    check_destination(job.source, job.out)
    words_for_toward(job.context.authorized, job.context.surrogates, job.context.recipe)
    job.context.budget.check_at_hand()
    run_record.write(job.out, job.context, job.batch_size, job.uris, seen_from(job.source, job.out))
    sweep_partials(job.out)
    manifest = Manifest(job.out / MANIFEST)
    done = manifest.by_source()
    counts: Counter[str] = Counter()
    photos = [entry for entry in entries if entry.status == "photo"]
    with tqdm(total=len(photos), unit="photo", disable=None if progress else True) as bar:
        for entry in entries:
            if entry.status == "refused":
                counts["skipped"] += 1
                _note_refused(entry, done, job, manifest)
        for batch in _plan(photos, job):
            for record in _run_batch(batch, job, done, manifest, bar):
                counts[record["status"]] += 1
                bar.update()
                bar.set_postfix(counts, refresh=False)
    return Summary(counts, sum(entry.status == "not-a-photo" for entry in entries))


def _plan(photos: Sequence[Entry], job: Job) -> Iterator[list[Entry]]:
    """Batches of equal working size, in the order of their first photos."""
    groups: dict[object, list[Entry]] = {}
    for entry in photos:
        try:
            header = probe(entry.path, job.context.max_pixels)
            shape = working_shape(header.height, header.width, header.channels, job.context.recipe)
            groups.setdefault(shape, []).append(entry)
        except (PhotoError, OSError):
            groups[entry.relative] = [entry]  # it will say the same when it is read
    for members in groups.values():
        for start in range(0, len(members), job.batch_size):
            yield members[start : start + job.batch_size]


def _run_batch(
    batch: Sequence[Entry], job: Job, done: Mapping[str, Record], manifest: Manifest, bar: Any
) -> Iterator[Record]:
    """Protect a batch and write down each photo; what an earlier run has written already is kept as it is."""
    read: list[tuple[Entry, Source]] = []
    for entry in batch:
        label = job.labels.get(str(entry.relative))
        try:
            read.append((entry, Source(entry.path.read_bytes(), label, _mask_of(entry, job.masks))))
        except OSError as error:
            record = blank_record(Source(b"", label), job.context, "failed", f"cannot be read: {error.strerror}")
            yield _write_down(entry, None, {**record, "source_sha256": None}, done, job, manifest)
    kept = {entry.relative for entry, source in read if _is_done(entry, source, done, job)}
    if len(kept) == len(read):
        yield from (done[str(entry.relative)] for entry, _ in read)
        return

    def on_step(step: int, steps: int) -> None:
        bar.set_postfix_str(f"{len(read)} at work, step {step}/{steps}")

    results = _with_less_memory([source for _, source in read], job.context, on_step, job.batch_size)
    for (entry, _), (data, record) in zip(read, results, strict=True):
        if entry.relative in kept:
            yield done[str(entry.relative)]
        else:
            yield _write_down(entry, data, record, done, job, manifest)


def _with_less_memory(
    sources: Sequence[Source], context: Context, on_step: Any, rows_at_once: int
) -> list[tuple[bytes | None, Record]]:
    """Protect photos together, or in halves where memory does not suffice; the people on one photo likewise."""
    try:
        return protect_photos(sources, context, on_step, rows_at_once)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
    if len(sources) == 1 and rows_at_once == 1:
        return [(None, blank_record(sources[0], context, "failed", NO_MEMORY))]
    fewer = max(1, rows_at_once // 2)
    if len(sources) == 1:
        return _with_less_memory(sources, context, on_step, fewer)
    middle = len(sources) // 2
    return [
        *_with_less_memory(sources[:middle], context, on_step, fewer),
        *_with_less_memory(sources[middle:], context, on_step, fewer),
    ]


def _is_out_of_memory(error: BaseException) -> bool:
    # on the CPU torch raises a plain RuntimeError
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


def _mask_of(entry: Entry, masks: Path | None) -> bytes | None:
    """The bytes of a photo's mask; None where there is none."""
    if masks is None or masks.is_file():
        return None if masks is None else masks.read_bytes()
    place = masks / entry.relative.parent
    there = {path.suffix for path in place.iterdir()} if place.is_dir() else set()
    # as `scan` takes photos: however the suffix is spelled, lower case first
    suffixes = sorted((suffix for suffix in there if suffix.lower() in SUFFIXES), key=str.swapcase)
    found = (place / f"{entry.relative.stem}{suffix}" for suffix in suffixes)
    return next((path.read_bytes() for path in found if path.is_file()), None)


def _is_done(entry: Entry, source: Source, done: Mapping[str, Record], job: Job) -> bool:
    """Whether the manifest's last line of a photo still holds: same source, mask and label, same written file."""
    record = done.get(str(entry.relative))
    if record is None or record["source_sha256"] != sha256(source.data):
        return False
    if record["status"] == "failed" and record["reason"].startswith((NOT_WRITTEN, NO_MEMORY)):
        return False
    if job.context.region.kind == "mask":
        # no region: a photo that came to nothing, by an earlier version; it had no mask, or says so after another look
        seen = (record.get("region") or {}).get("sha256")
        if seen != (None if source.mask is None else sha256(source.mask)):
            return False
    given = record["label"] if record["label_source"] == "given" else None
    if given != source.label:
        return False
    if record["output"] is None:
        return True
    output = job.out / record["output"]
    return output.is_file() and sha256_file(output) == str(record["output_sha256"])


def _write_down(
    entry: Entry, data: bytes | None, record: Record, done: Mapping[str, Record], job: Job, manifest: Manifest
) -> Record:
    """Write the photo, or remove what an earlier run wrote of it; then its line."""
    output = None
    if data is not None and entry.output is not None:
        try:
            write_atomic(job.out / entry.output, data)
            output = str(entry.output)
        except OSError as error:
            record = {**record, "status": "failed", "reason": f"{NOT_WRITTEN}: {error.strerror}"}
    if output is None:
        _remove_earlier(done.get(str(entry.relative)), job.out)
    line = {
        "source": str(entry.relative),
        "output": output,
        "output_sha256": sha256(data) if data is not None and output is not None else None,
        **record,
    }
    try:
        manifest.append(line)
    except OSError as error:
        raise UserError(
            f"{manifest.path} cannot be written: {error.strerror}; what is protected so far stays"
        ) from error
    return line


def _remove_earlier(record: Record | None, out: Path) -> None:
    """Remove the file that a photo's last line names: whoever shares the folder would share an outdated picture."""
    if record is None or record["output"] is None:
        return
    path = out / record["output"]
    try:
        if path.is_file():  # whatever else took its place is not ours
            path.unlink()
    except OSError as error:
        raise UserError(
            f"{path} is of an earlier run and cannot be removed: {error.strerror}; remove it, then begin again"
        ) from error


def _note_refused(entry: Entry, done: Mapping[str, Record], job: Job, manifest: Manifest) -> None:
    earlier = done.get(str(entry.relative))
    record = blank_record(Source(b""), job.context, "skipped", entry.reason or "")
    if earlier is None or (earlier["status"], earlier["reason"]) != (record["status"], record["reason"]):
        _write_down(entry, None, {**record, "source_sha256": None}, done, job, manifest)


def seen_from(path: Path, folder: Path) -> str:
    """A path relative to a folder."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
