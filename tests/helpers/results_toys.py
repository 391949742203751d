"""A small evaluation for tests of the page, the plots and the tables, and a parser of the page."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.evaluate.face_verification import match_gallery
from onlymymodel.evaluate.harness import Pair
from onlymymodel.evaluate.report import render_report
from onlymymodel.evaluate.results import CLEAN, Answer, Failure, Results, Row, Run
from onlymymodel.protect.budget.distortion import Distortion

HOSTILE = "=\"><script>alert(1)</script><img src=x onerror=alert(2)>'{{ 7 * 7 }}|$x^2\n`.png"
PHOTOS = ("one.png", "sub/two.jpg", "three.png", "four.png")
LABELS = (0, 1, 2, 0)
NAMES = {0: "Ada", 1: "Ben & Co", 2: "<b>Cem</b>"}
CHANNELS = ("png", "jpeg75", "resize50")
VOID = {"meta", "img", "br", "link", "input", "source"}
EXCLUSION = "declares the parent of a surrogate"

Answers = Sequence[Answer]
Versions = Mapping[str, Mapping[str, tuple[Answer, ...]]]


def toy_results() -> Results:
    """Four photos, `eps8` and `eps16`, three channels, an authorized model, two surrogates, three held-out ones."""
    right = LABELS
    rows = (
        _row("zoo:mine", "authorized", _answers(right, right, (0, 1, 2, 1))),
        _row("zoo:helper", "surrogate", _answers(right, (1, 2, 0, 1), (1, 2, 0, 1))),
        _row("zoo:second-helper", "surrogate", _answers((0, 1, 2, 1), (0, 2, 0, 1), (1, 2, 0, 1))),
        _row("zoo:judge", "held-out", _answers(right, (0, None, 0, 1), (1, None, 0, 1))),
        replace(_row("zoo:cousin", "held-out", _answers(right, (0, 1, 2, 1), (0, 1, 1, 1))), exclusion=EXCLUSION),
        replace(
            _row("onnx:far.onnx", "held-out", _answers((3, 3, 0, None), (3, 0, 0, 1), (0, 0, 1, 2))),
            truth="own",
            truths=(3, 3, 0, None),
            names={},
        ),
    )
    return Results(
        photos=PHOTOS,
        labels=LABELS,
        runs=(
            Run("eps8", _distortions(8), {"protected": 3, "unchanged": 1}, 8.0, "momentum"),
            Run("eps16", _distortions(16), {"protected": 4}, 16.0, "momentum"),
        ),
        channels=CHANNELS,
        rows=rows,
        failures=tuple(_failures(rows)),
        header={
            "command": "omm evaluate --out 'a b'",
            "environment": {"python": "3.13", "device": {"kind": "cpu"}},
            "settings": {"seed": 0},
        },
    )


def toy_pictures(results: Results, shape: tuple[int, ...] = (20, 30, 3)) -> list[Pair]:
    """Noise, with a change of at most its epsilon for every run."""
    return [toy_picture(name, [run.name for run in results.runs], shape) for name in results.photos]


def toy_picture(name: str, runs: Sequence[str], shape: tuple[int, ...] = (20, 30, 3)) -> Pair:
    """One of `toy_pictures`."""
    random = np.random.default_rng([*name.encode("utf-8", "replace"), *shape])
    original = random.integers(0, 256, shape, dtype=np.uint8)
    changes = {run: random.integers(-8 * index, 8 * index + 1, shape) for index, run in enumerate(runs, start=1)}
    protected = {run: np.clip(original + change, 0, 255).astype(np.uint8) for run, change in changes.items()}
    return Pair(name, original, protected, 0)


def hostile_results() -> Results:
    """The toy with names of markup, a formula, a template and a line break wherever a name is untrusted."""
    toy = toy_results()
    versions = {"eps8": HOSTILE, "eps16": "-2+3"}
    channels = {"png": "png", "jpeg75": f"@{HOSTILE}", "resize50": "caf\udce9"}

    def renamed(answers: Versions) -> Versions:
        return {
            versions.get(version, version): {channels[channel]: given for channel, given in by_channel.items()}
            for version, by_channel in answers.items()
        }

    rows = [
        replace(row, model=f"{HOSTILE}{index}", family=HOSTILE, parent=HOSTILE, answers=renamed(row.answers))
        for index, row in enumerate(toy.rows)
    ]
    rows[0] = replace(rows[0], names=dict.fromkeys(NAMES, HOSTILE), sha256=HOSTILE)
    rows[4] = replace(rows[4], exclusion=HOSTILE)
    failure = Failure(HOSTILE, HOSTILE, versions["eps8"], channels["jpeg75"], HOSTILE)
    return replace(
        toy,
        photos=(HOSTILE, "caf\udce9.png", *PHOTOS[2:]),
        runs=tuple(replace(run, name=versions[run.name], recipe=HOSTILE) for run in toy.runs),
        channels=tuple(channels.values()),
        rows=tuple(rows),
        failures=(failure,),
        header={"command": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}},
    )


def with_gallery(results: Results) -> Results:
    """The same, where `zoo:judge` has a gallery of 35 people and names one at a cosine of 0.5.

    The fourth photo shows none of them. Of its 102 impostor scores the two largest are 0.7 and 0.6.
    """
    nearest = {CLEAN: (0, 1, 2, 9), "eps8": (0, 1, 9, 9), "eps16": (9, None, 9, 9)}
    at = {CLEAN: (0.9, 0.8, 0.65, 0.1), "eps8": (0.61, 0.55, 0.45, 0.1), "eps16": (0.2, None, 0.1, 0.1)}
    cosines: dict[str, dict[str, list[NDArray[np.float32] | None]]] = {version: {} for version in at}
    for version, genuine in at.items():
        by_photo = [_cosines(index, score, nearest[version][index]) for index, score in enumerate(genuine)]
        cosines[version] = dict.fromkeys(results.channels, by_photo)
    clean = cosines[CLEAN]["png"]
    for index, score in enumerate((0.7, 0.6, 0.3)):
        photo_cosines = clean[index]
        assert photo_cosines is not None
        photo_cosines[20] = score
    persons = (0, 1, 2, None)
    answers = {CLEAN: (0, 1, 2, 35), "eps8": (0, 1, 35, 35), "eps16": (9, None, 9, 35)}
    row = replace(
        results.rows[3],
        truths=persons,
        answers={version: dict.fromkeys(results.channels, given) for version, given in answers.items()},
        names={0: "Ada", 1: "Ben", 2: "Cem", 9: "Ida", 35: "stranger"},
        unmapped=("Zoe",),
        matches=match_gallery(cosines, clean, persons, 0.5),
    )
    return replace(results, rows=(*results.rows[:3], row, *results.rows[4:]))


def _cosines(index: int, genuine: float | None, nearest: int | None) -> NDArray[np.float32] | None:
    if genuine is None or nearest is None:
        return None
    cosines = np.full(35, -0.5, np.float32)
    cosines[index] = genuine
    if nearest != index:
        cosines[nearest] = genuine + 0.05
    return cosines


def alone(results: Results) -> Results:
    """Return only the first run, the channel `png` and the clean photos of an evaluation."""
    rows = [
        replace(row, answers={version: {"png": row.answers[version]["png"]} for version in (CLEAN, "eps8")})
        for row in results.rows
    ]
    kept = tuple(failure for failure in results.failures if failure.channel == "png" and failure.version != "eps16")
    return replace(results, runs=results.runs[:1], channels=("png",), rows=tuple(rows), failures=kept)


@dataclass
class Page(HTMLParser):
    """The elements and texts of a page, as far as the tests need them."""

    text: str
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    words: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.feed(self.text)
        self.close()
        assert not self.inside, f"left open: {self.inside}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.inside.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append((self.inside[-1] if self.inside else "", data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def pictures(self) -> list[NDArray[np.uint8]]:
        """The photos, in the order of the page."""
        images = [image["src"] for image in self.all("img") if image["src"].startswith("data:image/webp;")]
        sources = [source.removeprefix("data:image/webp;base64,") for source in images]
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source, validate=True)))) for source in sources]

    def prose(self) -> str:
        return " ".join(" ".join(data for tag, data in self.words if tag not in {"style", "script"}).split())


def toy_page(results: Results, pictures: Iterable[Pair] | None = None, *, amplify: int = 8) -> Page:
    """The page of an evaluation, as read again."""
    shown = toy_pictures(results) if pictures is None else pictures
    return Page(render_report(results, shown, title="A <title>", summary="4 of 4 photos & no more.", amplify=amplify))


def _row(model: str, role: str, answers: Versions) -> Row:
    fields = {"model": model, "role": role, "sha256": f"{model}-weights", "family": "toy", "parent": ""}
    return Row(**fields, truth="label", truths=LABELS, answers=answers, names=NAMES)  # type: ignore[arg-type]


def _answers(clean: Answers, weak: Answers, strong: Answers) -> Versions:
    """The same through every channel, but that resizing brings the first photo's clean answer back."""
    versions = {CLEAN: tuple(clean), "eps8": tuple(weak), "eps16": tuple(strong)}
    return {
        version: {"png": given, "jpeg75": given, "resize50": (clean[0], *given[1:])}
        for version, given in versions.items()
    }


def _distortions(levels: int) -> tuple[Distortion, ...]:
    return (
        Distortion(0, 0.0, None, 1.0),
        Distortion(levels, 1.0 * levels, 40.0, 0.98),
        Distortion(levels, 1.5 * levels, 38.0, 0.96),
        Distortion(levels, 2.0 * levels, 36.0, 0.94),
    )


def _failures(rows: Sequence[Row]) -> list[Failure]:
    return [
        Failure(row.model, PHOTOS[index], version, channel, "out of memory")
        for row in rows
        for version, channels in row.answers.items()
        for channel, given in channels.items()
        for index, answer in enumerate(given)
        if answer is None
    ]
