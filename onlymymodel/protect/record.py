"""What is written down of each photo, and the one status that follows from it."""

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from onlymymodel.data.manifest import sha256
from onlymymodel.protect.answers import Answers
from onlymymodel.protect.context import Context, Record, Source
from onlymymodel.protect.distortion import psnr, ssim
from onlymymodel.protect.people import Person
from onlymymodel.protect.work import Work

Status = Literal["protected", "unchanged", "skipped", "failed"]


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
        "faces": None,
        "linf": None,
        "psnr": None,
        "ssim": None,
        **dict.fromkeys(_further(context)),
        "steps": None,
        "seconds": None,
        "region": None,
        "recipe_sha256": context.recipe.sha256(),
        "notes": [],
    }


def begun_record(work: Work, context: Context) -> Record:
    """A record of a photo for which a change has been found."""
    return {
        **blank_record(work.source, context, "unchanged", ""),
        "notes": work.notes,
        "label": work.label,
        "steps": work.steps,
        "region": work.area.record,
    }


def judged(
    work: Work, written: Tensor, after: Answers, people_after: Sequence[Answers | None], context: Context
) -> Record:
    """What is known of a photo from its written file: answers, distortion, status and reason.

    Args:
        written: (C,H,W) uint8, the decoded file.
        after: what the models say of it.
        people_after: what they say of each of `work.people`; None of whom is not found on it.
    """
    original = work.original
    written = written[: len(original)]  # WebP gives a gray photo back as three equal channels
    figures: Record = {
        "authorized": {"model": context.authorized.card.uri, **_authorized(work.before, after)},
        "surrogates": _surrogates(work, 0, work.before, after, context),
        "linf": int(context.budget.spent(written[None], original[None])),
        "psnr": psnr(written, original),
        "ssim": ssim(written, original),
        **{
            name: round(float(context.budget.spent(written[None], original[None], name)), 6)
            for name in _further(context)
        },
    }
    if work.people:
        figures["faces"] = [
            _face(work, row, person, seen, context)
            for row, (person, seen) in enumerate(zip(work.people, people_after, strict=True))
        ]
    excess = context.budget.excess(written, original)
    if excess:
        raise AssertionError(f"the written photo is outside the budget: {'; '.join(excess)}")
    status, reason = verdict(work.label, figures, context)
    return {**figures, "status": status, "reason": reason}


def _further(context: Context) -> list[str]:
    """The distances that are measured since the budget bounds them."""
    brightness = [] if context.budget.luma is None else ["luma"]
    return brightness + [bound.name for bound in context.budget.bounds if bound.name not in ("psnr", "ssim")]


def _authorized(before: Answers, after: Answers | None) -> dict[str, Any]:
    return {
        "answer_before": before.authorized,
        "margin_before": round(before.margin, 4),
        "answer_after": None if after is None else after.authorized,
        "margin_after": None if after is None else round(after.margin, 4),
    }


def _surrogates(work: Work, row: int, before: Answers, after: Answers | None, context: Context) -> list[dict[str, Any]]:
    now = [None] * len(before.surrogates) if after is None else after.surrogates
    return [
        {
            "model": model.card.uri,
            "pushed_from": away,
            "pushed_toward": toward,
            "answer_before": before.surrogates[index],
            "answer_after": now[index],
        }
        for index, (model, (away, toward)) in enumerate(zip(context.surrogates, work.aims.of(row), strict=True))
    ]


def _face(work: Work, row: int, person: Person, after: Answers | None, context: Context) -> dict[str, Any]:
    """One face: only what models say that read faces; the others' answers are the photo's."""
    rows = _surrogates(work, row, person.before, after, context)
    return {
        "box": [round(edge, 1) for edge in person.box],
        "label": person.label,
        "label_name": context.authorized.card.name_of(person.label),
        "authorized": _authorized(person.before, after) if context.reads_faces else None,
        "surrogates": [said for said, model in zip(rows, context.surrogates, strict=True) if model.aligns],
        "area": work.state_of(row),
    }


def verdict(label: int, figures: Record, context: Context) -> tuple[Status, str]:
    """The one status of a photo that could be read and written."""
    authorized, surrogates = figures["authorized"], figures["surrogates"]
    if authorized["answer_after"] != label or authorized["margin_after"] < context.recipe.kappa:
        return "unchanged", (
            f"the authorized model cannot be kept right inside the budget "
            f"(margin {authorized['margin_after']:g} of {context.recipe.kappa:g})"
        )
    if figures["linf"] == 0:
        return "unchanged", "the budget leaves no room for a change"
    right_before = [row for row in surrogates if row["answer_before"] == row["pushed_from"]]
    right_after = [row for row in surrogates if row["answer_after"] == row["pushed_from"]]
    if right_before and all(row in right_after for row in right_before):
        return "unchanged", "no surrogate could be misled inside the budget"
    if len(right_after) > len(right_before):
        now, then = len(right_before), len(right_after)
        return "unchanged", f"the change would let {then} of {len(surrogates)} surrogates read it, where {now} do now"
    reason = f"{len(surrogates) - len(right_after)} of {len(surrogates)} surrogates misread it"
    if surrogates and not right_before:
        reason += ", and did so before"
    led = [row for row in surrogates if row["pushed_toward"] is not None]
    if led:
        there = sum(row["answer_after"] == row["pushed_toward"] for row in led)
        reason += f", {there} of the {len(led)} that know {context.recipe.toward} say so"
    return "protected", reason
