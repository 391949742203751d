"""The files of a tuning: `tune.json`, `frontier.svg` and `tune.html`."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from onlymymodel.data.atomic import write_atomic
from onlymymodel.evaluate.distortion_table import definitions
from onlymymodel.evaluate.html import csp_hash, json_text, plot_uris, png_uri, template_environment
from onlymymodel.evaluate.images import amplify_difference, reduced_image
from onlymymodel.evaluate.protected_folder import open_folders, read_options, read_photo
from onlymymodel.evaluate.tables import LIMITS
from onlymymodel.evaluate.text import encodable
from onlymymodel.evaluate.tune.frontier_plot import Axis, describe_frontier, frontier_plot
from onlymymodel.evaluate.tune.outcome import TuningOutcome, describe_outcome, outcome_table
from onlymymodel.evaluate.tune.per_photo import STATE_MEANINGS
from onlymymodel.evaluate.tune.tune import SAMPLE, level_folder
from onlymymodel.protect import run_record
from onlymymodel.protect.budget import flip, ms_ssim
from onlymymodel.protect.budget.distortion import SSIM_DEFINITION
from onlymymodel.runtime import environment

JSON, PLOT, PAGE = "tune.json", "frontier.svg", "tune.html"
SCHEMA = 1
MAX_PHOTOS, MAX_SIDE = 6, 320  # photos on the page, and their longest side there in pixels
AMPLIFY = 8
INTERVALS = (
    "Intervals are 95 % Wilson intervals over the photos of the sample; that of a mean over models is the mean of "
    "theirs, since they judge the same photos."
)
SELECTION_NOTE = (
    "The level was chosen on these photos and with these models: expect less on other photos and with other models."
)


@dataclass(frozen=True)
class SamplePhoto:
    """A photo of the sample on the page; the pictures are data URIs."""

    name: str
    original: str
    protected: str
    difference: str


def write_tuning(outcome: TuningOutcome, *, axis: Axis = "epsilon") -> None:
    """Write `tune.json`, `frontier.svg` and `tune.html` to the output folder."""
    tuning, frontier = outcome.tuning, outcome.frontier
    met = frontier.choice is not None
    svg = frontier_plot(frontier.points, tuning.target, frontier.nearest, met=met, axis=axis)
    write_atomic(tuning.out / JSON, json_text(to_json(outcome)).encode())
    write_atomic(tuning.out / PLOT, svg.encode())
    write_atomic(tuning.out / PAGE, encodable(render_tuning(outcome, svg)).encode())


def to_json(outcome: TuningOutcome) -> dict[str, Any]:
    """Return JSON values: the request, the models, every point, the choice."""
    tuning, frontier = outcome.tuning, outcome.frontier
    bound, nearest = tuning.knob.value, frontier.point_at(frontier.nearest)
    settings = run_record.describe(tuning.context_at(frontier.nearest), tuning.batch_size)
    return {
        "schema": SCHEMA,
        "command": tuning.command,
        "environment": environment(tuning.context.device),
        "seeds": {"sample": tuning.seed, "recipe": tuning.context.recipe.seed},
        "models": [{"role": judge.role, **judge.model.card.to_json()} for judge in tuning.judges],
        "settings": settings,
        "set_aside": outcome.set_aside or None,
        "ssim": SSIM_DEFINITION,
        "ms_ssim": ms_ssim.DEFINITION,
        "flip": flip.DEFINITION,
        "intervals": INTERVALS,
        "target": asdict(tuning.target),
        "over": tuning.knob.over,
        "highest": bound(tuning.highest),
        "sample": list(frontier.photos),
        "in_reach": frontier.choice is not None,
        "choice": None if frontier.choice is None else bound(frontier.choice),
        "nearest": bound(frontier.nearest),
        "seen": nearest.seen,
        "asked": list(map(bound, frontier.order)),
        "points": [point.to_json() for point in frontier.points],
        "per_photo": [photo.to_json(tuning.knob) for photo in outcome.photos] or None,
    }


def render_tuning(outcome: TuningOutcome, svg: str) -> str:
    """Return one self-contained HTML page, which requests nothing."""
    jinja = template_environment()
    jinja.filters |= {"csp_hash": csp_hash}
    light, dark = plot_uris(svg)
    return jinja.get_template("tune.html.j2").render(
        knob=outcome.tuning.knob,
        nearest=outcome.frontier.nearest,
        light=light,
        dark=dark,
        description=describe_frontier(outcome.frontier.points),
        sentences=list(describe_outcome(outcome)),
        table=outcome_table(outcome.frontier),
        sample=list(_sample_photos(outcome)),
        amplify=AMPLIFY,
        photos=outcome.photos,
        states=STATE_MEANINGS,
        models=[(judge.role, judge.model.card) for judge in outcome.tuning.judges],
        notes=[INTERVALS, SELECTION_NOTE, definitions()],
        limits=LIMITS,
    )


def _sample_photos(outcome: TuningOutcome) -> Iterator[SamplePhoto]:
    """Yield the first photos of the sample that were changed."""
    tuning, level = outcome.tuning, outcome.frontier.nearest
    entries, (folder,) = open_folders(tuning.out / SAMPLE, [level_folder(tuning, level)])
    files = {str(entry.relative): (entry.file, folder.files[str(entry.relative)]) for entry in entries}
    changed = ((name, before, after) for name, (before, after) in files.items() if after is not None)
    for name, before, after in islice(changed, MAX_PHOTOS):
        original, protected = (read_photo(path, read_options([folder])) for path in (before, after))
        original = np.broadcast_to(original, protected.shape)  # a decoded gray photo in WebP has three equal channels
        shown = (original, protected, amplify_difference(original, protected, AMPLIFY))
        yield SamplePhoto(name, *(png_uri(reduced_image(pixels, MAX_SIDE)) for pixels in shown))
