"""What a run over a folder would do, and how long it would take; nothing is written."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic

import torch

from onlymymodel.data.folder import Entry
from onlymymodel.data.image_io import PhotoError
from onlymymodel.protect.batches import header_of, protect_batch
from onlymymodel.protect.folder import Job
from onlymymodel.protect.folder_run import FolderRun
from onlymymodel.protect.own_outputs import own_outputs

STEPS = 4  # of the optimizer, that are measured
TRIES = 3  # photos that are tried where one cannot be protected


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        to_do: photos that would be protected.
        finished: number of photos that an earlier run has finished.
        own: number of photos that are protected files of an earlier run.
        refused: pictures that would be skipped, each with its reason.
        not_photos: number of other files.
        pixels: number of pixels of each photo in `to_do` whose header can be read, in ascending order.
    """

    to_do: tuple[Entry, ...]
    finished: int
    own: int
    refused: tuple[Entry, ...]
    not_photos: int
    pixels: tuple[int, ...]


@dataclass(frozen=True)
class Timing:
    """How long one photo takes, measured in a few steps of the optimizer.

    Attributes:
        photo: path of the photo below the source, of middle size.
        seconds: for all steps of the recipe.
        peak_bytes: memory of the accelerator, or else of this process, at its peak.
    """

    photo: str
    seconds: float
    peak_bytes: int


def plan_folder(job: Job) -> Plan:
    """Return what `protect_folder` would do.

    Raises:
        UserError: see `scan`, or the manifest of the output folder cannot be read.
    """
    entries, run = job.entries(), _run(job)
    run.own = own_outputs(job.source, entries, job.out)
    to_do, finished, own = list[Entry](), 0, 0
    for entry in entries:
        if entry.status == "photo":
            read = run.read_batch([entry])
            finished += len(read.finished)
            own += len(read.own)
            if not read.finished and not read.own:
                to_do.append(entry)
    return Plan(
        to_do=tuple(to_do),
        finished=finished,
        own=own,
        refused=tuple(entry for entry in entries if entry.status == "refused"),
        not_photos=sum(entry.status == "not-a-photo" for entry in entries),
        pixels=tuple(sorted(filter(None, (_pixels(entry, job) for entry in to_do)))),
    )


def time_photo(job: Job, photos: Sequence[Entry]) -> Timing | None:
    """Protect a photo of middle size in a few steps, and return how long all steps would take.

    Args:
        job: the run.
        photos: photos that would be protected.

    Returns:
        The timing; None where no photo that was tried can be protected.
    """
    by_size = sorted(photos, key=lambda entry: _pixels(entry, job))
    middle = len(by_size) // 2
    candidates = [*by_size[middle:], *reversed(by_size[:middle])][:TRIES]
    return next(filter(None, (_timing(job, entry) for entry in candidates)), None)


def _timing(job: Job, entry: Entry) -> Timing | None:
    """Return the timing of one photo; None where it cannot be protected."""
    context, times = job.context, list[float]()
    steps = min(STEPS, context.recipe.steps)
    quick = replace(context, recipe=replace(context.recipe, steps=steps))
    began = monotonic()
    sources = [source for _, source in _run(job).read_batch([entry]).readable]
    if not sources:
        return None
    ((_, record),) = protect_batch(sources, quick, lambda *_: times.append(monotonic()), 1)
    seconds = monotonic() - began
    if record.status in ("skipped", "failed"):
        return None
    # the first step also prepares what the others use
    each = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    return Timing(str(entry.relative), seconds + each * (context.recipe.steps - steps), _peak_bytes(context.device))


def _run(job: Job) -> FolderRun:
    """Return the run, which is not started; that of a shard is in the folder of the shard."""
    if job.shard is None:
        return FolderRun(job)
    folder = job.shard.folder(job.out)
    results = job.store.below(folder.name, folder)
    return FolderRun(replace(job, out=folder, results=results), job.store)


def _pixels(entry: Entry, job: Job) -> int:
    """Return the number of pixels of a photo; 0 where its header cannot be read."""
    try:
        header = header_of(entry, job.context)
    except PhotoError:
        return 0
    return header.width * header.height


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
