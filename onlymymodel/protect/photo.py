"""Bytes in, bytes and a record out: one photo's way, judged on what a reader of the written file will see."""

import time
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from onlymymodel.data.image_io import Photo, PhotoError, decode, encode
from onlymymodel.data.manifest import sha256
from onlymymodel.protect.answers import Answers, look_at
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.canvas import landmarks_for
from onlymymodel.protect.context import Context, Format, Record, Source
from onlymymodel.protect.lattice import from_lattice
from onlymymodel.protect.optimizer import OnStep, Proposal, models_at_work, optimize, settle_proposal
from onlymymodel.protect.people import read_again
from onlymymodel.protect.perceptual import SMALLEST
from onlymymodel.protect.recipe import Recipe
from onlymymodel.protect.record import begun_record, blank_record, judged
from onlymymodel.protect.region import Area, area_of
from onlymymodel.protect.toward import words_for_toward
from onlymymodel.protect.work import Work, begin, photo_generator
from onlymymodel.protect.working_budget import at_working_size

__all__ = [
    "Context",
    "Format",
    "Record",
    "Source",
    "photo_generator",
    "protect_bytes",
    "protect_photos",
    "to_tensor",
    "working_shape",
]

ROWS = 8  # photos, or people on photos, that are optimized together


def protect_bytes(source: bytes, *, label: int | None, context: Context) -> tuple[bytes | None, Record]:
    """Protect one photo.

    Args:
        source: the bytes of a PNG, JPEG, WebP, TIFF or BMP file.
        label: what the authorized model is to read; its own clean answer if None.

    Returns:
        The bytes of the protected file (None unless the status is `protected`), and its record: status, reason,
        label, answers before and after, distortion. The figures are of the decoded bytes returned.
    """
    return protect_photos([Source(source, label)], context)[0]


def working_shape(height: int, width: int, channels: int, recipe: Recipe) -> tuple[int, int, int]:
    """(C,h,w) at which a photo is optimized: its own size, or a short side of `recipe.working_size`."""
    scale = min(1.0, recipe.working_size / min(height, width))
    return channels, max(1, round(height * scale)), max(1, round(width * scale))


def protect_photos(
    sources: Sequence[Source], context: Context, on_step: OnStep | None = None, rows_at_once: int = ROWS
) -> list[tuple[bytes | None, Record]]:
    """Protect photos together, those of one working shape as one batch; see `protect_bytes`.

    Args:
        rows_at_once: how many photos, or people on photos, are optimized together; it bounds the memory, and no byte
            of a result depends on it.

    Raises:
        UserError: the recipe needs something that is not there (a surrogate, a layer, a class to push toward).
    """
    words_for_toward(context.authorized, context.surrogates, context.recipe)
    results: list[tuple[bytes | None, Record]] = [(None, {})] * len(sources)
    batches: dict[tuple[int, int, int], list[tuple[int, Photo, Area]]] = {}
    for index, source in enumerate(sources):
        try:
            photo = decode(source.data, max_pixels=context.max_pixels)
            refuse_small(photo, context)
            area = area_of(photo.pixels, source.mask, context.region, reads_faces=context.reads_faces)
        except PhotoError as error:
            results[index] = None, _refused(source, error, context)
            continue
        height, width, channels = photo.pixels.shape
        batches.setdefault(working_shape(height, width, channels, context.recipe), []).append((index, photo, area))
    for shape, members in batches.items():
        started = time.perf_counter()
        works = [
            begin(sources[index], photo, area, to_tensor(photo.pixels).to(context.device), context)
            for index, photo, area in members
        ]
        _find_changes(works, shape, context, on_step, rows_at_once)
        shared = (time.perf_counter() - started) / len(works)
        for (index, _, _), work in zip(members, works, strict=True):
            results[index] = _finish(work, shared, context)
    return results


def _refused(source: Source, error: PhotoError, context: Context) -> Record:
    """The record of a photo that comes to nothing, with the mask that it had: another one may mend it."""
    record = blank_record(source, context, error.status, str(error))
    if context.region.kind == "mask":
        record["region"] = {"kind": "mask", "sha256": None if source.mask is None else sha256(source.mask)}
    return record


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """(H,W,C) uint8 array to (C,H,W) uint8 tensor."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())  # its own: the array may be a view that is not writable


def _find_changes(
    works: Sequence[Work], shape: tuple[int, int, int], context: Context, on_step: OnStep | None, rows_at_once: int
) -> None:
    """Optimize and settle every row of photos of one working shape, and compose each photo of its rows."""
    rows = [(work, row) for work in works for row in work.rows(context)]
    for start in range(0, len(rows), rows_at_once):
        chunk = rows[start : start + rows_at_once]
        proposal = _propose(chunk, shape, context, on_step)
        for place, (work, row) in enumerate(chunk):
            landmarks = work.landmarks(row)
            settled = settle_proposal(
                work.original[None],
                Proposal(*(part[place : place + 1] for part in proposal)),
                torch.tensor([work.label_of(row)], device=context.device),
                authorized=context.authorized,
                budget=work.budget(row, context),
                recipe=context.recipe,
                mask=work.mask(row)[None],
                landmarks=None if landmarks is None else landmarks[None],
            )
            work.change(row, settled.pixels[0])
            if row == 0:
                work.steps = int(proposal.steps[place])


def _propose(
    chunk: Sequence[tuple[Work, int]], shape: tuple[int, int, int], context: Context, on_step: OnStep | None
) -> Proposal:
    """The optimizer's proposal for some rows, at working size."""
    working = torch.stack([_at_size(work.original, shape) for work, _ in chunk])
    surrogates = range(len(context.surrogates))
    limits = [_limits(work, row, photo, context) for (work, row), photo in zip(chunk, working, strict=True)]
    return optimize(
        working,
        torch.tensor([work.label_of(row) for work, row in chunk], device=context.device),
        authorized=context.authorized,
        surrogates=context.surrogates,
        targets=[torch.stack([work.aims.classes[index][row] for work, row in chunk]) for index in surrogates],
        signs=[torch.stack([work.aims.signs[index][row] for work, row in chunk]) for index in surrogates],
        budget=context.budget,
        recipe=context.recipe,
        budgets=[budget for budget, _ in limits],
        generators=[work.stream(row, context.recipe.seed) for work, row in chunk],
        mask=torch.stack([mask for _, mask in limits]),
        landmarks=_landmarks(chunk, working, context),
        on_step=on_step,
    )


def _limits(work: Work, row: int, working: Tensor, context: Context) -> tuple[Budget, Tensor]:
    """What a row may spend at working size, and (1,h,w) where."""
    mask, budget = work.mask(row), work.budget(row, context)
    # a pixel of the smaller photo may change where any pixel that it stands for may
    smaller = F.adaptive_max_pool2d(mask, working.shape[1:])
    if budget.bounds and working.shape != work.original.shape:
        budget = at_working_size(budget, from_lattice(work.original), working, mask, smaller)
    return budget, smaller


def _landmarks(chunk: Sequence[tuple[Work, int]], working: Tensor, context: Context) -> Tensor | None:
    """(rows,5,2) landmarks at working size, those known at the photo's size scaled; None where no model aligns."""
    models = models_at_work(context.authorized, context.surrogates, context.recipe)
    found = []
    for (work, row), photo in zip(chunk, working, strict=True):
        known = work.landmarks(row)
        if known is None:
            searched = landmarks_for(models, photo[None])
            if searched is None:
                return None
            found.append(searched[0].to(photo))
        else:
            (height, width), (h, w) = work.original.shape[1:], photo.shape[1:]
            found.append(known * torch.tensor([w / width, h / height]).to(known))
    return torch.stack(found)


def refuse_small(photo: Photo, context: Context) -> None:
    """See that the budget can be measured on a photo.

    Raises:
        PhotoError: skipped, since LPIPS is not defined on so few pixels.
    """
    height, width = photo.pixels.shape[:2]
    if context.budget.lpips is not None and min(height, width) < SMALLEST:
        raise PhotoError("skipped", f"too small for LPIPS: {width}x{height}, the limit is {SMALLEST} pixels a side")


def _at_size(pixels: Tensor, shape: tuple[int, int, int]) -> Tensor:
    photo = from_lattice(pixels)
    if tuple(photo.shape) == shape:
        return photo
    return F.interpolate(photo[None], size=shape[1:], mode="bilinear", antialias=True)[0]


def _finish(work: Work, shared: float, context: Context) -> tuple[bytes | None, Record]:
    """Encode, decode again, judge that; put back the faces that the authorized model no longer reads as before.

    Args:
        shared: seconds that have gone into the photo so far.

    Returns:
        See `protect_bytes`.
    """
    started = time.perf_counter()
    record = begun_record(work, context)
    data = None
    try:
        while True:
            data = _encoded(work, context)
            written = to_tensor(decode(data, max_pixels=context.max_pixels).pixels).to(context.device)
            after = look_at(written, work.label, context)
            people_after = read_again(written, work.people, after, context)
            lost = _lost(work, written, after, people_after, context)
            if not lost:
                break
            for row in lost:
                work.put_back(row)
        record |= judged(work, written, after, people_after, context)
    except PhotoError as error:
        record |= {"status": error.status, "reason": str(error)}
    record["seconds"] = round(shared + time.perf_counter() - started, 3)
    return data if record["status"] == "protected" else None, record


def _encoded(work: Work, context: Context) -> bytes:
    pixels = work.composed.permute(1, 2, 0).cpu().numpy()
    return encode(pixels, like=work.photo, format=context.format, strip_metadata=context.strip_metadata)


def _lost(
    work: Work, written: Tensor, after: Answers, people_after: Sequence[Answers | None], context: Context
) -> set[int]:
    """The rows but the first whose changes have to go: those of people whom the authorized model reads otherwise now;
    and where the photo as a whole is lost, all of them, since the first row alone was made to keep it. So where the
    rows, each inside its part of the budget, together are not inside it: SSIM and LPIPS do not quite add up."""
    changed = work.changed - {0}
    lost = {
        row
        for row in changed
        if context.reads_faces and ((seen := people_after[row]) is None or seen.authorized != work.label_of(row))
    }
    whole = after.authorized == work.label and after.margin >= context.recipe.kappa
    whole = whole and not (changed and context.budget.excess(written[: len(work.original)], work.original))
    return lost if lost or whole else changed
