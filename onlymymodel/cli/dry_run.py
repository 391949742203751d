"""`omm protect --dry-run`: what would be done, how long it would take and how much memory it would need."""

import argparse
from collections import Counter
from typing import TYPE_CHECKING, Any

from onlymymodel.cli.checks import CheckedPhotos
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.known import check_known_photos
from onlymymodel.errors import number_of
from onlymymodel.evaluate.text import replace_unprintable
from onlymymodel.protect.budget.strengths import AUTO, STRENGTHS

if TYPE_CHECKING:
    from onlymymodel.protect.folder import Job
    from onlymymodel.protect.places import Places
    from onlymymodel.protect.plan import Plan, Timing
    from onlymymodel.protect.shards import Shard

NAMED = 10  # pictures that would be skipped
WIDTH = 12  # columns of the first column


def dry_run(arguments: argparse.Namespace, checked: CheckedPhotos, shard: "Shard | None", places: "Places") -> int:
    """Say what `omm protect` would do with the same flags; return 0.

    The models are loaded and a photo is protected in a few steps, in memory, to measure the time.

    Args:
        arguments: the flags.
        checked: photos and settings.
        shard: the part of the photos that is asked for; None for all.
        places: source and output.
    """
    output = arguments.output
    refused = [entry for entry in checked.entries if entry.status == "refused"]
    others = Counter(entry.reason for entry in checked.entries if entry.status == "not-a-photo")
    _say(output, "photos", f"{len(checked.photos)} in {arguments.source}")
    _say(output, "skipped", *(f"{entry.relative}: {entry.reason}" for entry in refused[:NAMED]))
    if len(refused) > NAMED:
        _say(output, "", f"... and {len(refused) - NAMED} more")
    _say(output, "passed over", *(f"{count}: {reason}" for reason, count in others.most_common()))
    with exit_on_interrupt():
        from onlymymodel.cli.assumed import warn_assumed
        from onlymymodel.cli.engine import number_of_workers
        from onlymymodel.progress import remark
        from onlymymodel.protect.folder import Job
        from onlymymodel.protect.limits import Limits
        from onlymymodel.protect.plan import plan_folder, time_photo
        from onlymymodel.runtime import configure, pick_device
    configure()
    settings = checked.settings.complete()
    device = pick_device(arguments.device)
    context, heldout = settings.load(device=device, allow_python=arguments.allow_python, progress=True)
    warn_assumed((context.authorized, *context.surrogates, *heldout))
    limits = Limits.of(context, arguments.memory, arguments.time_limit, number_of_workers(arguments.workers, device))
    check_known_photos(context, [entry.file for entry in checked.photos], limits, accepted=arguments.i_know)
    labels = checked.labels.find(context.authorized.card) or {}
    uris = settings.uris_from(places.store.base)
    job = Job(
        source=places.source,
        out=places.out,
        context=context,
        uris=uris,
        labels=labels,
        masks=settings.masks,
        batch_size=arguments.batch_size,
        shard=shard,
        results=places.store,
        limits=limits,
        scanned=checked.entries,
    )
    plan = plan_folder(job)
    _say(output, "done before", *([number_of(plan.finished, "photo")] if plan.finished else []))
    ours = number_of(plan.own, "protected photo of earlier runs is", "protected photos of earlier runs are")
    _say(output, "ours", *([f"{ours} left unchanged"] if plan.own else []))
    _say(output, "to protect", f"{number_of(len(plan.to_do), 'photo')}{_sizes(plan)}")
    _say(output, "labels", f"{len(labels)} given, for the others the authorized model's own answers")
    _say(output, "authorized", context.authorized.card.uri)
    _say(output, "stand-ins", *(model.card.uri for model in context.surrogates))
    _say(output, "judges", *(model.card.uri for model in heldout))
    _say(output, "recipe", f"{context.recipe.name}, {number_of(context.recipe.steps, 'step')}")
    _say(output, "strength", *([_auto_strength()] if context.auto_strength else []))
    _say(output, "budget", ", ".join(f"{name} {value}" for name, value in _budget(job).items()))
    _say(output, "output", f"{context.format} files in {places.shown}")
    if plan.to_do:
        remark("omm: measuring one photo in a few steps")
    timing = time_photo(job, plan.to_do) if plan.to_do else None
    _say_timing(output, plan, timing, job)
    _say_memory(output, plan, job)
    output.say("", "nothing was written")
    output.add(
        dry_run=True,
        out=places.shown,
        photos=len(checked.photos),
        to_protect=len(plan.to_do),
        done_before=plan.finished,
        protected_before=plan.own,
        skipped=[{"photo": str(entry.relative), "reason": entry.reason} for entry in refused],
        passed_over=dict(others),
        labels=len(labels),
        models=uris | {"heldout": [model.card.uri for model in heldout]},
        recipe=context.recipe.to_json(),
        budget=_budget(job),
        auto_strength=context.auto_strength,
        seconds_per_photo=None if timing is None else timing.seconds,
        seconds=None if timing is None else timing.seconds * len(plan.to_do),
        most_strengths=None if timing is None else timing.most_strengths,
        peak_bytes=plan.peak_bytes,
        memory_limit=limits.memory,
        too_large=[{"photo": name, "reason": reason} for name, reason in plan.too_large.items()],
    )
    return 0


def _say(output: Any, name: str, *lines: str) -> None:
    """Say lines with a name before the first; nothing where there are none."""
    for index, line in enumerate(lines):
        output.say(replace_unprintable(f"{name if not index else '':{WIDTH}} {line}"))


def _say_timing(output: Any, plan: "Plan", timing: "Timing | None", job: "Job") -> None:
    from onlymymodel.progress import duration

    if timing is None:
        unknown = "not known: no photo that was tried can be protected"
        _say(output, "time", unknown if plan.to_do else "none: there is nothing to do")
        return
    each = f"{timing.seconds:.1f} s a photo on {job.context.device}, measured on {timing.photo}"
    least = timing.seconds * len(plan.to_do)
    most, strengths = "", timing.most_strengths
    if strengths > 1:
        most = f" to {duration(strengths * least)}"
        each = f"{each}, for each of 1 to {strengths} strengths"
    _say(output, "time", f"about {duration(least)}{most}: {each}")


def _say_memory(output: Any, plan: "Plan", job: "Job") -> None:
    from onlymymodel.protect.limits import gib

    if not plan.to_do:
        return
    assert job.limits.memory is not None
    peak, limit = gib(plan.peak_bytes), gib(job.limits.memory)
    large = number_of(plan.alone, "photo is too large for a batch, and is", "photos are too large for a batch, and are")
    alone = [f"{large} protected alone"] if plan.alone else []
    _say(output, "memory", f"about {peak} at the peak of each process; its limit is {limit} (--memory)", *alone)
    _say(output, "too large", *(f"{name}: {reason}" for name, reason in list(plan.too_large.items())[:NAMED]))
    if len(plan.too_large) > NAMED:
        _say(output, "", f"... and {len(plan.too_large) - NAMED} more")


def _sizes(plan: "Plan") -> str:
    if not plan.pixels:
        return ""
    least, most = (f"{pixels / 1e6:.1f}" for pixels in (plan.pixels[0], plan.pixels[-1]))
    return f", {least} megapixels" if least == most else f", {least} to {most} megapixels"


def _auto_strength() -> str:
    *names, last = STRENGTHS
    return (
        f"{AUTO}: chosen photo by photo, the weakest of {', '.join(names)} and {last} that suffices, up to this budget"
    )


def _budget(job: "Job") -> dict[str, Any]:
    """Return the budget as flags give it."""
    budget = job.context.budget.to_json()
    return {"epsilon": round(budget.pop("linf"), 6), **budget}
