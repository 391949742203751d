"""What tuning found, for people and programs: `tune.json`, `frontier.svg`, `tune.html`, a table for the terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image

from onlymymodel.data.atomic import write_atomic
from onlymymodel.evaluate.change import quantiles, ssim_words
from onlymymodel.evaluate.frontier import RECOMPRESSED, FrontierPoint, Share
from onlymymodel.evaluate.frontier_plot import Axis, frontier_plot, frontier_told
from onlymymodel.evaluate.harness import Pixels
from onlymymodel.evaluate.html import csp_hash, data_uri, environment, json_text, png
from onlymymodel.evaluate.per_photo import STATES, PhotoBudget
from onlymymodel.evaluate.plots import on_dark
from onlymymodel.evaluate.protected_folder import open_folders, read_photo
from onlymymodel.evaluate.report import amplified
from onlymymodel.evaluate.results import AS_WRITTEN
from onlymymodel.evaluate.tables import LIMITS, percent
from onlymymodel.evaluate.tune import SAMPLE, Frontier, Tuning, level_folder
from onlymymodel.protect import run_record
from onlymymodel.protect.distortion import SSIM_DEFINITION
from onlymymodel.runtime import environment as machine

JSON, PLOT, PAGE = "tune.json", "frontier.svg", "tune.html"
SCHEMA = 1
SHOWN, SIDE = 6, 320  # photos on the page, and their longest side there in pixels
AMPLIFY = 8
INTERVALS = (
    "Intervals are 95 % Wilson intervals over the photos of the sample; that of a mean over models is the mean of "
    "theirs, since they judge the same photos."
)
TWICE = "The level was chosen by these photos and these judges: on other photos, and for other models, expect less."


@dataclass(frozen=True)
class Found:
    """All that a tuning found.

    Attributes:
        set_aside: the surrogate that judged because no held-out model was given; "" where one was.
        photos: what each photo got, where that was asked for.
    """

    tuning: Tuning
    frontier: Frontier
    set_aside: str = ""
    photos: Sequence[PhotoBudget] = ()


@dataclass(frozen=True)
class Picture:
    """A photo on the page, as data URIs."""

    name: str
    original: str
    protected: str
    difference: str


def write_tuning(found: Found, *, axis: Axis = "epsilon") -> None:
    """Write `tune.json`, `frontier.svg` and `tune.html` to the output folder."""
    tuning, frontier = found.tuning, found.frontier
    met = frontier.choice is not None
    svg = frontier_plot(frontier.points, tuning.target, frontier.nearest, met=met, axis=axis)
    write_atomic(tuning.out / JSON, json_text(to_json(found)).encode())
    write_atomic(tuning.out / PLOT, svg.encode())
    write_atomic(tuning.out / PAGE, render(found, svg).encode("utf-8", "replace"))


def to_json(found: Found) -> dict[str, Any]:
    """JSON values: what was asked, by whom it was judged, every point, the choice."""
    tuning, frontier = found.tuning, found.frontier
    settings = run_record.describe(tuning.at(frontier.nearest), tuning.batch_size)
    return {
        "schema": SCHEMA,
        "command": tuning.command,
        "environment": machine(tuning.context.device),
        "seeds": {"sample": tuning.seed, "recipe": tuning.context.recipe.seed},
        "models": [{"role": judge.role, **judge.model.card.to_json()} for judge in tuning.judges],
        "settings": settings,
        "set_aside": found.set_aside or None,
        "ssim": SSIM_DEFINITION,
        "intervals": INTERVALS,
        "target": asdict(tuning.target),
        "highest": tuning.highest,
        "sample": list(frontier.photos),
        "in_reach": frontier.choice is not None,
        "choice": frontier.choice,
        "nearest": frontier.nearest,
        "asked": list(frontier.order),
        "points": [point.to_json() for point in frontier.points],
        "per_photo": [asdict(one) for one in found.photos] or None,
    }


def sentences(found: Found) -> list[str]:
    """What a person has to know."""
    return list(_sentences(found))


def _sentences(found: Found) -> Iterator[str]:
    frontier, target, highest = found.frontier, found.tuning.target, found.tuning.highest
    point, clean = frontier.at(frontier.nearest), frontier.points[0].heldout[AS_WRITTEN].share
    wanted = f"at most {percent(target.heldout)} read by others, at least {percent(target.kept)} kept"
    if frontier.choice is not None:
        yield f"Epsilon {frontier.choice}/255 is the least budget that meets the target."
    else:
        yield f"No budget up to {highest}/255 meets the target; the nearest is epsilon {frontier.nearest}/255."
    yield (
        f"On {_photos(point.photos)} held-out models read {_words(point.heldout[AS_WRITTEN])}, the authorized model "
        f"keeps {_words(point.kept[AS_WRITTEN])}. The target: {wanted}."
    )
    if frontier.choice is None:
        yield "More or other surrogates, another --recipe or more --steps may bring it into reach."
    elif lesser := [str(one.epsilon) for one in frontier.points[1:] if _outvoted(one, found)]:
        yield f"Epsilon {', '.join(lesser)} met it too, but levels beside it did not: taken for chance."
    if point.kept[RECOMPRESSED].share < target.kept:
        yield (
            f"After JPEG 75 the authorized model keeps {_words(point.kept[RECOMPRESSED])}: the target is of the files "
            "as written. Where photos are compressed again, take --recipe robust."
        )
    if target.misleads(clean):
        yield f"The held-out models read only {percent(clean)} of the originals: they are no judges of these photos."
    if found.set_aside:
        yield (
            f"NO HELD-OUT MODEL WAS GIVEN: the surrogate {found.set_aside} was set aside to judge, and joins again in "
            "run.toml. One judge is thin evidence; name models that take no part by --heldout."
        )
    if found.photos:
        yield from _of_photos(found)


def _outvoted(point: FrontierPoint, found: Found) -> bool:
    """Whether a point below the choice meets the target by itself."""
    target, choice = found.tuning.target, found.frontier.choice
    met = target.misleads(point.heldout[AS_WRITTEN].share) and target.keeps(point.kept[AS_WRITTEN].share)
    return met and choice is not None and point.epsilon < choice


def _of_photos(found: Found) -> Iterator[str]:
    least = [float(one.epsilon) for one in found.photos if one.state == "least"]
    if least:
        low, middle, high = quantiles(least, (0.0, 0.5, 1.0))
        yield (
            f"Photo by photo: {len(least)} of {len(found.photos)} have their own least budget, "
            f"{low:g} to {high:g}, median {middle:g}."
        )
    counts = Counter(one.state for one in found.photos)
    for state, meaning in STATES.items():
        if state != "least" and counts[state]:
            named = ", ".join(islice((one.photo for one in found.photos if one.state == state), 5))
            more = ", ..." if counts[state] > 5 else ""
            yield f"{counts[state]} {state} ({meaning}): {named}{more}."


def table(frontier: Frontier) -> list[list[str]]:
    """Head, then a line a point; the chosen or nearest one is marked by `>`."""
    head = ["epsilon", "kept", "held-out", "surrogates", "held-out, JPEG 75", "kept, JPEG 75", "SSIM"]
    return [head, *(_line(point, frontier) for point in frontier.points)]


def to_text(frontier: Frontier) -> str:
    """The table for a terminal."""
    lines = table(frontier)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def render(found: Found, svg: str) -> str:
    """One self-contained HTML page: no request leaves it."""
    jinja = environment()
    jinja.filters |= {"csp_hash": csp_hash}
    light, dark = (data_uri(text.encode(), "svg+xml") for text in (svg, on_dark(svg)))
    return jinja.get_template("tune.html.j2").render(
        frontier=found.frontier,
        target=found.tuning.target,
        light=light,
        dark=dark,
        told=frontier_told(found.frontier.points),
        sentences=sentences(found),
        table=table(found.frontier),
        pictures=list(_pictures(found)),
        amplify=AMPLIFY,
        photos=found.photos,
        states=STATES,
        models=[(judge.role, judge.model.card) for judge in found.tuning.judges],
        notes=[INTERVALS, TWICE, f"SSIM: {ssim_words()}."],
        limits=LIMITS,
    )


def _line(point: FrontierPoint, frontier: Frontier) -> list[str]:
    mark = "> " if point.epsilon == frontier.nearest else ""
    return [
        f"{mark}{point.epsilon}" if point.epsilon else "clean",
        _cell(point.kept[AS_WRITTEN]),
        _cell(point.heldout[AS_WRITTEN]),
        _cell(point.surrogates[AS_WRITTEN]) if point.surrogates else "-",
        _cell(point.heldout[RECOMPRESSED]),
        _cell(point.kept[RECOMPRESSED]),
        f"{point.ssim['median']:.4f}",
    ]


def _cell(share: Share) -> str:
    return f"{100 * share.share:.0f}% [{100 * share.low:.0f}-{100 * share.high:.0f}]"


def _words(share: Share) -> str:
    return f"{percent(share.share)} ({percent(share.low)} to {percent(share.high)})"


def _pictures(found: Found) -> Iterator[Picture]:
    """The first photos of the sample that were changed, before and after."""
    out, level = found.tuning.out, found.frontier.nearest
    photos, (folder,) = open_folders(out / SAMPLE, [level_folder(out, level)])
    files = {str(entry.relative): (entry.path, folder.files[str(entry.relative)]) for entry in photos}
    changed = ((name, before, after) for name, (before, after) in files.items() if after is not None)
    for name, before, after in islice(changed, SHOWN):
        original, protected = read_photo(before), read_photo(after)
        original = np.broadcast_to(original, protected.shape)  # WebP gives a gray photo back as three equal channels
        shown = (original, protected, amplified(original, protected, AMPLIFY))
        yield Picture(name, *(png(_small(pixels)) for pixels in shown))


def _photos(count: int) -> str:
    return f"{count} photo{'s' if count != 1 else ''}"


def _small(pixels: Pixels) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image
