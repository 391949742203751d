"""The record of one protected photo, measured on the written file, and its status."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from msgspec import UNSET
from torch import Tensor

from onlymymodel.data.manifest import sha256
from onlymymodel.protect.answer_records import DeploymentMargins, ModelAnswers, SurrogateAnswers
from onlymymodel.protect.attack.deployed_margins import DeployedMargins
from onlymymodel.protect.budget.distortion import psnr, ssim
from onlymymodel.protect.budget.flip import flip
from onlymymodel.protect.context import Context, PhotoSource
from onlymymodel.protect.kept_object import record_objects
from onlymymodel.protect.photo_job import PhotoJob
from onlymymodel.protect.photo_record import Distance, FaceBox, FaceRecord, PhotoRecord, Status
from onlymymodel.protect.predictions import Predictions


def blank_record(source: PhotoSource, context: Context, status: Status, reason: str) -> PhotoRecord:
    """Return the record of a photo before any model has predicted it."""
    return PhotoRecord(
        source_sha256=sha256(source.data),
        status=status,
        reason=reason,
        label=source.label,
        label_source="authorized model's clean answer" if source.label is None else "given",
        deployments=None if context.recipe.keep_through else UNSET,
        luma=UNSET if context.budget.luma is None else None,
        color=UNSET if context.budget.color is None else None,
        l2=UNSET if context.budget.l2 is None else None,
        lpips=UNSET if context.budget.lpips is None else None,
        recipe_sha256=context.recipe.sha256(),
    )


def job_record(job: PhotoJob, context: Context) -> PhotoRecord:
    """Return the record of a photo after the attack, without the fields that are measured on the written file."""
    return replace(
        blank_record(job.source, context, "unchanged", ""),
        notes=tuple(job.notes),
        label=job.label,
        steps=job.steps,
        region=job.area.record,
    )


def judged_record(
    job: PhotoJob,
    written: Tensor,
    after: Predictions,
    faces_after: Sequence[Predictions | None],
    deployments: Mapping[str, DeploymentMargins],
    face_deployments: Mapping[int, dict[str, DeploymentMargins]],
    context: Context,
) -> PhotoRecord:
    """Return the complete record of a photo: answers, distortion, status and reason, measured on the written file.

    Args:
        job: the photo after the attack.
        written: (C,H,W) uint8 pixels of the decoded file.
        after: predictions on `written`.
        faces_after: predictions on each of `job.faces`; None for a face that is no longer found.
        deployments: see `deployment_margins`.
        face_deployments: see `face_deployment_margins`.
        context: models and settings.
    """
    original = job.original
    written = written[: len(original)]  # WebP stores a gray photo as three equal channels
    violations = context.budget.violations(written, original)
    if violations:
        raise AssertionError(f"the written photo is outside the budget: {'; '.join(violations)}")
    answers = replace(_authorized(job.clean, after), model=context.authorized.card.uri)
    surrogates = _surrogates(job, 0, job.clean, after, context)
    linf = int(context.budget.spent(written[None], original[None]))
    faces = _faces(job, faces_after, face_deployments, context)
    status, reason = verdict(job.label, answers, deployments, surrogates, faces or (), linf, context)
    return replace(
        job_record(job, context),
        status=status,
        reason=reason,
        authorized=answers,
        surrogates=surrogates,
        objects=UNSET if job.objects is None else record_objects(job.objects, context.authorized.card.labels),
        deployments=dict(deployments) if context.recipe.keep_through else UNSET,
        faces=faces,
        linf=linf,
        psnr=psnr(written, original),
        ssim=ssim(written, original),
        flip=round(flip(original, written), 6),
        luma=_distance("luma", written, original, context),
        color=_distance("color", written, original, context),
        l2=_distance("l2", written, original, context),
        lpips=_distance("lpips", written, original, context),
    )


def verdict(
    label: int,
    answers: ModelAnswers,
    deployments: Mapping[str, DeploymentMargins],
    surrogates: Sequence[SurrogateAnswers],
    faces: Sequence[FaceRecord],
    linf: int,
    context: Context,
) -> tuple[Status, str]:
    """Return the status of a photo that could be read and written, and the reason for it.

    Where no surrogate reads the original, nothing shows that the change misleads anyone: the photo is
    `already-misread`. It is written nevertheless, since unseen models may read the original. Without surrogates (recipe
    `fmd`), a photo that the authorized model keeps is `protected`.

    Args:
        label: class index that the authorized model has to keep.
        answers: answers of the authorized model.
        deployments: its margins through deployments.
        surrogates: answers of each surrogate.
        faces: records of the faces that were protected one by one.
        linf: largest change of the written photo, in 8-bit levels.
        context: models and settings.
    """
    margin = float("-inf") if answers.margin_after is None else answers.margin_after
    if answers.answer_after != label or margin < context.recipe.kappa:
        return "unchanged", (
            f"the authorized model cannot be kept right inside the budget "
            f"(margin {margin:g} of {context.recipe.kappa:g})"
        )
    if reason := lost_deployments(deployments):
        return "unchanged", reason
    if linf == 0:
        room = "the budget leaves no room for a change"
        return "unchanged", room if context.recipe.steps else "no steps were taken (--steps 0)"
    if not surrogates:
        return "protected", "no stand-in took part, so that no other model was asked"
    right_before = [row for row in surrogates if row.read_before]
    right_after = [row for row in surrogates if row.reads_after]
    if right_before and all(row in right_after for row in right_before):
        return "unchanged", "no stand-in could be misled inside the budget"
    total, before, after = len(surrogates), len(right_before), len(right_after)
    if after > before:
        return "unchanged", f"the change would let {after} of {total} stand-ins read it, where {before} do now"
    reason = f"{total - after} of {total} stand-ins misread it"
    if not right_before:
        reason += ", and did so before"
    targeted = [row for row in surrogates if row.pushed_toward is not None]
    if targeted:
        reached = sum(row.answer_after == row.pushed_toward for row in targeted)
        reason += f", {reached} of the {len(targeted)} that know {context.recipe.toward} say so"
    misled = right_before or any(row.misled for face in faces for row in face.surrogates)
    return "protected" if misled else "already-misread", reason


def deployment_margins(job: PhotoJob, written: Tensor, context: Context) -> dict[str, DeploymentMargins]:
    """Return the authorized model's margin through each deployment of the recipe, before and on the decoded file."""
    clean = job.clean_margins[0]
    return _both(clean, DeployedMargins(context.authorized, tuple(clean), job.objects).measure(written, job.label))


def face_deployment_margins(
    job: PhotoJob, written: Tensor, landmarks: Sequence[Tensor | None], context: Context
) -> dict[int, dict[str, DeploymentMargins]]:
    """Return the same for each changed row but the first, whose face is the one that the model reads in the photo.

    Args:
        job: the photo after the attack.
        written: (C,H,W) uint8 pixels of the decoded file.
        landmarks: (5,2) of each of `job.faces` on it; None for a face that is no longer found.
        context: models and settings.
    """
    found = {row: points for row, points in enumerate(landmarks) if row in job.changed - {0} and points is not None}
    deployed = DeployedMargins(context.authorized, context.recipe.keep_through if context.reads_faces else ())
    margins = deployed.measure_faces(written, [(job.label_of(row), points) for row, points in found.items()])
    return {row: _both(job.clean_margins[row], after) for row, after in zip(found, margins, strict=True)}


def _both(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, DeploymentMargins]:
    return {
        name: DeploymentMargins(before=round(margin, 4), after=round(after[name], 4)) for name, margin in before.items()
    }


def lost_deployments(deployments: Mapping[str, DeploymentMargins]) -> str:
    """Return in words through which deployments the authorized model only read the original; "" if there are none."""
    lost = {name: margins.after for name, margins in deployments.items() if margins.before > 0 >= margins.after}
    if not lost:
        return ""
    worst = min(lost, key=lambda name: lost[name])
    others = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
    return (
        f"the authorized model cannot be kept right through {worst} inside the budget (margin {lost[worst]:g}{others})"
    )


def _distance(
    name: Literal["luma", "color", "l2", "lpips"], written: Tensor, original: Tensor, context: Context
) -> Distance:
    """Return a distance that is measured only where the budget bounds it."""
    if getattr(context.budget, name) is None:
        return UNSET
    return round(float(context.budget.spent(written[None], original[None], name)), 6)


def _authorized(before: Predictions, after: Predictions | None) -> ModelAnswers:
    return ModelAnswers(
        answer_before=before.authorized,
        margin_before=round(before.margin, 4),
        answer_after=None if after is None else after.authorized,
        margin_after=None if after is None else round(after.margin, 4),
    )


def _surrogates(
    job: PhotoJob, row: int, before: Predictions, after: Predictions | None, context: Context
) -> tuple[SurrogateAnswers, ...]:
    return tuple(
        SurrogateAnswers(
            model=model.card.uri,
            pushed_from=away,
            pushed_toward=toward,
            answer_before=before.surrogates[index],
            answer_after=None if after is None else after.surrogates[index],
            attributes=model.card.classes if model.card.kind == "attributes" else UNSET,
        )
        for index, (model, (away, toward)) in enumerate(zip(context.surrogates, job.targets.of_row(row), strict=True))
    )


def _faces(
    job: PhotoJob,
    faces_after: Sequence[Predictions | None],
    deployments: Mapping[int, dict[str, DeploymentMargins]],
    context: Context,
) -> tuple[FaceRecord, ...] | None:
    """Return the records of the faces that were protected separately; None if there are none.

    They hold the answers of models that align faces; the answers of the other models are in the photo's record.
    """
    if not job.faces:
        return None
    return tuple(
        FaceRecord(
            box=_rounded(face.box),
            label=face.label,
            label_name=context.authorized.card.name_of(face.label),
            authorized=_authorized(face.clean, after) if context.reads_faces else None,
            surrogates=tuple(
                answers
                for answers, model in zip(
                    _surrogates(job, row, face.clean, after, context), context.surrogates, strict=True
                )
                if model.aligns
            ),
            area=job.face_state(row),
            deployments=deployments.get(row) or UNSET,
        )
        for row, (face, after) in enumerate(zip(job.faces, faces_after, strict=True))
    )


def _rounded(box: FaceBox) -> FaceBox:
    left, top, right, bottom = (round(edge, 1) for edge in box)
    return left, top, right, bottom
