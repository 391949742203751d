"""Plan a run over a folder without writing: photos to protect, and estimates of time and memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic

from onlymymodel.data.folder import Entry
from onlymymodel.data.image_io import Header, PhotoError
from onlymymodel.protect import run_record
from onlymymodel.protect.batches import header_of, protect_batch
from onlymymodel.protect.budget.strengths import STRENGTHS
from onlymymodel.protect.folder import Job
from onlymymodel.protect.folder_run import FolderRun

STEPS = 4  # of the optimizer, that are measured
TRIES = 3  # photos that are tried where one cannot be protected


@dataclass(frozen=True)
class Plan:
    """Plan of a run.

    Attributes:
        to_do: photos that would be protected.
        finished: number of photos that an earlier run has finished.
        own: number of photos that are protected files of an earlier run.
        refused: pictures that would be skipped, each with its reason.
        not_photos: number of other files.
        pixels: number of pixels of each photo in `to_do` whose header can be read, in ascending order.
        too_large: photos in `to_do` that do not fit into the memory, each with the reason.
        alone: number of the others that are too large for a whole batch of them.
        peak_bytes: of memory, that a process takes for the largest photo that fits, or for a batch that fits.
    """

    to_do: tuple[Entry, ...]
    finished: int
    own: int
    refused: tuple[Entry, ...]
    not_photos: int
    pixels: tuple[int, ...]
    too_large: dict[str, str]
    alone: int
    peak_bytes: int


@dataclass(frozen=True)
class Timing:
    """Estimated time of one photo, measured in a few steps of the optimizer.

    Attributes:
        photo: path of the photo below the source, of middle size.
        seconds: for all steps of the recipe, at one strength.
        most_strengths: number of strengths that may be tried on a photo.
    """

    photo: str
    seconds: float
    most_strengths: int = 1


def plan_folder(job: Job) -> Plan:
    """Return what `protect_folder` would do.

    Raises:
        UserError: see `scan` and `run_record.check_source`, or the manifest of the output folder cannot be read.
    """
    run_record.check_source(job.out, job.source, job.store.base)
    entries, run = job.entries(), _run(job)
    run.find_own(entries)
    to_do, finished, own = list[Entry](), 0, 0
    for entry in entries:
        if entry.status == "photo":
            read = run.read_batch([entry])
            finished += len(read.finished)
            own += len(read.own)
            if not read.finished and not read.own:
                to_do.append(entry)
    headers = {str(entry.relative): header for entry in to_do if (header := _header(entry, job)) is not None}
    context, limits = job.context, job.limits
    too_large = {name: reason for name, header in headers.items() if (reason := limits.refusal(header, context))}
    together = {name: limits.fits(header, context, job.batch_size) for name, header in headers.items()}
    needs = [
        limits.need(header, context, job.batch_size if together[name] else 1)
        for name, header in headers.items()
        if name not in too_large
    ]
    return Plan(
        to_do=tuple(to_do),
        finished=finished,
        own=own,
        refused=tuple(entry for entry in entries if entry.status == "refused"),
        not_photos=sum(entry.status == "not-a-photo" for entry in entries),
        pixels=tuple(sorted(_pixels(header) for header in headers.values())),
        too_large=too_large,
        alone=sum(not together[name] for name in headers if name not in too_large),
        peak_bytes=max(needs, default=limits.resident),
    )


def time_photo(job: Job, photos: Sequence[Entry]) -> Timing | None:
    """Protect a photo of middle size in a few steps, and return how long all steps would take.

    Args:
        job: the run.
        photos: photos that would be protected.

    Returns:
        The timing; None where no photo that was tried can be protected.
    """
    headers = {entry: _header(entry, job) for entry in photos}
    inside = [entry for entry in photos if (header := headers[entry]) is None or job.limits.fits(header, job.context)]
    by_size = sorted(inside, key=lambda entry: _pixels(headers[entry]))
    middle = len(by_size) // 2
    candidates = [*by_size[middle:], *reversed(by_size[:middle])][:TRIES]
    return next(filter(None, (_timing(job, entry) for entry in candidates)), None)


def _timing(job: Job, entry: Entry) -> Timing | None:
    """Return the timing of one photo; None where it cannot be protected."""
    context, times = job.context, list[float]()
    steps = min(STEPS, context.recipe.steps)
    quick = replace(context, recipe=replace(context.recipe, steps=steps), auto_strength=False)
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
    most = len(STRENGTHS) if context.auto_strength else 1
    return Timing(str(entry.relative), seconds + each * (context.recipe.steps - steps), most)


def _run(job: Job) -> FolderRun:
    """Return the run, which is not started; that of a shard is in the folder of the shard."""
    if job.shard is None:
        return FolderRun(job)
    folder = job.shard.folder(job.out)
    results = job.store.below(folder.name, folder)
    return FolderRun(replace(job, out=folder, results=results), job.store)


def _header(entry: Entry, job: Job) -> Header | None:
    """Return the header of a photo; None where it cannot be read."""
    try:
        return header_of(entry, job.context)
    except PhotoError:
        return None


def _pixels(header: Header | None) -> int:
    return 0 if header is None else header.width * header.height
