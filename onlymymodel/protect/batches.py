"""Plan batches of photos, and protect each of them, whatever one photo in it does."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from onlymymodel.data.folder import Entry
from onlymymodel.data.image_io import Header, Photo, encode, probe, probe_bytes
from onlymymodel.data.time_limit import TimeUp, time_limit
from onlymymodel.errors import UserError, first_line
from onlymymodel.protect.attack.external_run import AttackError
from onlymymodel.protect.attack.optimizer import OnStep
from onlymymodel.protect.context import Context, PhotoSource
from onlymymodel.protect.limits import TOO_MUCH_TIME, UNLIMITED, Limits
from onlymymodel.protect.photo import protect_photos
from onlymymodel.protect.photo_outcome import blank_record
from onlymymodel.protect.photo_record import PhotoRecord
from onlymymodel.protect.working_shape import working_shape

Result = tuple[bytes | None, PhotoRecord]

# beginnings of the reasons of failures that another run may not have
NO_MEMORY, UNEXPECTED = "not enough memory for this photo", "an error of this program"

_SOUND_SIDE = 64  # pixels of a photo on which nothing but the program or a model can fail

log = logging.getLogger(__name__)


def plan_batches(
    photos: Sequence[Entry], context: Context, batch_size: int, limits: Limits = UNLIMITED
) -> Iterator[list[Entry]]:
    """Yield batches of equal working size, in the order of their first photos.

    A photo is a batch of its own if a whole batch of such photos would be outside the limit of memory; or if its header
    cannot be read: the same error will be recorded when it is decoded.
    """

    @cache  # many photos have one size
    def shape_of(header: Header) -> object | None:
        fits = limits.fits(header, context, batch_size)
        return working_shape(header.height, header.width, header.channels, context.recipe) if fits else None

    groups: dict[object, list[Entry]] = {}
    for entry in photos:
        try:
            header = header_of(entry, context)
        except Exception:  # noqa: BLE001 - see above
            groups[entry.relative] = [entry]
            continue
        if entry.header is None:
            entry = replace(entry, header=header)
        shape = shape_of(header)
        groups.setdefault(entry.relative if shape is None else shape, []).append(entry)
    for members in groups.values():
        for start in range(0, len(members), batch_size):
            yield members[start : start + batch_size]


def header_of(entry: Entry, context: Context) -> Header:
    """Return the header of a photo, also where it was read before. Raises PhotoError, see `probe`."""
    known = entry.header
    if known is not None and known.width * known.height <= context.max_pixels:
        return known
    return probe(entry.file, context.max_pixels, first_frame=context.first_frame)


def protect_batch(
    sources: Sequence[PhotoSource],
    context: Context,
    on_step: OnStep | None,
    batch_size: int,
    limits: Limits = UNLIMITED,
) -> list[Result]:
    """Protect photos; those that are outside the limits, or fail, do so alone.

    What is too large for the memory is skipped before it is decoded. A batch has the time of all its photos; if that
    does not suffice, they are tried again one by one.

    Raises:
        UserError: see `protect_photos`.
        Exception: an error that a sound photo causes too.
    """
    refused = {index: reason for index, source in enumerate(sources) if (reason := refusal(source, context, limits))}
    inside = [source for index, source in enumerate(sources) if index not in refused]
    results = iter(_protect(inside, context, on_step, batch_size, limits.seconds) if inside else ())
    return [
        (None, blank_record(source, context, "skipped", refused[index])) if index in refused else next(results)
        for index, source in enumerate(sources)
    ]


def refusal(source: PhotoSource, context: Context, limits: Limits) -> str | None:
    """Return why a photo is too large for the memory, by its header; None for one that is not, or is no photo."""
    if limits.memory is None:
        return None
    try:
        header = probe_bytes(source.data, context.max_pixels, first_frame=context.first_frame)
    except Exception:  # noqa: BLE001 - the same error will be recorded when it is decoded
        return None
    return limits.refusal(header, context)


def _protect(
    sources: Sequence[PhotoSource], context: Context, on_step: OnStep | None, batch_size: int, seconds: float | None
) -> list[Result]:
    """Protect photos that fit into the memory, see `protect_batch`.

    Photos are tried again in halves, and in smaller batches where memory does not suffice, so that an error is found to
    be that of one photo. It becomes that photo's record, and its traceback is logged.

    Raises:
        UserError: see `protect_photos`.
        Exception: an error that a sound photo causes too.
    """
    try:
        with time_limit(None if seconds is None else seconds * len(sources)):
            results = protect_photos(sources, context, on_step, batch_size)
        return [_finite(result, source, context) for result, source in zip(results, sources, strict=True)]
    except UserError:
        raise
    except TimeUp:
        if len(sources) == 1:
            reason = f"{TOO_MUCH_TIME} the limit of {seconds:g} s (--time-limit)"
            return [(None, blank_record(sources[0], context, "failed", reason))]
        return [result for source in sources for result in _protect([source], context, on_step, 1, seconds)]
    except Exception as error:  # noqa: BLE001 - it is raised again, or becomes a record and is logged
        out_of_memory = _is_out_of_memory(error)
        if len(sources) == 1 and not (out_of_memory and batch_size > 1):
            return [(None, _failure(sources[0], error, context))]
    smaller = max(1, batch_size // 2) if out_of_memory else batch_size
    if len(sources) == 1:
        return _protect(sources, context, on_step, smaller, seconds)
    middle = len(sources) // 2
    return [
        *_protect(sources[:middle], context, on_step, smaller, seconds),
        *_protect(sources[middle:], context, on_step, smaller, seconds),
    ]


def _failure(source: PhotoSource, error: Exception, context: Context) -> PhotoRecord:
    """Return the record of a photo that was tried alone and failed.

    Raises:
        Exception: the error, if it is not the photo's.
    """
    if _is_out_of_memory(error):
        return blank_record(source, context, "failed", NO_MEMORY)
    if isinstance(error, AttackError):
        return blank_record(source, context, "failed", str(error))
    if _fails_on_a_sound_photo(context):
        raise error
    log.error("a photo is left out", exc_info=error)
    return blank_record(source, context, "failed", f"{UNEXPECTED}: {type(error).__name__}: {first_line(error)}")


def _fails_on_a_sound_photo(context: Context) -> bool:
    """Return whether a gray photo cannot be protected either, in one step of the optimizer."""
    pixels = np.full((_SOUND_SIDE, _SOUND_SIDE, 3), 128, np.uint8)
    data = encode(pixels, like=Photo(pixels, None, None, None, "PNG", ()))
    # the whole photo, as it has neither a mask nor a face
    whole, steps = replace(context.region, kind="image", no_face="image"), min(1, context.recipe.steps)
    quick = replace(context, recipe=replace(context.recipe, steps=steps), region=whole)
    try:
        protect_photos([PhotoSource(data)], quick, None, 1)
    except AttackError:
        return False
    except Exception:  # noqa: BLE001 - the caller raises the error of the photo
        return True
    return False


def _finite(result: Result, source: PhotoSource, context: Context) -> Result:
    """Return a result, or a failure where its record has values that no JSON file can hold (NaN, infinity)."""
    try:
        json.dumps(result[1].to_json(), allow_nan=False)
    except ValueError:
        return None, blank_record(source, context, "failed", "a model's answer to it is not a finite number")
    return result


def _is_out_of_memory(error: BaseException) -> bool:
    # on the CPU torch raises a plain RuntimeError
    message = str(error.__cause__ if isinstance(error, AttackError) else error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in message
