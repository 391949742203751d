"""One HTML file that shows what an evaluation found: figures, plots, pictures, and what they do not promise."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.data.atomic import write_atomic
from onlymymodel.evaluate import change, identity, plots, tables
from onlymymodel.evaluate.harness import Pair
from onlymymodel.evaluate.html import csp_hash, data_uri, environment, png
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Results, Role, Row, Run
from onlymymodel.protect.distortion import Distortion

MAX_SIDE = 512
MAX_PICTURES = 60
# noise compresses badly: sixty photos of 512x512 would make a page that no phone opens
MAX_PICTURE_BYTES = 48 * 2**20
STEPS = 20  # of the heat map
# (at 0 %, at 100 %) of the heat map, on a light and on a dark page
HEAT = {"light": ((244, 240, 232), (38, 84, 124)), "dark": ((36, 34, 31), (150, 196, 232))}

Pixels = NDArray[np.uint8]
Verdict = Literal["right", "wrong", "reference", "missing"]

# in the order of the page: role, heading, what the models of this role stand for
GROUPS: tuple[tuple[Role, str, str], ...] = (
    ("authorized", "Authorized", "must still read every photo"),
    ("held-out", "Held-out", "took no part in the protection; these are the evidence"),
    ("surrogate", "Surrogates", "stood in for unknown models while the photos were changed; no evidence about others"),
)


@dataclass(frozen=True)
class Said:
    """One answer of one model; `reference` where right is defined by this very answer."""

    text: str
    verdict: Verdict


@dataclass(frozen=True)
class Version:
    """A protected version of a photo as the gallery shows it; the pictures are data URIs."""

    run: Run
    protected: str
    difference: str
    distortion: Distortion

    @property
    def over_budget(self) -> bool:
        """Whether a value changed by more than the run allowed."""
        return self.run.epsilon is not None and self.distortion.linf > self.run.epsilon


@dataclass(frozen=True)
class Card:
    """A photo as the gallery shows it.

    Attributes:
        size, shown: (width, height) of the photo, and of the pictures on the page.
        original: data URI.
        answers: each model's of the original, then of every version.
    """

    name: str
    label: str
    size: tuple[int, int]
    shown: tuple[int, int]
    original: str
    versions: tuple[Version, ...]
    answers: tuple[tuple[Row, tuple[Said, ...]], ...]

    @property
    def reduced(self) -> bool:
        """Whether the pictures are smaller than the photo."""
        return self.shown != self.size

    @property
    def weight(self) -> int:
        """Bytes of the pictures on the page."""
        return len(self.original) + sum(len(one.protected) + len(one.difference) for one in self.versions)


@dataclass(frozen=True)
class Plot:
    """A plot as data URIs for a light and a dark page, with its caption and what it shows in words."""

    light: str
    dark: str
    caption: str
    run: str
    told: str


def write_report(
    path: Path, results: Results, pictures: Iterable[Pair], *, title: str, summary: str, amplify: int = 8
) -> None:
    """Write `render`'s page. Raises ValueError as it does, and OSError where the file cannot be written."""
    html = render(results, pictures, title=title, summary=summary, amplify=amplify)
    # a file name that is not UTF-8 reaches us with lone surrogates
    write_atomic(path, html.encode("utf-8", "replace"))


def render(results: Results, pictures: Iterable[Pair], *, title: str, summary: str, amplify: int = 8) -> str:
    """One self-contained HTML page: no request leaves it, and all of it can be read without scripts.

    Args:
        pictures: of the first photos, in their order, at least one, with every run; taken one at a time, and not
            needed again. 60 at most are shown; the figures are of all photos.
        title, summary: plain text; a few words, and a sentence of the caller's own below the headline.
        amplify: how many times the shown difference is larger than the real one.

    Raises:
        ValueError: no pictures, or pictures that are not those of these results.
    """
    return _template().render(
        title=title,
        summary=summary,
        amplify=amplify,
        results=results,
        versions=tables.versions(results),
        groups=[(*group, results.of(group[0])) for group in GROUPS if results.of(group[0])],
        missing=tables.failed(results),
        reasons=tables.reasons(results, str),
        galleries=identity.notes(results, str),
        plots=list(_plots(results)),
        cards=_gallery(results, pictures, amplify),
    )


def amplified(original: Pixels, protected: Pixels, amplify: int) -> Pixels:
    """128 + amplify * (protected - original), clipped: (H,W,C) uint8 all three; gray is no change."""
    difference = protected.astype(np.int32) - original
    shown: Pixels = np.clip(128 + amplify * difference, 0, 255).astype(np.uint8)
    return shown


def heat(scheme: str) -> list[tuple[str, str]]:
    """(background, ink) of each of the heat map's steps, as CSS colors; their contrast is 4.5 at least."""
    low, high = HEAT[scheme]
    colors = [
        tuple(round(a + (b - a) * step / STEPS) for a, b in zip(low, high, strict=True)) for step in range(STEPS + 1)
    ]
    return [
        ("#{:02x}{:02x}{:02x}".format(*color), "#000" if _luminance(color) > 0.1791 else "#fff") for color in colors
    ]


def _luminance(color: Sequence[int]) -> float:
    """Relative luminance (WCAG 2.2); above 0.1791 black has the better contrast, and either has 4.58 there."""
    linear = [(part / 255 / 12.92) if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _check(results: Results, index: int, picture: Pair) -> None:
    if picture.name not in results.photos[index : index + 1]:
        raise ValueError("the pictures are not those of the first photos of these results")
    if {run.name for run in results.runs} != set(picture.protected):
        raise ValueError(f"the pictures of {picture.name} are not of these runs")
    # WebP gives a gray photo back as three equal channels
    if any(pixels.shape[:2] != picture.original.shape[:2] for pixels in picture.protected.values()):
        raise ValueError(f"the pictures of {picture.name} are not of one size")


def _plots(results: Results) -> Iterator[Plot]:
    by_epsilon = plots.accuracy_by_epsilon(results)
    if by_epsilon is not None:
        yield _plot(by_epsilon, "By the strength of the change", "", plots.told_by_epsilon(results))
    for run in results.runs:
        by_channel = plots.accuracy_by_channel(results, run.name)
        if by_channel is not None:
            yield _plot(by_channel, "By the channel", run.name, plots.told_by_channel(results, run.name))


def _plot(svg: str, caption: str, run: str, told: str) -> Plot:
    light, dark = (data_uri(text.encode(), "svg+xml") for text in (svg, plots.on_dark(svg)))
    return Plot(light, dark, caption, run, told)


def _gallery(results: Results, pictures: Iterable[Pair], amplify: int) -> list[Card]:
    """The first photos, as many as fit; always one. Of decoded photos, which are large, only one is needed at once."""
    cards: list[Card] = []
    weight = 0
    for index, picture in enumerate(islice(pictures, MAX_PICTURES)):
        _check(results, index, picture)
        card = _card(results, index, picture, amplify)
        weight += card.weight
        if cards and weight > MAX_PICTURE_BYTES:
            break
        cards.append(card)
    if not cards:
        raise ValueError("a report needs at least one picture")
    return cards


def _card(results: Results, index: int, picture: Pair, amplify: int) -> Card:
    original = _shrink(picture.original)
    versions = []
    for run in results.runs:
        protected = picture.protected[run.name]
        # the difference first, at full size: that of two shrunk photos would be another
        difference = amplified(picture.original, protected, amplify)
        versions.append(Version(run, png(_shrink(protected)), png(_shrink(difference)), run.distortion[index]))
    ordered = [row for role, _, _ in GROUPS for row in results.of(role)]
    height, width = picture.original.shape[:2]
    return Card(
        name=picture.name,
        label=results.authorized.name_of(results.labels[index]),
        size=(width, height),
        shown=original.size,
        original=png(original),
        versions=tuple(versions),
        answers=tuple(
            (row, tuple(_said(row, version, index) for version in tables.versions(results))) for row in ordered
        ),
    )


def _said(row: Row, version: str, index: int) -> Said:
    answer, truth = row.answers[version][AS_WRITTEN][index], row.truths[index]
    verdict: Verdict = "right" if answer == truth else "wrong"
    if answer is None:
        verdict = "missing"
    elif truth is None or (row.truth == "own" and version == CLEAN):
        verdict = "reference"
    return Said(row.name_of(answer), verdict)


def _shrink(pixels: Pixels) -> Image.Image:
    """The (H,W,3) or (H,W,1) photo with its long side at most 512 pixels; unchanged where it already is."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    ratio = MAX_SIDE / max(image.size)
    if ratio >= 1:
        return image
    width, height = (max(1, round(side * ratio)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of a mapping and the mappings in it, names joined by dots."""
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


def _template() -> jinja2.Template:
    jinja = environment()
    told = {"own_note": tables.OWN_NOTE, "mean_note": tables.MEAN_NOTE, "unchanged_note": change.UNCHANGED_NOTE}
    jinja.globals |= {"max_side": MAX_SIDE, "ssim": change.ssim_words(), "limits": tables.LIMITS, "heat": heat, **told}
    jinja.globals |= {"quantiles": change.QUANTILES, "change": change.change, "identity": identity}
    jinja.filters |= {
        "percent": tables.percent,
        "csp_hash": csp_hash,
        "flat": _flat,
        "step": lambda x: round(x * STEPS),
    }
    return jinja.get_template("report.html.j2")
