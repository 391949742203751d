"""Tuning: search for the least budget that protects a sample of photos, by protecting and evaluating at each level."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onlymymodel.data.atomic import OWN, remove_partials, write_atomic
from onlymymodel.data.folder import check_destination, scan
from onlymymodel.data.folder_lock import lock_folder
from onlymymodel.data.regular_file import max_photo_bytes, read_regular
from onlymymodel.errors import UserError
from onlymymodel.evaluate.channels import get_channels
from onlymymodel.evaluate.folders import Evaluation, evaluate_folders
from onlymymodel.evaluate.harness import Pair
from onlymymodel.evaluate.judges import Judge, check_unique, shared_origin
from onlymymodel.evaluate.protected_folder import open_folders, read_pairs
from onlymymodel.evaluate.results import AS_WRITTEN, Results
from onlymymodel.evaluate.tune.frontier import FRONTIER_CHANNELS, FrontierPoint, clean_point, protected_point
from onlymymodel.evaluate.tune.search import Measurement, Search, first_levels
from onlymymodel.evaluate.tune.through import ask_through, least_of
from onlymymodel.evaluate.tune.tuning import Tuning
from onlymymodel.progress import remark
from onlymymodel.protect.folder import Job, protect_folder

SAMPLE = "sample"


@dataclass(frozen=True)
class Frontier:
    """Result of the search on the sample.

    Attributes:
        points: points of the originals and of every measured level, ascending.
        choice: least level that meets the target; None where no measured level does.
        nearest: the choice, or else the level that misses the target by the least.
        photos: paths of the sample below the source.
        order: levels in the order of measurement.
    """

    points: tuple[FrontierPoint, ...]
    choice: int | None
    nearest: int
    photos: tuple[str, ...]
    order: tuple[int, ...]

    def point_at(self, level: int) -> FrontierPoint:
        """Return the point of a measured level."""
        return next(point for point in self.points if point.level == level)


def tune(tuning: Tuning, *, progress: bool = True) -> Frontier:
    """Find the least budget on a sample.

    The sample is copied to `OUT/sample/`; each level is protected into a folder of its own, as `OUT/epsilon-8/`, and
    evaluated there, as written and after JPEG 75. A tuning that was stopped resumes without computing or asking
    anything twice.

    Raises:
        UserError: see `check_destination`, `lock_folder`, `protect_folder` and `evaluate_folders`; or the folder
            belongs to another tuning, no held-out model is independent, or the authorized model reads no photo
            correctly.
    """
    _check_judges(tuning.judges)
    check_destination(tuning.source, tuning.out)
    with lock_folder(tuning.out):
        photos = draw_sample(tuning)
        judges = tuning.cached_judges()
        search = Search(tuning.target, first_levels(tuning.highest), range(1, tuning.highest + 1))
        points: dict[int, FrontierPoint] = {}
        while (level := search.next_level) is not None:
            if progress:
                remark(tuning.knob.name(level))
            results = _measure(tuning, level, judges, progress)
            through = least_of(ask_through(tuning, _pairs_at(tuning, level, results)))
            points[level] = protected_point(results, level, tuning.knob, through)
            search.add(to_measurement(points[level]))
        tuning.export_answers()
        return Frontier(
            points=(clean_point(results, tuning.knob), *(points[level] for level in sorted(points))),
            choice=None if search.best is None else search.best.level,
            nearest=(search.best or search.nearest).level,
            photos=photos,
            order=tuple(points),
        )


def to_measurement(point: FrontierPoint) -> Measurement:
    """Return the shares that the search uses: those of the files as written, and what the least deployment keeps."""
    return Measurement(point.level, point.heldout[AS_WRITTEN].share, point.least_kept)


def level_folder(tuning: Tuning, level: int) -> Path:
    """Return the folder of the sample protected at one level."""
    return tuning.out / tuning.knob.folder(level)


def draw_sample(tuning: Tuning) -> tuple[str, ...]:
    """Copy the drawn photos to `OUT/sample/` unless they are there already; return their paths below the source.

    Raises:
        UserError: the folder belongs to something else, or a photo cannot be read.
    """
    entries = [entry for entry in scan(tuning.source, exclude=tuning.context.exclude) if entry.status == "photo"]
    drawn = random.Random(tuning.seed).sample(range(len(entries)), min(tuning.sample, len(entries)))
    chosen = {str(entries[index].relative): entries[index].file for index in sorted(drawn)}
    folder = tuning.out / SAMPLE
    names = sorted(path.name for path in tuning.out.iterdir() if not path.name.startswith(OWN))
    if names and not folder.is_dir():
        raise UserError(
            f"{tuning.out} is not empty and was not made by omm tune (it contains {names[0]}); choose another --out"
        )
    remove_partials(tuning.out)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if unknown := sorted(present.difference(chosen)):
        raise UserError(f"{folder} contains another sample of photos (such as {unknown[0]}); choose another --out")
    for name, file in chosen.items():
        try:
            data = read_regular(file, max_photo_bytes(tuning.context.max_pixels))
            if name not in present or (folder / name).read_bytes() != data:
                mode = file.stat().st_mode & 0o777 if isinstance(file, Path) else 0o600  # a row has no permissions
                write_atomic(folder / name, data, root=tuning.out, mode=mode)
        except OSError as error:
            raise UserError(f"{file} cannot be copied to the sample: {error.strerror}") from error
    return tuple(chosen)


def _measure(tuning: Tuning, level: int, judges: tuple[Judge, ...], progress: bool) -> Results:
    """Protect the sample at one level and evaluate the files.

    Raises:
        UserError: see `tune`.
    """
    folder, sample = level_folder(tuning, level), tuning.out / SAMPLE
    job = Job(
        source=sample,
        out=folder,
        context=tuning.context_at(level),
        uris=tuning.uris_from(folder),
        labels=tuning.labels,
        masks=tuning.masks,
        batch_size=tuning.batch_size,
        limits=tuning.limits,
    )
    protect_folder(job, progress=progress)
    evaluation = Evaluation(sample, (folder,), judges, channels=tuple(get_channels(FRONTIER_CHANNELS)))
    device = tuning.context.device
    results = evaluate_folders(evaluation, folder, command=tuning.command, device=device, progress=progress)
    if not results.authorized.score(folder.name).readable:
        raise UserError("the authorized model reads none of these photos correctly, so no answer can be kept")
    return results


def _pairs_at(tuning: Tuning, level: int, results: Results) -> Iterator[Pair]:
    """Yield the photos of the sample, as evaluated at one level."""
    photos, folders = open_folders(tuning.out / SAMPLE, [level_folder(tuning, level)])
    return read_pairs(photos, folders, dict(zip(results.photos, results.labels, strict=True)))


def _check_judges(judges: tuple[Judge, ...]) -> None:
    """Check before any work is done that at least one held-out model is independent, and that none is listed twice.

    It has to read photos or not: models of attributes have no share of photos that could be searched for.
    """
    check_unique(judges)
    used = [judge.model.card for judge in judges if judge.role != "held-out"]
    heldout = [judge.model.card for judge in judges if judge.role == "held-out"]
    origins = [shared_origin(card, used) for card in heldout if card.kind != "attributes"]
    if heldout and not origins:
        raise UserError("the judges are models of attributes, which read no share of photos: name another one, too")
    if None not in origins:
        reasons = "; ".join(f"one has the same {origin[0]} as {origin[1].uri}" for origin in origins if origin)
        raise UserError(
            f"no judge is independent of the models that take part ({reasons or 'none was given'}); "
            "name another one by --heldout"
        )
