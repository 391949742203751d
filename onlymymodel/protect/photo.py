"""Protect photos in memory: decode, attack, encode, and judge the decoded result."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from onlymymodel.data.image_io import Photo, PhotoError, decode, encode
from onlymymodel.data.manifest import sha256
from onlymymodel.data.pixels import to_array, to_tensor
from onlymymodel.data.time_limit import check_time
from onlymymodel.protect.answer_records import DeploymentMargins
from onlymymodel.protect.attack.attack import protect_rows
from onlymymodel.protect.attack.optimizer import OnStep
from onlymymodel.protect.attack.targets import target_class_of_each
from onlymymodel.protect.auto_strength import Result, protect_at_weakest
from onlymymodel.protect.choices import Format
from onlymymodel.protect.context import Context, PhotoSource
from onlymymodel.protect.faces import find_same_faces, predict_faces
from onlymymodel.protect.photo_job import PhotoJob, photo_generator, start_job
from onlymymodel.protect.photo_outcome import (
    blank_record,
    deployment_margins,
    face_deployment_margins,
    job_record,
    judged_record,
    lost_deployments,
)
from onlymymodel.protect.photo_record import WRITTEN, PhotoRecord
from onlymymodel.protect.portable import is_portable
from onlymymodel.protect.predictions import Predictions, predict_photo
from onlymymodel.protect.region import Area, RegionRecord, find_area
from onlymymodel.protect.working_shape import working_shape
from onlymymodel.runtime import configure
from onlymymodel.surrogates.device_copy import to_device

__all__ = [
    "Context",
    "Format",
    "PhotoRecord",
    "PhotoSource",
    "photo_generator",
    "protect_bytes",
    "protect_photos",
    "working_shape",
]

Stage = Literal["original", "change", "file"]  # asking about the originals, changing them, checking the files
OnStage = Callable[[Stage], None]
BATCH_SIZE = 8  # photos, or faces on photos, that are optimized together


def protect_bytes(source: bytes, *, label: int | None, context: Context) -> tuple[bytes | None, PhotoRecord]:
    """Protect one photo.

    Args:
        source: the bytes of a photo, see `decode`.
        label: class index that the authorized model has to keep; its own clean answer if None.

    Returns:
        The bytes of the protected file (None unless the status is one of `WRITTEN`), and its record: status, reason,
        label, answers before and after, distortion. Answers and distortion are measured on the decoded bytes.
    """
    return protect_photos([PhotoSource(source, label)], context)[0]


def protect_photos(
    sources: Sequence[PhotoSource],
    context: Context,
    on_step: OnStep | None = None,
    batch_size: int = BATCH_SIZE,
    on_stage: OnStage | None = None,
) -> list[tuple[bytes | None, PhotoRecord]]:
    """Protect several photos, with those of one working shape in common batches.

    Args:
        sources: the photos.
        context: the settings that they share.
        on_step: called after each step of the optimizer with the step and the number of steps.
        batch_size: largest number of photos, or of faces on them, that are optimized together. It bounds the memory.
            No photo's random numbers depend on it, but rounding errors of sums do, which grow from step to step:
            another number may give another change inside the same budget. With `make_portable` or `auto_strength`
            every photo is optimized alone on the CPU, and nothing depends on it.
        on_stage: called before each stage of each group of photos of one working size.

    Returns:
        The file and the record of each photo, see `protect_bytes`.

    Raises:
        UserError: the recipe needs something that is missing (a surrogate, a layer, a class to push toward).
        TimeUp: see `time_limit`.
    """
    configure()
    if context.device.type == "cpu" and (context.auto_strength or is_portable()):
        # networks sum in another order in other batches, and which photos a later strength gets depends on the others
        batch_size = 1

    def tell(stage: Stage) -> None:
        check_time()
        if on_stage is not None:
            on_stage(stage)

    target_class_of_each(context.authorized, context.surrogates, context.recipe)
    results: dict[int, Result] = {}
    batches: dict[tuple[int, int, int], list[tuple[int, Photo, Area, Tensor]]] = {}
    for index, source in enumerate(sources):
        try:
            photo = decode(
                source.data,
                max_pixels=context.max_pixels,
                metadata=context.metadata,
                keep_makernotes=context.keep_makernotes,
                first_frame=context.first_frame,
            )
            check_size(photo, context)
            area = find_area(
                photo.pixels,
                source.mask,
                context.region,
                reads_faces=context.reads_faces,
                max_pixels=context.max_pixels,
            )
        except PhotoError as error:
            results[index] = None, _refused_record(source, error, context)
            continue
        original = to_tensor(photo.pixels)
        photo = replace(photo, pixels=original.permute(1, 2, 0).numpy())  # no second copy
        channels, height, width = original.shape
        shape = working_shape(height, width, channels, context.recipe)
        batches.setdefault(shape, []).append((index, photo, area, original))
    for (_, *size), members in batches.items():
        started = time.perf_counter()
        tell("original")
        jobs = [
            start_job(sources[index], photo, area, to_device(original, context.device), context)
            for index, photo, area, original in members
        ]
        preparation = (time.perf_counter() - started) / len(jobs)
        protect = partial(_protect_jobs, size=(size[0], size[1]), on_step=on_step, batch_size=batch_size, tell=tell)
        found = protect_at_weakest(jobs, context, protect) if context.auto_strength else protect(jobs, context)
        for (index, *_), (data, record) in zip(members, found, strict=True):
            results[index] = data, replace(record, seconds=round((record.seconds or 0.0) + preparation, 3))
    return [results[index] for index in range(len(sources))]


def _protect_jobs(
    jobs: Sequence[PhotoJob],
    context: Context,
    *,
    size: tuple[int, int],
    on_step: OnStep | None,
    batch_size: int,
    tell: OnStage,
) -> list[Result]:
    """Protect photos of one working size at the budget of the context; the jobs stay as they are.

    Args:
        jobs: the photos, none of whose rows has been attacked.
        context: models and settings.
        size: height and width at which the attack works.
        on_step, batch_size: see `protect_photos`.
        tell: called before each stage.

    Returns:
        The file and the record of each photo.
    """
    started = time.perf_counter()
    jobs = [job.unchanged() for job in jobs]
    tell("change")
    _attack_rows(jobs, size, context, on_step, batch_size)
    tell("file")
    seconds_so_far = (time.perf_counter() - started) / len(jobs)
    return [_encode_and_judge(job, seconds_so_far, context) for job in jobs]


def _refused_record(source: PhotoSource, error: PhotoError, context: Context) -> PhotoRecord:
    """Return the record of a photo that cannot be protected, with its mask, since another mask may change that."""
    record = blank_record(source, context, error.status, str(error))
    if context.region.kind == "mask":
        region = RegionRecord("mask", sha256=None if source.mask is None else sha256(source.mask))
        return replace(record, region=region)
    return record


def _attack_rows(
    jobs: Sequence[PhotoJob], size: tuple[int, int], context: Context, on_step: OnStep | None, batch_size: int
) -> None:
    """Attack every row of photos of one working size, and copy the changed rows into the composed photos."""
    rows = [(job, row) for job in jobs for row in job.rows(context)]
    for start in range(0, len(rows), batch_size):
        chunk = rows[start : start + batch_size]
        protected = protect_rows(
            [job.attack_row(row, context) for job, row in chunk],
            size,
            authorized=context.authorized,
            surrogates=context.surrogates,
            recipe=context.recipe,
            attack=context.attack,
            on_step=on_step,
        )
        for (job, row), (quantized, steps, note) in zip(chunk, protected, strict=True):
            job.apply_row(row, quantized.pixels)
            if note:
                job.notes.append(note)
            if row == 0:
                job.steps = steps


def check_size(photo: Photo, context: Context) -> None:
    """Check that a photo is large enough for every bound of the budget.

    Raises:
        PhotoError: skipped, since a bound is not defined on so few pixels.
    """
    height, width = photo.pixels.shape[:2]
    for bound in context.budget.bounds:
        if min(height, width) < bound.min_side:
            size, least = f"{width}x{height}", f"the limit is {bound.min_side} pixels a side"
            raise PhotoError("skipped", f"too small for {bound.name.upper()}: {size}, {least}")


def _encode_and_judge(job: PhotoJob, seconds_so_far: float, context: Context) -> tuple[bytes | None, PhotoRecord]:
    """Encode a photo, decode it again and judge the decoded pixels.

    Faces that the authorized model no longer reads correctly are restored first, and the photo is encoded again.

    Args:
        job: the photo, with the changes that the attack found.
        seconds_so_far: time that its protection has taken so far.

    Returns:
        The file and the record, see `protect_bytes`.
    """
    started = time.perf_counter()
    record = job_record(job, context)
    data = None
    try:
        while True:
            data = _encode(job, context)
            written = to_device(to_tensor(decode(data, max_pixels=context.max_pixels).pixels), context.device)
            if torch.equal(written, job.composed):
                job.composed = written  # one copy of a large photo less
            after = predict_photo(written, job.label, context, job.original, job.objects)
            landmarks = find_same_faces(written, [face.box for face in job.faces])
            faces_after = predict_faces(written, landmarks, job.original, job.faces, after, context)
            deployments = deployment_margins(job, written, context)
            of_faces = face_deployment_margins(job, written, landmarks, context)
            to_restore = rows_to_restore(job, written, after, faces_after, deployments, of_faces, context)
            if not to_restore:
                break
            for row in to_restore:
                job.restore_row(row)
        record = judged_record(job, written, after, faces_after, deployments, of_faces, context)
    except PhotoError as error:
        record = replace(record, status=error.status, reason=str(error))
    record = replace(record, seconds=round(seconds_so_far + time.perf_counter() - started, 3))
    return data if record.status in WRITTEN else None, record


def _encode(job: PhotoJob, context: Context) -> bytes:
    return encode(to_array(job.composed), like=job.photo, format=context.format)


def rows_to_restore(
    job: PhotoJob,
    written: Tensor,
    after: Predictions,
    faces_after: Sequence[Predictions | None],
    deployments: Mapping[str, DeploymentMargins],
    face_deployments: Mapping[int, Mapping[str, DeploymentMargins]],
    context: Context,
) -> set[int]:
    """Return the rows whose changes have to be taken back; never the first row.

    These are the faces that the authorized model no longer reads correctly, as written or through a deployment. If
    there is no such face, but the authorized model misreads the photo, as written or through a deployment, or the photo
    is outside the budget, they are all rows but the first: only the first row is optimized to keep the answer to the
    photo, and SSIM and LPIPS are not exactly additive over areas.
    """
    changed = job.changed - {0}
    misread = {
        row
        for row in changed
        if context.reads_faces and ((face := faces_after[row]) is None or face.authorized != job.label_of(row))
    }
    misread |= {row for row, margins in face_deployments.items() if lost_deployments(margins)}
    admissible = after.authorized == job.label and after.margin >= context.recipe.kappa
    admissible = admissible and not lost_deployments(deployments)
    admissible = admissible and not (changed and context.budget.violations(written[: len(job.original)], job.original))
    return misread if misread or admissible else changed
