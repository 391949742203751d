"""The run of a session, photo by photo: each result is shown when it is done, and an error stops no other photo."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from onlymymodel.app.form import MAX_PIXELS, Policy
from onlymymodel.app.model_answers import channel_answers, least_margin
from onlymymodel.app.model_loading import LoadingModel, ModelLoading
from onlymymodel.app.session import Progress, Session, Stopped
from onlymymodel.app.uploaded_photo import Figures, PhotoResult, UploadedPhoto
from onlymymodel.data.image_io import decode
from onlymymodel.errors import UserError, first_line
from onlymymodel.protect.batches import refusal
from onlymymodel.protect.context import Context, PhotoSource
from onlymymodel.protect.known import check_known
from onlymymodel.protect.limits import Limits
from onlymymodel.protect.photo import Stage, protect_photos
from onlymymodel.settings import RunSettings
from onlymymodel.surrogates.black_box import BlackBox

log = logging.getLogger(__name__)


def run_session(session: Session, settings: RunSettings, policy: Policy) -> None:
    """Run what `session.begin` announced. Raises nothing: the session's progress says how the run ended."""
    progress = replace(session.progress, phase="loading")

    def on_loading(models: tuple[LoadingModel, ...]) -> None:
        session.check()
        session.progress = replace(progress, models=models)

    try:
        loading = ModelLoading(settings, on_loading)
        on_loading(tuple(loading.models))
        context, heldout = policy.load(settings, loading)
        limits = Limits.of(context, policy.memory)
        check_known(context, [photo.source for photo in list(session.photos.values())], limits)
        for index, photo in enumerate(list(session.photos.values()), start=1):
            session.check()
            session.progress = replace(progress, phase="working", photo=index)
            photo.result = PhotoResult("working")
            photo.result = _protect_or_fail(photo, session, context, heldout, limits)
        end = Progress("done", photos=progress.photos)
    except Stopped:
        end = Progress("stopped")
    except UserError as error:
        end = Progress("refused", sentence=str(error))
    except Exception as error:  # a model may fail in any way, and the page must keep running
        log.exception("a run of the page failed")
        end = Progress("refused", sentence=f"the run failed: {first_line(error)} (the terminal shows where)")
    session.end(end)


def _protect_or_fail(
    photo: UploadedPhoto, session: Session, context: Context, heldout: Sequence[BlackBox], limits: Limits
) -> PhotoResult:
    """Protect a photo; an error of this one photo becomes its result."""
    try:
        return _protect(photo, session, context, heldout, limits)
    except (Stopped, UserError):
        raise
    except Exception as error:  # out of memory, a model that fails on this size, ...
        log.exception("photo %s failed", photo.number)
        return PhotoResult("failed", f"it could not be processed: {first_line(error)} (details are in the terminal)")


def _protect(
    photo: UploadedPhoto, session: Session, context: Context, heldout: Sequence[BlackBox], limits: Limits
) -> PhotoResult:
    def on_step(step: int, steps: int) -> None:
        session.check()
        session.progress = replace(session.progress, step=step, steps=steps)

    def on_stage(stage: Stage | Literal["result"]) -> None:
        session.check()
        session.progress = replace(session.progress, stage=stage, step=0, steps=0)

    source = photo.source.read_bytes()
    if (too_large := refusal(PhotoSource(source), context, limits)) is not None:
        return PhotoResult("skipped", too_large)
    ((data, record),) = protect_photos([PhotoSource(source)], context, on_step, on_stage=on_stage)
    session.check()
    if data is None or record.label is None:
        return PhotoResult(record.status, record.reason, notes=record.notes)
    original, written = (decode(image, max_pixels=MAX_PIXELS).pixels for image in (source, data))
    on_stage("result")
    channels = channel_answers(record.label, context, heldout, original, written)
    photo.write_protected(data)
    return PhotoResult(
        status=record.status,
        reason=record.reason,
        label=context.authorized.card.name_of(record.label),
        figures=Figures(record.linf, record.psnr, record.ssim, record.seconds),
        channels=channels,
        least=least_margin(record),
        notes=record.notes,
    )
