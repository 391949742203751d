"""The outcome of a tuning in words and as a table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onlymymodel.errors import first_of, number_of
from onlymymodel.evaluate.results import AS_WRITTEN
from onlymymodel.evaluate.score import ShareEstimate
from onlymymodel.evaluate.text import percent
from onlymymodel.evaluate.tune.frontier import RECOMPRESSED, FrontierPoint
from onlymymodel.evaluate.tune.knob import Knob
from onlymymodel.evaluate.tune.per_photo import STATE_MEANINGS, PhotoBudget
from onlymymodel.evaluate.tune.search import Target
from onlymymodel.evaluate.tune.tune import Frontier
from onlymymodel.evaluate.tune.tuning import Tuning
from onlymymodel.protect.budget.strengths import STRENGTHS

# the columns about visibility, and the quantiles whose median they show
MEASURES: dict[str, Callable[[FrontierPoint], Mapping[str, float]]] = {
    "SSIM": lambda point: point.ssim,
    "MS-SSIM": lambda point: point.ms_ssim,
    "FLIP": lambda point: point.flip,
    "LPIPS": lambda point: point.lpips,
}


@dataclass(frozen=True)
class TuningOutcome:
    """Inputs and results of a tuning.

    Attributes:
        tuning: the inputs.
        frontier: result of the search on the sample.
        set_aside: the surrogate that was evaluated because no held-out model was given; "" where one was.
        photos: budget of each photo, where that was requested.
    """

    tuning: Tuning
    frontier: Frontier
    set_aside: str = ""
    photos: Sequence[PhotoBudget] = ()


def describe_outcome(outcome: TuningOutcome) -> Iterator[str]:
    """Yield the sentences that a user needs to read."""
    frontier, target, highest = outcome.frontier, outcome.tuning.target, outcome.tuning.highest
    point, clean = frontier.point_at(frontier.nearest), frontier.points[0].heldout[AS_WRITTEN].share
    name = point.knob.name(point.level)
    if frontier.choice is not None:
        yield f"{name[:1].upper()}{name[1:]} is the least budget that meets the target."
    else:
        nearest = f"the largest, {name}, comes nearest" if point.level == highest else f"the nearest is {name}"
        yield f"No budget {point.knob.limit(highest)} meets the target; {nearest}."
        if not point.changed:
            yield "At this budget no photo of the sample is changed: these settings would protect few photos or none."
    yield from _describe_visibility(point)
    yield (
        f"On {number_of(point.photos, 'photo')} judges read "
        f"{_in_words(point.heldout[AS_WRITTEN])}, the authorized model keeps "
        f"{_in_words(point.kept[AS_WRITTEN])}{_through_in_words(point)}. {_target_in_words(target)}"
    )
    if frontier.choice is None:
        yield "More or other stand-ins, another --recipe or more --steps may bring it into reach."
    elif smoothed_out := _smoothed_out(outcome):
        bound = "Epsilon" if point.knob.over == "epsilon" else "SSIM"
        yield f"{bound} {', '.join(smoothed_out)} met it too, but neighboring levels did not: attributed to chance."
    recompressed = point.kept.get(RECOMPRESSED)
    if recompressed and recompressed.share < target.kept and "jpeg-75" not in target.through:
        yield (
            f"After JPEG 75 the authorized model keeps {_in_words(recompressed)}: the target applies to "
            "the files as written. Where photos are compressed again, add --through jpeg-75."
        )
    if target.heldout_met(clean):
        yield (
            f"The judges read only {percent(clean)} of the originals: they cannot judge the protection of these photos."
        )
    if outcome.set_aside:
        yield (
            f"NO JUDGE WAS GIVEN: the stand-in {outcome.set_aside} was set aside to judge, and is a "
            "stand-in again in run.toml. One judge is weak evidence; name models that take no part by --heldout."
        )
    if outcome.photos:
        yield from _describe_photos(outcome.photos, outcome.tuning.knob)


def outcome_table(frontier: Frontier) -> list[list[str]]:
    """Return the head, then a line for each point; the chosen or nearest one is marked by `>`."""
    measured = [title for title, of in MEASURES.items() if any(of(point) for point in frontier.points[1:])]
    with_through = any(point.through for point in frontier.points)
    through = ["kept, least deployment"] if with_through else []
    bound = "epsilon" if frontier.points[0].knob.over == "epsilon" else "SSIM bound"
    head = [bound, "kept", "judges", "stand-ins", "judges, JPEG 75", "kept, JPEG 75", *through, *measured]
    return [head, *(_line(point, frontier, measured, with_through=with_through) for point in frontier.points)]


def outcome_to_text(frontier: Frontier) -> str:
    """Return the table for a terminal."""
    lines = outcome_table(frontier)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _describe_visibility(point: FrontierPoint) -> Iterator[str]:
    """Say what people see of a point, in SSIM and FLIP; nothing where no photo changed."""
    if len(point.seen) < 2:
        return
    ssim, flip = point.seen["ssim"], point.seen["flip"]
    like = [
        name
        for name, strength in STRENGTHS.items()
        if ssim["median"] >= strength.ssim and flip["median"] <= strength.flip
    ]
    seen = f"no more visible than --strength {like[0]}" if like else f"more visible than --strength {[*STRENGTHS][-1]}"
    on = f"the {point.changed} of {point.photos} photos that changed"
    yield (
        f"What people see of it, on {on}: SSIM {ssim['median']:.3f} in the median (the worst photo {ssim['min']:.3f}), "
        f"FLIP {flip['median']:.3f} (the worst {flip['max']:.3f}); in the median {seen}."
    )


def _target_in_words(target: Target) -> str:
    kept = f"at least {percent(target.kept)} kept"
    if target.through:
        kept += f", as written and through each of {len(target.through)} deployments"
    return f"The target: at most {percent(target.heldout)} read by judges, {kept}."


def _through_in_words(point: FrontierPoint) -> str:
    if point.through is None:
        return ""
    return f", and {_in_words(point.through)} through the least deployment, {point.least_deployment}"


def _smoothed_out(outcome: TuningOutcome) -> list[str]:
    """Return the points below the choice that meet the target by themselves."""
    target, choice = outcome.tuning.target, outcome.frontier.choice
    return [
        point.knob.show(point.level)
        for point in outcome.frontier.points[1:]
        if choice is not None
        and point.level < choice
        and target.heldout_met(point.heldout[AS_WRITTEN].share)
        and target.kept_met(point.least_kept)
    ]


def _describe_photos(photos: Sequence[PhotoBudget], knob: Knob) -> Iterator[str]:
    least = [photo.level for photo in photos if photo.state == "least"]
    if least:
        middle = f"{np.median(list(map(knob.value, least))):g}"
        yield (
            f"Photo by photo: {len(least)} of {len(photos)} have their own least budget, "
            f"{knob.show(min(least))} to {knob.show(max(least))}, median {middle}."
        )
    for state, meaning in STATE_MEANINGS.items():
        named = [photo.photo for photo in photos if photo.state == state]
        if named and state != "least":
            yield f"{state.capitalize()} ({meaning}): {len(named)} of {len(photos)}, {first_of(named)}."


def _line(point: FrontierPoint, frontier: Frontier, measured: Sequence[str], *, with_through: bool) -> list[str]:
    mark = "> " if point.level == frontier.nearest else ""
    return [
        f"{mark}{point.knob.show(point.level)}" if point.level else "clean",
        _cell(point.kept[AS_WRITTEN]),
        _cell(point.heldout[AS_WRITTEN]),
        _cell(point.surrogates[AS_WRITTEN]) if point.surrogates else "-",
        _cell(point.heldout[RECOMPRESSED]),
        _cell(point.kept[RECOMPRESSED]) if RECOMPRESSED in point.kept else "-",
        *([_cell(point.through) if point.through else "-"] if with_through else []),
        *(_median(MEASURES[title](point)) for title in measured),
    ]


def _median(quantiles: Mapping[str, float]) -> str:
    return f"{quantiles['median']:.4f}" if quantiles else "-"


def _cell(estimate: ShareEstimate) -> str:
    return f"{100 * estimate.share:.0f}% [{100 * estimate.low:.0f}-{100 * estimate.high:.0f}]"


def _in_words(estimate: ShareEstimate) -> str:
    return f"{percent(estimate.share)} ({percent(estimate.low)} to {percent(estimate.high)})"
