"""Bytes in, bytes and a record out: one photo's way, judged on what a reader of the written file will see."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

from onlymymodel.data.image_io import MAX_PIXELS, Photo, PhotoError, decode, encode
from onlymymodel.data.manifest import sha256
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.distortion import psnr, ssim
from onlymymodel.protect.guard import margin
from onlymymodel.protect.lattice import from_lattice
from onlymymodel.protect.optimizer import OnStep, Proposal, optimize, push_targets, settle_proposal
from onlymymodel.protect.recipe import Recipe
from onlymymodel.protect.region import WHOLE, Area, Region, area_of
from onlymymodel.surrogates.classifier import Classifier

Record = dict[str, Any]
Status = Literal["protected", "unchanged", "skipped", "failed"]
Format = Literal["png", "webp"]


@dataclass(frozen=True)
class Context:
    """Everything that is the same for all photos of a run.

    Attributes:
        format: of the written files; both are lossless.
        strip_metadata: leave EXIF out of the written files.
        max_pixels: larger photos are refused unread.
        region: what of each photo may change.
    """

    authorized: Classifier
    surrogates: tuple[Classifier, ...]
    budget: Budget
    recipe: Recipe
    format: Format = "png"
    strip_metadata: bool = False
    max_pixels: int = MAX_PIXELS
    region: Region = WHOLE

    @property
    def reads_faces(self) -> bool:
        """Whether the authorized model reads an aligned face, and nothing else of a photo."""
        return self.authorized.card.preprocess.fit == "align"

    @property
    def device(self) -> torch.device:
        """Where the models are."""
        return self.authorized.mean.device


@dataclass(frozen=True)
class Source:
    """A photo's bytes, its label where somebody gave one (an index of the authorized model's classes), and the bytes
    of its mask where the region is one."""

    data: bytes
    label: int | None = None
    mask: bytes | None = None


@dataclass(frozen=True)
class Answers:
    """What every model says of one photo: the authorized model's answer and margin, each surrogate's answer."""

    authorized: int
    margin: float
    surrogates: tuple[int, ...]


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
    sources: Sequence[Source], context: Context, on_step: OnStep | None = None
) -> list[tuple[bytes | None, Record]]:
    """Protect photos together, those of one working shape as one batch; see `protect_bytes`."""
    results: list[tuple[bytes | None, Record]] = [(None, {})] * len(sources)
    batches: dict[tuple[int, int, int], list[tuple[int, Photo, Area]]] = {}
    for index, source in enumerate(sources):
        try:
            photo = decode(source.data, max_pixels=context.max_pixels)
            area = area_of(photo.pixels, source.mask, context.region, reads_faces=context.reads_faces)
        except PhotoError as error:
            results[index] = None, blank_record(source, context, error.status, str(error))
            continue
        height, width, channels = photo.pixels.shape
        batches.setdefault(working_shape(height, width, channels, context.recipe), []).append((index, photo, area))
    for shape, members in batches.items():
        batch = [(sources[index], photo, area) for index, photo, area in members]
        for (index, _, _), result in zip(members, _protect_batch(batch, shape, context, on_step), strict=True):
            results[index] = result
    return results


def _protect_batch(
    batch: Sequence[tuple[Source, Photo, Area]],
    shape: tuple[int, int, int],
    context: Context,
    on_step: OnStep | None,
) -> list[tuple[bytes | None, Record]]:
    started = time.perf_counter()
    sources = [source for source, _, _ in batch]
    originals = [to_tensor(photo.pixels).to(context.device) for _, photo, _ in batch]
    masks = [area.tensor(original) for original, (_, _, area) in zip(originals, batch, strict=True)]
    before = [look_at(original, source.label, context) for original, source in zip(originals, sources, strict=True)]
    labels = [
        source.label if source.label is not None else seen.authorized
        for source, seen in zip(sources, before, strict=True)
    ]
    proposal, targets = _propose(originals, masks, before, labels, sources, shape, context, on_step)
    shared = (time.perf_counter() - started) / len(batch)
    results = []
    for row, ((source, photo, area), original) in enumerate(zip(batch, originals, strict=True)):
        started = time.perf_counter()
        settled = settle_proposal(
            original[None],
            Proposal(*(part[row : row + 1] for part in proposal)),
            torch.tensor([labels[row]], device=context.device),
            authorized=context.authorized,
            budget=context.budget,
            recipe=context.recipe,
            mask=masks[row][None],
        )
        pixels = settled.pixels[0].permute(1, 2, 0).cpu().numpy()
        record = blank_record(source, context, "unchanged", "")
        record |= {"notes": list(photo.notes), "label": labels[row], "steps": int(proposal.steps[row])}
        record["region"] = area.record
        data = _finish(pixels, photo, original, before[row], targets[row], record, context)
        record["seconds"] = round(shared + time.perf_counter() - started, 3)
        results.append((data, record))
    return results


def _propose(
    originals: Sequence[Tensor],
    masks: Sequence[Tensor],
    before: Sequence[Answers],
    labels: Sequence[int],
    sources: Sequence[Source],
    shape: tuple[int, int, int],
    context: Context,
    on_step: OnStep | None,
) -> tuple[Proposal, list[list[int]]]:
    """The optimizer's proposal at working size, and for each photo what its surrogates were pushed from."""
    working = torch.stack([_at_size(original, shape) for original in originals])
    answers = [
        torch.tensor(column, device=context.device)
        for column in zip(*(seen.surrogates for seen in before), strict=True)
    ]
    wanted = torch.tensor(labels, device=context.device)
    targets = push_targets(wanted, answers, context.authorized, context.surrogates, context.recipe)
    proposal = optimize(
        working,
        wanted,
        authorized=context.authorized,
        surrogates=context.surrogates,
        targets=targets,
        budget=context.budget,
        recipe=context.recipe,
        generators=[photo_generator(context.recipe.seed, source.data) for source in sources],
        # a pixel of the smaller photo may change where any pixel that it stands for may
        mask=torch.stack([F.adaptive_max_pool2d(mask, shape[1:]) for mask in masks]),
        on_step=on_step,
    )
    return proposal, [[int(column[row]) for column in targets] for row in range(len(originals))]


def photo_generator(seed: int, data: bytes) -> Generator:
    """The random stream of one photo: of the seed and its own bytes alone, on any worker, in any batch."""
    return Generator().manual_seed(int(sha256(f"{seed}:{sha256(data)}".encode())[:15], 16))


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """(H,W,C) uint8 array to (C,H,W) uint8 tensor."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


@torch.inference_mode()
def look_at(pixels: Tensor, label: int | None, context: Context) -> Answers:
    """What every model says of one (C,H,W) uint8 photo; the margin is at the label, or at the answer if None."""
    photo = from_lattice(pixels)[None]
    logits = context.authorized(photo)
    answer = int(logits.argmax(1))
    at = torch.tensor([answer if label is None else label], device=logits.device)
    others = tuple(int(model(photo).argmax(1)) for model in context.surrogates)
    return Answers(answer, float(margin(logits, at)), others)


def _at_size(pixels: Tensor, shape: tuple[int, int, int]) -> Tensor:
    photo = from_lattice(pixels)
    if tuple(photo.shape) == shape:
        return photo
    return F.interpolate(photo[None], size=shape[1:], mode="bilinear", antialias=True)[0]


def _finish(
    pixels: NDArray[np.uint8],
    photo: Photo,
    original: Tensor,
    before: Answers,
    targets: Sequence[int],
    record: Record,
    context: Context,
) -> bytes | None:
    """Encode, decode again, judge that, and complete the record. Bytes only where the verdict is `protected`."""
    try:
        data = encode(pixels, like=photo, format=context.format, strip_metadata=context.strip_metadata)
    except PhotoError as error:
        record |= {"status": error.status, "reason": str(error)}
        return None
    written = to_tensor(decode(data, max_pixels=context.max_pixels).pixels).to(context.device)
    original = original.expand_as(written)  # WebP gives a gray photo back as three equal channels
    after = look_at(written, record["label"], context)
    names = [model.card.uri for model in context.surrogates]
    record |= {
        "authorized": {
            "model": context.authorized.card.uri,
            "answer_before": before.authorized,
            "margin_before": round(before.margin, 4),
            "answer_after": after.authorized,
            "margin_after": round(after.margin, 4),
        },
        "surrogates": [
            {"model": name, "pushed_from": target, "answer_before": was, "answer_after": now}
            for name, target, was, now in zip(names, targets, before.surrogates, after.surrogates, strict=True)
        ],
        "linf": int(context.budget.spent(written[None], original[None])),
        "psnr": psnr(written, original),
        "ssim": ssim(written, original),
    }
    record["status"], record["reason"] = _verdict(record, context)
    return data if record["status"] == "protected" else None


def _verdict(record: Record, context: Context) -> tuple[Status, str]:
    """The one status of a photo that could be read and written."""
    authorized, surrogates = record["authorized"], record["surrogates"]
    if authorized["answer_after"] != record["label"] or authorized["margin_after"] < context.recipe.kappa:
        return "unchanged", (
            f"the authorized model cannot be kept right inside the budget "
            f"(margin {authorized['margin_after']:g} of {context.recipe.kappa:g})"
        )
    if record["linf"] > context.budget.levels:
        raise AssertionError(f"the written photo changed by {record['linf']} steps, more than the budget")
    if record["linf"] == 0:
        return "unchanged", "the budget leaves no room for a change"
    right_before = [row for row in surrogates if row["answer_before"] == row["pushed_from"]]
    if right_before and all(row["answer_after"] == row["pushed_from"] for row in right_before):
        return "unchanged", "no surrogate could be misled inside the budget"
    misread = sum(row["answer_after"] != row["pushed_from"] for row in surrogates)
    return "protected", f"{misread} of {len(surrogates)} surrogates misread it"


def blank_record(source: Source, context: Context, status: Status, reason: str) -> Record:
    """A record that says as much as is known before the models have been asked; one set of keys for every line."""
    return {
        "source_sha256": sha256(source.data),
        "status": status,
        "reason": reason,
        "label": source.label,
        "label_source": "authorized model's clean answer" if source.label is None else "given",
        "authorized": None,
        "surrogates": None,
        "linf": None,
        "psnr": None,
        "ssim": None,
        "steps": None,
        "seconds": None,
        "region": None,
        "recipe_sha256": context.recipe.sha256(),
        "notes": [],
    }
