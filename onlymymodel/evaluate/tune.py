"""The least budget that protects a sample of a person's photos: protect at a level, judge the files, search on."""

import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from onlymymodel.data.atomic import sweep_partials, write_atomic
from onlymymodel.data.folder import check_destination, scan
from onlymymodel.errors import UserError
from onlymymodel.evaluate.channels import get_channels
from onlymymodel.evaluate.frontier import CHANNELS, FrontierPoint, clean_point, protected_point
from onlymymodel.evaluate.harness import Judge, check_named_once, kinship
from onlymymodel.evaluate.judgment import Evaluation, judge_folders
from onlymymodel.evaluate.results import AS_WRITTEN, Results
from onlymymodel.evaluate.search import Point, Search, Target, first_levels
from onlymymodel.protect.context import Context
from onlymymodel.protect.folder import Job, protect_folder
from onlymymodel.protect.run_record import ModelUris
from onlymymodel.surrogates.answer_book import AnswerBook, AskedOnce

SAMPLE, ANSWERS = "sample", "answers.jsonl"


@dataclass(frozen=True)
class Tuning:
    """What is tuned, and for whom.

    Attributes:
        source: a folder of photos, or one photo.
        out: a folder, new or of an earlier tuning with the same models and settings.
        context: of the protection; the linf of its budget is what is looked for.
        uris_from: the models' URIs as seen from a folder.
        judges: exactly one authorized, and held-out models of which one at least is independent.
        highest: the largest level that is tried, in 1/255.
        sample, seed: how many photos are drawn, and by which seed.
        labels, masks, batch_size: see `Job`.
        command: as the user gave it, for the records.
    """

    source: Path
    out: Path
    context: Context
    uris_from: Callable[[Path], ModelUris]
    judges: tuple[Judge, ...]
    target: Target = field(default_factory=Target)
    highest: int = 32
    sample: int = 16
    seed: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)
    masks: Path | None = None
    batch_size: int = 8
    command: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.highest <= 255:
            raise UserError(f"--highest lies between 1 and 255, not {self.highest}")

    def at(self, level: int) -> Context:
        """The context with a budget of that many steps."""
        return replace(self.context, budget=replace(self.context.budget, linf=level / 255))

    def answering(self) -> tuple[Judge, ...]:
        """The judges with one book of answers for all levels: no picture is shown to one of them twice."""
        book = AnswerBook(self.out / ANSWERS)
        return tuple(Judge(judge.role, AskedOnce(judge.model, book)) for judge in self.judges)


@dataclass(frozen=True)
class Frontier:
    """What tuning found on the sample.

    Attributes:
        points: the originals, then every level that was measured, ascending.
        choice: the least level that meets the target; None where no measured one does.
        nearest: the choice, or else the level that misses the target by the least.
        photos: the sample, by paths below the source.
        order: the levels as they were asked for.
    """

    points: tuple[FrontierPoint, ...]
    choice: int | None
    nearest: int
    photos: tuple[str, ...]
    order: tuple[int, ...]

    def at(self, level: int) -> FrontierPoint:
        """The point of a level that was measured."""
        return next(point for point in self.points if point.epsilon == level)


def tune(tuning: Tuning, *, progress: bool = True) -> Frontier:
    """Find the least budget on a sample; stopped and begun again, nothing is computed or asked twice.

    The sample is copied to `OUT/sample/`; each level is protected into `OUT/epsilon-N/`, and judged there as written
    and after JPEG 75.

    Raises:
        UserError: see `check_destination`, `protect_folder` and `judge_folders`; a folder of another tuning; no
            independent held-out model; an authorized model that reads no photo right.
    """
    _check_judges(tuning.judges)
    check_destination(tuning.source, tuning.out)
    photos = draw_sample(tuning)
    judges = tuning.answering()
    search = Search(tuning.target, first_levels(tuning.highest), range(1, tuning.highest + 1))
    points: dict[int, FrontierPoint] = {}
    while (level := search.wanted) is not None:
        if progress:
            print(f"epsilon {level}/255", file=sys.stderr)
        results = _measure(tuning, level, judges, progress)
        points[level] = protected_point(results, level)
        search.add(point_of(points[level]))
    return Frontier(
        points=(clean_point(results), *(points[level] for level in sorted(points))),
        choice=None if search.best is None else search.best.level,
        nearest=(search.best or search.nearest).level,
        photos=photos,
        order=tuple(points),
    )


def point_of(point: FrontierPoint) -> Point:
    """What the search sees of a measurement: the files as they were written."""
    return Point(point.epsilon, point.heldout[AS_WRITTEN].share, point.kept[AS_WRITTEN].share)


def level_folder(out: Path, level: int) -> Path:
    """Where the sample is at one level."""
    return out / f"epsilon-{level}"


def draw_sample(tuning: Tuning) -> tuple[str, ...]:
    """Copy the drawn photos to `OUT/sample/`, where they are not yet; returns their paths below the source.

    Raises:
        UserError: the folder belongs to something else, or a photo cannot be read.
    """
    entries = [entry for entry in scan(tuning.source) if entry.status == "photo"]
    drawn = random.Random(tuning.seed).sample(range(len(entries)), min(tuning.sample, len(entries)))
    chosen = {str(entries[index].relative): entries[index].path for index in sorted(drawn)}
    folder = tuning.out / SAMPLE
    if not folder.is_dir() and (strangers := sorted(path.name for path in tuning.out.iterdir())):
        raise UserError(f"{tuning.out} is not empty and omm tune did not make it (it has {strangers[0]}); give another")
    sweep_partials(tuning.out)
    known = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if strange := sorted(known.difference(chosen)):
        raise UserError(f"{folder} has another sample of photos (such as {strange[0]}); give another --out")
    for name, path in chosen.items():
        try:
            data = path.read_bytes()
            if name not in known or (folder / name).read_bytes() != data:
                write_atomic(folder / name, data)
        except OSError as error:
            raise UserError(f"{path} cannot be copied to the sample: {error.strerror}") from error
    return tuple(chosen)


def _measure(tuning: Tuning, level: int, judges: tuple[Judge, ...], progress: bool) -> Results:
    """Protect the sample at one level, and judge the files.

    Raises:
        UserError: see `tune`.
    """
    folder, sample = level_folder(tuning.out, level), tuning.out / SAMPLE
    job = Job(
        source=sample,
        out=folder,
        context=tuning.at(level),
        uris=tuning.uris_from(folder),
        labels=tuning.labels,
        masks=tuning.masks,
        batch_size=tuning.batch_size,
    )
    protect_folder(job, progress=progress)
    evaluation = Evaluation(sample, (folder,), judges, channels=tuple(get_channels(CHANNELS)))
    device = tuning.context.device
    results = judge_folders(evaluation, folder, command=tuning.command, device=device, progress=progress)
    if not results.authorized.score(folder.name).readable:
        raise UserError("the authorized model reads none of these photos right, so there is nothing to keep")
    return results


def _check_judges(judges: tuple[Judge, ...]) -> None:
    """See before any work is done that somebody's word counts, and nobody's twice."""
    check_named_once(judges)
    used = [judge.model.card for judge in judges if judge.role != "held-out"]
    found = [kinship(judge.model.card, used) for judge in judges if judge.role == "held-out"]
    if None not in found:
        said = "; ".join(f"one has the same {kin[0]} as {kin[1].uri}" for kin in found if kin is not None)
        raise UserError(
            f"no held-out model is independent of the models that take part ({said or 'there is none'}); "
            "name another by --heldout"
        )
