"""The photos of a report: each with its protected versions, their differences, and the answer of every model."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

from onlymymodel.data.attributes import agreeing
from onlymymodel.evaluate.harness import Pair
from onlymymodel.evaluate.images import amplify_difference
from onlymymodel.evaluate.report_pictures import EncodedPictures, PictureEncoder
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Answer, Results, Role, Row, Run
from onlymymodel.protect.budget.distortion import Distortion

OPEN = 12  # photos that the page shows at once, below the first one; it has the others on demand
MAX_PICTURES = 24
MAX_PICTURE_BYTES = 1_500_000  # so that the page stays below two megabytes

Verdict = Literal["right", "wrong", "reference", "missing"]


@dataclass(frozen=True)
class ShownAnswer:
    """One answer of one model; `reference` if this answer defines the correct one."""

    text: str
    verdict: Verdict


@dataclass(frozen=True)
class ShownVersion:
    """A protected version of a photo as the page shows it; the pictures are data URIs."""

    run: Run
    protected: str
    difference: str
    distortion: Distortion

    @property
    def over_budget(self) -> bool:
        """Return whether a value changed by more than the run allowed."""
        return self.run.epsilon is not None and self.distortion.linf > self.run.epsilon


@dataclass(frozen=True)
class PhotoCard:
    """A photo as the page shows it.

    Attributes:
        name: name of the photo.
        label: the authorized model's name of the correct class.
        size: (width, height) of the photo.
        pictures: the pictures on the page.
        versions: the protected versions.
        answers: for each model, its row and its answers to the original and then to every version.
    """

    name: str
    label: str
    size: tuple[int, int]
    pictures: EncodedPictures
    versions: tuple[ShownVersion, ...]
    answers: tuple[tuple[Row, tuple[ShownAnswer, ...]], ...]

    @property
    def reduced(self) -> bool:
        """Return whether the pictures are smaller than the photo."""
        return self.pictures.size != self.size

    @property
    def authorized(self) -> tuple[ShownAnswer, ...]:
        """The authorized model's answers to the original and then to every version."""
        return next(answers for row, answers in self.answers if row.role == "authorized")

    def reading(self, role: Role, version: int) -> "Reading":
        """Count the models of a role that read a protected version, as `Results.heldout_mean` does over all photos.

        Models that are in no mean are left out, and those that have no class for the label.

        Args:
            role: of the models.
            version: number of the version, from 1.
        """
        counted = [
            (row, answers[version].verdict)
            for row, answers in self.answers
            if row.role == role and row.counts_photos and not row.exclusion
        ]
        # without an answer to the original, an answer to the protected photo has nothing to be compared with
        verdicts = ["missing" if verdict == "reference" else verdict for row, verdict in counted if row.truth == "own"]
        verdicts += [verdict for row, verdict in counted if row.truth == "label" and verdict != "reference"]
        return Reading(verdicts.count("right"), verdicts.count("missing"), len(verdicts))


class Reading(NamedTuple):
    """Counts of the models that read a photo, and of all that are counted.

    Attributes:
        right: models that read it.
        missing: models without an answer, or without one to the original that it could be compared with.
        models: all of them.
    """

    right: int
    missing: int
    models: int


def photo_cards(results: Results, pairs: Iterable[Pair], rows: Iterable[Row], amplify: int) -> list[PhotoCard]:
    """Return cards of the first photos; only one decoded photo is needed at a time.

    Args:
        results: the evaluation.
        pairs: decoded photos in the order of the results, at least one, with every run.
        rows: rows of the results in the order in which a card lists the models.
        amplify: factor by which a difference is amplified.

    Raises:
        ValueError: no pairs, or pairs that do not belong to these results.
    """
    cards: list[PhotoCard] = []
    ordered = list(rows)
    encoder, lead = PictureEncoder(min(len(results.photos), MAX_PICTURES), MAX_PICTURE_BYTES), lead_photo(results)
    for index, pair in enumerate(islice(pairs, MAX_PICTURES)):
        _check_pair(results, index, pair)
        cards.append(_card(results, index, pair, ordered, amplify, encoder, large=index == lead))
    if not cards:
        raise ValueError("a report needs at least one picture")
    return cards


def lead_photo(results: Results) -> int:
    """Return the number of the photo that leads the page: the first that any version changes; 0 where none does."""
    shown = range(min(len(results.photos), MAX_PICTURES))
    return next((index for index in shown if any(run.distortion[index].linf for run in results.runs)), 0)


def _check_pair(results: Results, index: int, pair: Pair) -> None:
    if pair.name not in results.photos[index : index + 1]:
        raise ValueError("the pictures are not those of the first photos of these results")
    if {run.name for run in results.runs} != set(pair.protected):
        raise ValueError(f"the pictures of {pair.name} are not of these runs")
    # a decoded gray photo in WebP has three equal channels
    if any(pixels.shape[:2] != pair.original.shape[:2] for pixels in pair.protected.values()):
        raise ValueError(f"the pictures of {pair.name} are not of one size")


def _card(
    results: Results, index: int, pair: Pair, rows: list[Row], amplify: int, encoder: PictureEncoder, *, large: bool
) -> PhotoCard:
    height, width = pair.original.shape[:2]
    pixels = [pair.original]
    for run in results.runs:
        protected = pair.protected[run.name]
        # the difference is taken at full size: that of two reduced photos would be another one
        pixels += [protected, amplify_difference(pair.original, protected, amplify)]
    pictures = encoder.encode(pixels, [False, *[False, True] * len(results.runs)], large=large)
    versions = [
        ShownVersion(run, pictures.uris[2 * number + 1], pictures.uris[2 * number + 2], run.distortion[index])
        for number, run in enumerate(results.runs)
    ]
    return PhotoCard(
        name=pair.name,
        label=results.authorized.name_of(results.labels[index]),
        size=(width, height),
        pictures=pictures,
        versions=tuple(versions),
        answers=tuple((row, tuple(_shown_answer(row, version, index) for version in results.versions)) for row in rows),
    )


def _shown_answer(row: Row, version: str, index: int) -> ShownAnswer:
    answer, truth = row.answers[version][AS_WRITTEN][index], row.truths[index]
    verdict: Verdict = "right" if answer == truth else "wrong"
    if answer is None:
        verdict = "missing"
    elif truth is None or (row.truth == "own" and version == CLEAN):
        verdict = "reference"
    return ShownAnswer(_text(row, answer, truth), verdict)


def _text(row: Row, answer: Answer, truth: Answer) -> str:
    """Return the name of an answer; of many attributes how many are as they should be."""
    if answer is None or truth is None or row.counts_photos or row.attributes is None:
        return row.name_of(answer)
    count = len(row.attributes.names)
    return f"{agreeing(answer, truth, count)} of {count} attributes as when clean"
