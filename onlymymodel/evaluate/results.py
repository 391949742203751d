"""Results of an evaluation: the answers of every model to every photo, and the scores that follow from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Literal

from onlymymodel.evaluate.attribute_scores import AttributeTruths
from onlymymodel.evaluate.face_verification import GalleryMatches, VerificationScores
from onlymymodel.evaluate.recorded_margins import RecordedMargins
from onlymymodel.evaluate.score import Score
from onlymymodel.protect.budget.distortion import Distortion
from onlymymodel.surrogates.model_card import Kind

CLEAN = "clean"  # the version of a photo before any protection
AS_WRITTEN = "png"  # the channel that changes nothing

Role = Literal["authorized", "surrogate", "held-out"]
# the words for people
ROLE_WORDS: dict[Role, str] = {"authorized": "authorized", "held-out": "judge", "surrogate": "stand-in"}
Answer = int | None  # a class index, or None where the model failed


@dataclass(frozen=True)
class Run:
    """One protected version of all photos.

    Attributes:
        name: unique name, such as that of the folder; not `clean`.
        distortion: distortion of each photo against its original; empty where it was not measured.
        statuses: number of photos that ended as protected, unchanged, ...; a photo that was not written is
            represented by its original. Empty where there is no manifest.
        epsilon: the budget in 1/255; None where unknown.
        recipe: name of the recipe; "" where unknown.
        bounds: description of the other bounds on each photo; "" where epsilon is the only one.
        margins: the authorized model's margins through the deployments that the recipe kept, by name; empty where it
            kept none or there is no manifest.
    """

    name: str
    distortion: tuple[Distortion, ...]
    statuses: Mapping[str, int] = field(default_factory=dict)
    epsilon: float | None = None
    recipe: str = ""
    bounds: str = ""
    margins: Mapping[str, RecordedMargins] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectCounts:
    """Objects of the clean photos that a detector finds again.

    Attributes:
        objects: found in the clean photos.
        found: of these, found again.
        photos: clean photos in which it finds an object.
        photos_without: of these, photos in which it finds none of the objects again.
    """

    objects: int
    found: int
    photos: int
    photos_without: int


@dataclass(frozen=True)
class Row:
    """Answers of one model.

    Attributes:
        model: URI of the model, without folders of this machine.
        role: authorized, surrogate or held-out.
        sha256, family, parent: see `ModelCard`.
        truth: `label` where the authorized model's classes map to classes of this model; otherwise `own`: its answers
            to the clean photos are the reference.
        truths: (photos,) the correct class index of each photo. None where no class matches the label, and the photo
            is excluded from the scores; with `own` truth, None where the clean answer failed, and all answers to the
            photo count as missing.
        answers: version (`clean`, or the name of a run) -> channel -> answer to each photo.
        exclusion: reason why a held-out model is not independent and excluded from every mean; "" where it counts.
        names: names of the classes that occur, by index.
        unmapped: classes that occur, by the authorized model's names, that match no class of this model.
        matches: matches of an embedder with its gallery, or with the originals of the photos; None for another model.
        kind: what the model compares photos with, see `ModelCard.kind`.
        objects: version -> channel -> the objects that a detector finds again; None for another model.
        attributes: attributes of a model whose answers are codes of them; None for another model.
    """

    model: str
    role: Role
    sha256: str
    family: str
    parent: str
    truth: Literal["label", "own"]
    truths: tuple[Answer, ...]
    answers: Mapping[str, Mapping[str, tuple[Answer, ...]]]
    exclusion: str = ""
    names: Mapping[int, str] = field(default_factory=dict)
    unmapped: tuple[str, ...] = ()
    matches: GalleryMatches | None = None
    kind: Kind = "classes"
    objects: Mapping[str, Mapping[str, ObjectCounts]] | None = None
    attributes: AttributeTruths | None = None

    @property
    def counts_photos(self) -> bool:
        """Return whether a share of photos is its figure: not of attributes, unless the model has to keep them all."""
        return self.attributes is None or self.role == "authorized"

    def score(self, version: str, channel: str = AS_WRITTEN) -> Score:
        """Return the score of one version through one channel."""
        scored = [self.truth == "own" or truth is not None for truth in self.truths]
        answers, clean, truths = (
            list(compress(values, scored))
            for values in (self.answers[version][channel], self.answers[CLEAN][channel], self.truths)
        )
        readable = [answer is not None and answer == truth for answer, truth in zip(clean, truths, strict=True)]
        right = [answer is not None and answer == truth for answer, truth in zip(answers, truths, strict=True)]
        return Score(
            photos=len(answers),
            right=sum(right),
            # a truth is None here only where the clean answer failed: later answers prove nothing, and the photo may
            # have been read
            failed=sum(answer is None or truth is None for answer, truth in zip(answers, truths, strict=True)),
            readable=sum(readable),
            still_right=sum(after and before for after, before in zip(right, readable, strict=True)),
        )

    def verification(self, version: str, channel: str = AS_WRITTEN) -> VerificationScores | None:
        """Return the face verification scores of one version through one channel; None without a gallery."""
        if self.matches is None:
            return None
        clean, answers = self.answers[CLEAN][AS_WRITTEN], self.answers[version][channel]
        return self.matches.verify(version, channel, clean=clean, answers=answers)

    def name_of(self, answer: Answer) -> str:
        """Return the model's name of a class."""
        return "no answer" if answer is None else self.names.get(answer, str(answer))


@dataclass(frozen=True)
class Failure:
    """A photo for which a model gave no answer."""

    model: str
    photo: str
    version: str
    channel: str
    reason: str


@dataclass(frozen=True)
class Results:
    """Results of an evaluation.

    Attributes:
        photos, labels: name of each photo, and the authorized model's correct class.
        runs: the protected versions, at least one.
        channels: names of the channels in the order requested, `png` among them.
        rows: the authorized model, the surrogates, the held-out models.
        failures: every answer that is missing.
        header: command, environment, settings: everything besides the photos that the results depend on.
    """

    photos: tuple[str, ...]
    labels: tuple[int, ...]
    runs: tuple[Run, ...]
    channels: tuple[str, ...]
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()
    header: Mapping[str, Any] = field(default_factory=dict)

    @property
    def authorized(self) -> Row:
        """The row of the authorized model."""
        return next(row for row in self.rows if row.role == "authorized")

    @property
    def versions(self) -> list[str]:
        """`clean`, then the names of the runs: the order of all tables."""
        return [CLEAN, *(run.name for run in self.runs)]

    @property
    def photo_rows(self) -> list[Row]:
        """The rows of the models whose figure is a share of photos."""
        return [row for row in self.rows if row.counts_photos]

    def rows_of(self, role: Role) -> list[Row]:
        """Return the rows of one role."""
        return [row for row in self.rows if row.role == role]

    def photo_rows_of(self, role: Role) -> list[Row]:
        """Return the rows of one role whose figure is a share of photos."""
        return [row for row in self.photo_rows if row.role == role]

    def independent(self) -> list[Row]:
        """Return the rows of the independent held-out models whose figure is a share of photos: the evidence."""
        return [row for row in self.photo_rows_of("held-out") if not row.exclusion]

    def heldout_mean(self, version: str, channel: str = AS_WRITTEN) -> float | None:
        """Return the mean of `Score.unprotected` over the independent held-out models; None where there are none."""
        shares = [row.score(version, channel).unprotected for row in self.independent()]
        return sum(shares) / len(shares) if shares else None
