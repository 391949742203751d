"""The run of a session: photo by photo, so that each is shown when it is done and a bad one stops no other."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from onlymymodel.app.choice import MAX_PIXELS, Choice, Policy, load
from onlymymodel.app.picture import Picture, Result
from onlymymodel.app.readings import readings
from onlymymodel.app.session import Progress, Session, Stopped
from onlymymodel.data.image_io import decode
from onlymymodel.errors import UserError
from onlymymodel.protect.context import Context, Source
from onlymymodel.protect.photo import protect_photos
from onlymymodel.surrogates.black_box import BlackBox

log = logging.getLogger(__name__)


def work(session: Session, choice: Choice, policy: Policy) -> None:
    """Do what `session.begin` announced. Raises nothing: the session says what became of it."""
    progress = session.progress
    try:
        session.check()
        session.progress = progress = replace(progress, phase="loading")
        context, heldout = load(choice, policy)
        for place, picture in enumerate(list(session.pictures.values()), start=1):
            session.check()
            session.progress = progress = replace(progress, phase="working", photo=place, step=0, steps=0)
            picture.result = Result("working")
            picture.result = _contained(picture, session, context, heldout)
        end = Progress("done", photos=progress.photos)
    except Stopped:
        end = Progress("stopped")
    except UserError as error:
        end = Progress("refused", sentence=str(error))
    except Exception as error:  # somebody else's model may fail in any way, and the page must live on
        log.exception("a run of the page failed")
        end = Progress("refused", sentence=f"the run failed: {_first_line(error)} (the terminal shows where)")
    session.end(end)


def _contained(picture: Picture, session: Session, context: Context, heldout: Sequence[BlackBox]) -> Result:
    """`_protect`, with whatever is wrong with one photo kept to that photo."""
    try:
        return _protect(picture, session, context, heldout)
    except (Stopped, UserError):
        raise
    except Exception as error:  # out of memory, a model that fails on this size, ...
        log.exception("photo %s failed", picture.number)
        return Result("failed", f"it could not be worked on: {_first_line(error)} (the terminal shows where)")


def _protect(picture: Picture, session: Session, context: Context, heldout: Sequence[BlackBox]) -> Result:
    def on_step(step: int, steps: int) -> None:
        session.check()
        session.progress = replace(session.progress, step=step, steps=steps)

    source = picture.source.read_bytes()
    ((data, record),) = protect_photos([Source(source)], context, on_step)
    session.check()
    if data is None:
        return Result(record["status"], record["reason"], notes=tuple(record["notes"]))
    original, written = (decode(photo, max_pixels=MAX_PIXELS).pixels for photo in (source, data))
    said = readings(record, context, heldout, original, written)
    picture.keep(data)
    return Result(
        status=record["status"],
        reason=record["reason"],
        label=context.authorized.card.name_of(record["label"]),
        figures={key: record[key] for key in ("linf", "psnr", "ssim", "seconds")},
        readings=said,
        notes=tuple(record["notes"]),
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
