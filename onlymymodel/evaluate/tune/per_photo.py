"""Per-photo budgets: search for the least sufficient budget of each photo, with all searches in common rounds."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from onlymymodel.data.atomic import refuse_links, write_atomic
from onlymymodel.data.folder_lock import lock_folder
from onlymymodel.evaluate.folders import Evaluation, evaluate_folders
from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.judges import Judge
from onlymymodel.evaluate.protected_folder import read_photo
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Results
from onlymymodel.evaluate.text import spreadsheet_text
from onlymymodel.evaluate.tune.knob import Knob
from onlymymodel.evaluate.tune.photo_levels import PhotoLevels
from onlymymodel.evaluate.tune.search import Measurement, Search, first_levels_of_photo
from onlymymodel.evaluate.tune.through import ask_through, loses
from onlymymodel.evaluate.tune.tuning import Tuning
from onlymymodel.protect import run_record
from onlymymodel.protect.context import Context
from onlymymodel.protect.folder import relative_path
from onlymymodel.protect.photo_record import WRITTEN, PhotoManifest
from onlymymodel.protect.seal import seal_folder

PROTECTED = "protected"
CANDIDATE = "candidate"  # the version of each photo at the level of its round

State = Literal["least", "not enough", "not measurable", "not protected"]
STATE_MEANINGS: dict[State, str] = {
    "least": "the least budget at which the judges misread the photo and the authorized model keeps it, through the "
    "deployments of the target too",
    "not enough": "no level suffices; it has the largest one that could be written",
    "not measurable": "no judge reads the original correctly; it has the budget of the sample",
    "not protected": "nothing could be written; the original remains",
}


@dataclass(frozen=True)
class PhotoBudget:
    """Budget of one photo.

    Attributes:
        photo: path of the photo below the source.
        level: of the budget, see `Knob`; 0 where nothing was written.
        state: see `STATE_MEANINGS`.
        judges: number of held-out models that read the original correctly.
        reading: how many of them still read the written file, or may have.
        psnr, ssim: distortion of the written file.
    """

    photo: str
    level: int
    state: State
    judges: int
    reading: int
    psnr: float | None = None
    ssim: float | None = None

    def to_json(self, knob: Knob) -> dict[str, Any]:
        """Return JSON values, the level as the bound that it is."""
        values = asdict(self)
        bound = {knob.column: knob.value(values.pop("level"))}
        return {"photo": values.pop("photo"), **bound, **values}


@dataclass(frozen=True)
class CleanAnswers:
    """Original photos and the models that read them.

    Attributes:
        by_photo: photo -> indices of the independent held-out rows that read the original correctly.
    """

    by_photo: Mapping[str, Sequence[int]]

    def judges(self, photo: str) -> int:
        """Return the number of models that read the original correctly."""
        return len(self.by_photo[photo])

    def reading(self, photo: str, results: Results, version: str, index: int) -> int:
        """Return how many of these models still read a version of a photo; a missing answer counts as read.

        Args:
            photo: path of the photo below the source.
            results: of an evaluation of the same models.
            version: of the photo in the results.
            index: of the photo in the results.
        """
        rows = [results.rows[row] for row in self.by_photo[photo]]
        # a model that compares with the originals numbers them by the photos of each evaluation
        return sum(row.answers[version][AS_WRITTEN][index] in (None, row.truths[index]) for row in rows)


def find_photo_budgets(tuning: Tuning, fallback: int, *, progress: bool = True) -> list[PhotoBudget]:
    """Protect every photo of the source at the least level that suffices, into `OUT/protected/`.

    A level suffices where, of the independent held-out models that read the original, at most the target's share still
    reads the written file, and the authorized model keeps it, through the deployments of the target too. Levels are
    bisected: of the levels below the result only its neighbor was measured, which fails. The chosen files are evaluated
    again from disk, and the result reports that evaluation. A table (`table_name`) has a line for each photo.

    Args:
        tuning: inputs of the tuning.
        fallback: level for photos that no held-out model reads even when clean.
        progress: show progress bars.

    Raises:
        UserError: see `tune`.
    """
    levels = PhotoLevels(tuning, progress=progress)
    photos = list(levels.entries)
    judges = tuning.cached_judges()
    levels.protect(dict.fromkeys(photos, tuning.highest))
    readable = [photo for photo in photos if levels.record(photo, tuning.highest).authorized is not None]
    clean = _ask_about_originals(levels, readable, judges, tuning.highest) if readable else CleanAnswers({})
    measurable = [photo for photo in readable if clean.judges(photo)]
    searches = _search_all(tuning, levels, measurable, judges, clean, readable)
    chosen = {photo: _choose(search, levels, photo) for photo, search in searches.items()}
    unmeasured = dict.fromkeys((photo for photo in readable if photo not in searches), fallback)
    levels.protect(unmeasured)
    chosen = {**dict.fromkeys(photos, tuning.highest), **chosen, **unmeasured}
    (tuning.out / PROTECTED).mkdir(exist_ok=True)
    with lock_folder(tuning.out / PROTECTED):
        _write(tuning, levels, {photo: chosen[photo] for photo in photos})
    results = _evaluate_written(tuning, judges, progress) if readable else None
    places = {photo: index for index, photo in enumerate(results.photos)} if results else {}
    budgets = [
        _photo_budget(photo, chosen[photo], levels, clean, tuning, results, places.get(photo), searches.get(photo))
        for photo in photos
    ]
    write_atomic(tuning.out / table_name(tuning.knob), budgets_to_csv(budgets, tuning.knob).encode())
    tuning.export_answers()
    return budgets


def previous_highest(tuning: Tuning) -> int | None:
    """Return the highest level of the tuning that began `OUT/protected/`, which may differ now; None without one.

    Raises:
        UserError: that tuning was of other models or settings.
    """
    out = tuning.out / PROTECTED
    if not (out / run_record.NAME).exists():
        return None
    level = tuning.knob.level_of(run_record.read(out).budget)
    run_record.write(out, *_run_content(tuning, level))  # the file exists, so this only compares
    return level


def table_name(knob: Knob) -> str:
    """Return the name of the table of all photos."""
    return f"{knob.column}.csv"


def budgets_to_csv(budgets: Sequence[PhotoBudget], knob: Knob) -> str:
    """Return one line for each photo; a name that a spreadsheet would take for a formula gets a leading apostrophe."""
    out = io.StringIO(newline="")
    names = [knob.column if field.name == "level" else field.name for field in fields(PhotoBudget)]
    writer = csv.DictWriter(out, names)
    writer.writeheader()
    for budget in budgets:
        writer.writerow({**budget.to_json(knob), "photo": spreadsheet_text(budget.photo)})
    return out.getvalue()


def _ask_about_originals(
    levels: PhotoLevels, photos: Sequence[str], judges: Sequence[Judge], highest: int
) -> CleanAnswers:
    originals = (_pair(levels, photo, highest) for photo in photos)
    results = evaluate_models(judges, originals, progress=False)
    independent = results.independent()
    by_photo: dict[str, list[int]] = {photo: [] for photo in photos}
    for index, row in enumerate(results.rows):
        if row not in independent:
            continue
        for photo, truth, answer in zip(photos, row.truths, row.answers[CLEAN][AS_WRITTEN], strict=True):
            if truth is not None and answer == truth:
                by_photo[photo].append(index)
    return CleanAnswers(by_photo)


def _search_all(
    tuning: Tuning,
    levels: PhotoLevels,
    photos: Sequence[str],
    judges: Sequence[Judge],
    clean: CleanAnswers,
    readable: Sequence[str],
) -> dict[str, Search]:
    """Return finished searches. Every round measures each photo whose search is not finished once.

    Judges that compare with the originals choose among all that are readable, in every round.
    """
    highest, grid = tuning.highest, range(1, tuning.highest + 1)
    first = first_levels_of_photo(highest)
    searches = {photo: Search(tuning.target, first, grid, sampled=False) for photo in photos}
    compare = any(judge.model.card.threshold is not None for judge in judges)
    beside = dict.fromkeys(readable, highest) if compare else {}
    while round_levels := {photo: level for photo in photos if (level := searches[photo].next_level) is not None}:
        levels.protect(round_levels)
        results = evaluate_models(judges, _pairs(levels, round_levels, beside), distances=False, progress=False)
        through = ask_through(tuning, _pairs(levels, round_levels))
        for index, (photo, level) in enumerate(round_levels.items()):
            reading = clean.reading(photo, results, CANDIDATE, index)
            kept = levels.record(photo, level).status in WRITTEN and not loses(through, CANDIDATE, index)
            searches[photo].add(Measurement(level, reading / clean.judges(photo), float(kept)))
    return searches


def _pairs(
    levels: PhotoLevels, photo_levels: Mapping[str, int], beside: Mapping[str, int] | None = None
) -> Iterator[Pair]:
    """Yield originals with their versions at these levels; the original again where nothing was written.

    Further photos `beside` these, by their levels, are yielded after them, with the original as their version.
    """
    for photo, level in photo_levels.items():
        pair, file = _pair(levels, photo, level), levels.file(photo, level)
        candidate = pair.original if file is None else read_photo(file, levels.read_options)
        yield replace(pair, protected={CANDIDATE: candidate})
    for photo, level in (beside or {}).items():
        if photo not in photo_levels:
            pair = _pair(levels, photo, level)
            yield replace(pair, protected={CANDIDATE: pair.original})


def _pair(levels: PhotoLevels, photo: str, level: int) -> Pair:
    """Return an original without a version."""
    return Pair(photo, read_photo(levels.files[photo], levels.read_options), {}, levels.label(photo, level))


def _choose(search: Search, levels: PhotoLevels, photo: str) -> int:
    """Return the least level that suffices; otherwise the largest that was written; otherwise the largest."""
    if search.best is not None:
        return search.best.level
    written = [level for level in search.measurements if levels.file(photo, level) is not None]
    return max(written or search.measurements)


def _write(tuning: Tuning, levels: PhotoLevels, chosen: Mapping[str, int]) -> None:
    """Copy the chosen files, write run.json and one line for each photo in the manifest, and seal the folder."""
    out = tuning.out / PROTECTED
    run = _run_content(tuning, tuning.highest)
    if previous_highest(tuning) not in (None, tuning.highest):
        write_atomic(out / run_record.NAME, run_record.to_bytes(*run))
    run_record.write(out, *run)
    manifest = PhotoManifest(out)
    previous = manifest.by_source()
    for photo, level in chosen.items():
        record, file = levels.record(photo, level), levels.file(photo, level)
        earlier = previous.get(photo)
        if file is not None and record.output is not None:
            write_atomic(out / record.output, file.read_bytes(), root=out, mode=file.stat().st_mode & 0o777)
        elif earlier is not None and earlier.output:
            refuse_links((out / earlier.output).parent, out)
            (out / earlier.output).unlink(missing_ok=True)  # written for another target
        if earlier != record:
            manifest.append(record)
    seal_folder(out)


def _run_content(tuning: Tuning, level: int) -> tuple[Context, int, dict[str, Any], str]:
    """Content of `run.json` in `OUT/protected/` for a highest level."""
    out = tuning.out / PROTECTED
    return tuning.context_at(level), tuning.batch_size, tuning.uris_from(out), relative_path(tuning.source, out)


def _evaluate_written(tuning: Tuning, judges: tuple[Judge, ...], progress: bool) -> Results:
    out = tuning.out / PROTECTED
    evaluation = Evaluation(tuning.source, (out,), judges)
    return evaluate_folders(evaluation, out, command=tuning.command, device=tuning.context.device, progress=progress)


def _photo_budget(
    photo: str,
    level: int,
    levels: PhotoLevels,
    clean: CleanAnswers,
    tuning: Tuning,
    results: Results | None,
    index: int | None,
    search: Search | None,
) -> PhotoBudget:
    """Budget and state of a photo according to its search, and the evaluation of the written files.

    The search alone asks through the deployments of the target.
    """
    record = levels.record(photo, level)
    if results is None or index is None or photo not in clean.by_photo:  # it could not be processed
        return PhotoBudget(photo, 0, "not protected", 0, 0)
    (run,) = results.runs
    judges, reading = clean.judges(photo), clean.reading(photo, results, run.name, index)
    distortion = run.distortion[index]
    if record.status not in WRITTEN:
        return PhotoBudget(photo, 0, "not protected", judges, reading, distortion.psnr, distortion.ssim)
    state: State = "not measurable"
    if search is not None:
        kept = results.authorized.answers[run.name][AS_WRITTEN][index] == results.labels[index]
        sufficient = search.best is not None and kept and tuning.target.heldout_met(reading / judges)
        state = "least" if sufficient else "not enough"
    return PhotoBudget(photo, level, state, judges, reading, distortion.psnr, distortion.ssim)
