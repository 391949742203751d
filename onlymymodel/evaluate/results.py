"""What an evaluation found: every model's answer to every photo, and the scores that follow from them alone."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import compress
from pathlib import Path
from typing import Any, Literal

from onlymymodel.errors import UserError
from onlymymodel.evaluate.verification import DEFINITION, Matches, Verification
from onlymymodel.protect.distortion import SSIM_DEFINITION, Distortion

SCHEMA = 2
CLEAN = "clean"  # the version of a photo before any protection
AS_WRITTEN = "png"  # the channel that changes nothing
DERIVED = {"schema", "ssim", "verification", "scores", "heldout_mean"}  # of a results file, beside its header
WILSON_Z = 1.959963984540054  # two-sided 95 %

Role = Literal["authorized", "surrogate", "held-out"]
Answer = int | None  # a class index, or None where the model failed


@dataclass(frozen=True)
class Run:
    """One protected version of all photos.

    Attributes:
        name: e.g. the folder's; unique, and not `clean`.
        distortion: of each photo, against its original.
        statuses: how many photos ended as protected, unchanged, ...; the original stands in where nothing was
            written. Empty where no manifest says.
        epsilon: the budget in 1/255, None where not known.
        recipe: its name, "" where not known.
        bounds: what else each photo may not lose, in words; "" where epsilon is the only bound.
    """

    name: str
    distortion: tuple[Distortion, ...]
    statuses: Mapping[str, int] = field(default_factory=dict)
    epsilon: float | None = None
    recipe: str = ""
    bounds: str = ""


@dataclass(frozen=True)
class Score:
    """How a model fares with one version of the photos through one channel.

    Attributes:
        photos: all of them, but those whose label the model has no word for.
        right: read as they should be.
        failed: without an answer, or without a clean one to be measured by; these are not `right`.
        readable: read right when clean, as the file was.
        still_right: of the readable, those read right here.
    """

    photos: int
    right: int
    failed: int
    readable: int
    still_right: int

    @property
    def share(self) -> float:
        """Accuracy over all photos, in [0, 1]."""
        return self.right / self.photos

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of `share`."""
        return wilson(self.right, self.photos)

    @property
    def kept(self) -> float | None:
        """Accuracy over those read right when clean; None where there are none."""
        return self.still_right / self.readable if self.readable else None

    @property
    def kept_interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of `kept`."""
        return wilson(self.still_right, self.readable)

    @property
    def unprotected(self) -> float:
        """The share that an unauthorized model read, or may have read: where it failed, nothing was shown."""
        return (self.right + self.failed) / self.photos

    def to_json(self) -> dict[str, Any]:
        """Counts, shares and intervals."""
        derived = {"share": self.share, "interval": self.interval, "kept": self.kept}
        return {**asdict(self), **derived, "kept_interval": self.kept_interval}


@dataclass(frozen=True)
class Row:
    """One model's answers.

    Attributes:
        model: its URI without folders of this machine.
        truth: `label` where it has words for the authorized model's classes; else `own`: its answers to the clean
            photos.
        truths: (photos,) the class index that is right for each photo; None where it has no word for the label, and
            the photo is left out of its scores, or where its own clean answer failed, and all its answers to the photo
            count as missing.
        answers: version (`clean`, or a run's name) -> channel -> its answer to each photo.
        remark: why a held-out model is not independent and enters no mean; "" where it does.
        names: what it calls the classes that occur, by index.
        unmapped: classes that occur, as the authorized model calls them, for which it has no word.
        matches: of an embedder with a gallery, whom it found and how near; None of any other model.
    """

    model: str
    role: Role
    sha256: str
    family: str
    parent: str
    truth: Literal["label", "own"]
    truths: tuple[Answer, ...]
    answers: Mapping[str, Mapping[str, tuple[Answer, ...]]]
    remark: str = ""
    names: Mapping[int, str] = field(default_factory=dict)
    unmapped: tuple[str, ...] = ()
    matches: Matches | None = None

    def score(self, version: str, channel: str = AS_WRITTEN) -> Score:
        """The score of one version through one channel."""
        counted = [self.truth == "own" or truth is not None for truth in self.truths]
        said, clean, truths = (
            list(compress(answers, counted))
            for answers in (self.answers[version][channel], self.answers[CLEAN][AS_WRITTEN], self.truths)
        )
        readable = [answer is not None and answer == truth for answer, truth in zip(clean, truths, strict=True)]
        right = [answer is not None and answer == truth for answer, truth in zip(said, truths, strict=True)]
        return Score(
            photos=len(said),
            right=sum(right),
            # a truth is None here only where the clean answer failed: later ones show nothing, so they may be readings
            failed=sum(answer is None or truth is None for answer, truth in zip(said, truths, strict=True)),
            readable=sum(readable),
            still_right=sum(now and before for now, before in zip(right, readable, strict=True)),
        )

    def verification(self, version: str, channel: str = AS_WRITTEN) -> Verification | None:
        """Its verification figures for one version through one channel; None where it has no gallery."""
        if self.matches is None:
            return None
        clean, said = self.answers[CLEAN][AS_WRITTEN], self.answers[version][channel]
        return self.matches.verify(version, channel, clean=clean, said=said)

    def to_json(self) -> dict[str, Any]:
        """JSON values; without `matches` where there are none."""
        return {name: value for name, value in asdict(self).items() if name != "matches" or value is not None}

    def name_of(self, answer: Answer) -> str:
        """What the model calls a class."""
        return "no answer" if answer is None else self.names.get(answer, str(answer))


@dataclass(frozen=True)
class Failure:
    """A photo to which a model gave no answer."""

    model: str
    photo: str
    version: str
    channel: str
    reason: str


@dataclass(frozen=True)
class Results:
    """An evaluation.

    Attributes:
        photos, labels: name and the authorized model's right class of each photo.
        runs: the protected versions, at least one.
        channels: at least `png`, in the order asked for.
        rows: the authorized model, the surrogates, the held-out models.
        header: command, environment, settings: what the results depend on besides the photos.
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
        """The authorized model."""
        return next(row for row in self.rows if row.role == "authorized")

    def of(self, role: Role) -> list[Row]:
        """The models of one role."""
        return [row for row in self.rows if row.role == role]

    def counted(self) -> list[Row]:
        """The held-out models that are independent: the evidence."""
        return [row for row in self.of("held-out") if not row.remark]

    def heldout_mean(self, version: str, channel: str = AS_WRITTEN) -> float | None:
        """Mean over the independent held-out models of `Score.unprotected`; None where there are none."""
        shares = [row.score(version, channel).unprotected for row in self.counted()]
        return sum(shares) / len(shares) if shares else None

    def to_json(self) -> dict[str, Any]:
        """JSON values; `scores` is derived from the answers, for readers of the file."""
        versions = (CLEAN, *(run.name for run in self.runs))
        return {
            "schema": SCHEMA,
            **self.header,
            "ssim": SSIM_DEFINITION,
            **({"verification": DEFINITION} if any(row.matches for row in self.rows) else {}),
            "photos": list(self.photos),
            "labels": list(self.labels),
            "channels": list(self.channels),
            "runs": [asdict(run) for run in self.runs],
            "scores": [
                {"model": row.model, "role": row.role, "version": version, "channel": channel}
                | row.score(version, channel).to_json()
                | ({"verification": asdict(found)} if (found := row.verification(version, channel)) else {})
                for row in self.rows
                for version in versions
                for channel in self.channels
            ],
            "heldout_mean": {
                version: {channel: self.heldout_mean(version, channel) for channel in self.channels}
                for version in versions
            },
            "rows": [row.to_json() for row in self.rows],
            "failures": [asdict(failure) for failure in self.failures],
        }


def read_results(path: Path) -> Results:
    """Read a `results.json`.

    Raises:
        UserError: it is missing, broken, or of another schema.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise UserError(f"{path} is of schema {content['schema']}; this version reads {SCHEMA}")
        body = DERIVED | {one.name for one in fields(Results)}
        return Results(
            photos=tuple(content["photos"]),
            labels=tuple(content["labels"]),
            runs=tuple(_run(run) for run in content["runs"]),
            channels=tuple(content["channels"]),
            rows=tuple(_row(row) for row in content["rows"]),
            failures=tuple(Failure(**failure) for failure in content["failures"]),
            header={key: value for key, value in content.items() if key not in body},
        )
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a results file: {error}") from error


def _run(content: dict[str, Any]) -> Run:
    return Run(**{**content, "distortion": tuple(Distortion(**one) for one in content["distortion"])})


def _row(content: dict[str, Any]) -> Row:
    answers = {
        version: {channel: tuple(said) for channel, said in channels.items()}
        for version, channels in content["answers"].items()
    }
    names = {int(index): name for index, name in content["names"].items()}
    return Row(
        **{
            **content,
            "answers": answers,
            "names": names,
            "truths": tuple(content["truths"]),
            "unmapped": tuple(content.get("unmapped", ())),
            "matches": Matches.from_json(content["matches"]) if content.get("matches") else None,
        }
    )


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Wilson score interval, 95 %, of a share (Wilson, JASA 1927)."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = hits / total, WILSON_Z**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = WILSON_Z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)
