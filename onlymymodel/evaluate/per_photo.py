"""For each photo the least budget that suffices: one search a photo, all photos of a round at once."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.manifest import Manifest
from onlymymodel.evaluate.harness import Judge, Pair, Pixels, evaluate_models
from onlymymodel.evaluate.judgment import Evaluation, judge_folders
from onlymymodel.evaluate.photo_levels import PhotoLevels
from onlymymodel.evaluate.protected_folder import read_photo
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Answer, Results
from onlymymodel.evaluate.search import Point, Search
from onlymymodel.evaluate.tables import FORMULA
from onlymymodel.evaluate.tune import Tuning
from onlymymodel.protect import run_record
from onlymymodel.protect.context import Context, Record
from onlymymodel.protect.folder import MANIFEST, seen_from
from onlymymodel.protect.run_record import ModelUris

PROTECTED, TABLE = "protected", "epsilon.csv"
NOW = "now"  # the version of each photo at the level of its round

State = Literal["least", "not enough", "not measurable", "not protected"]
STATES: dict[State, str] = {
    "least": "the least budget at which the judges are misled and the authorized model keeps the photo",
    "not enough": "no level suffices; it has the largest that could be written",
    "not measurable": "no held-out model reads the original right; it has the budget of the sample",
    "not protected": "nothing could be written; the original is what is left",
}


@dataclass(frozen=True)
class PhotoBudget:
    """What a photo got.

    Attributes:
        photo: its path below the source.
        epsilon: in 1/255; 0 where nothing was written.
        judges: held-out models that read the original right.
        reading: of these, those that still read the written file, or may have.
        psnr, ssim: of the written file.
    """

    photo: str
    epsilon: int
    state: State
    judges: int
    reading: int
    psnr: float | None = None
    ssim: float | None = None


@dataclass(frozen=True)
class _Readers:
    """Who reads the originals right: by photo, the rows of the counted judges with the answer that is right."""

    rows: Sequence[int]
    truths: Mapping[str, Mapping[int, Answer]]

    def reading(self, photo: str, said: Mapping[int, Answer]) -> int:
        """How many of them still read a photo of which they said this; who did not answer may have read it."""
        return sum(said[row] is None or said[row] == truth for row, truth in self.truths[photo].items())


def least_per_photo(tuning: Tuning, fallback: int, *, progress: bool = True) -> list[PhotoBudget]:
    """Protect every photo of the source by the least level that suffices, into `OUT/protected/`.

    A level suffices where of the independent held-out models that read the original at most the target's share still
    reads the written file, and the authorized model keeps it. Levels are bisected: what lies below the found one was
    measured only at its neighbor, which fails. The chosen files are judged again from the disk, and
    what is told of them is what was read there. `epsilon.csv` has a line for each.

    Args:
        fallback: level for photos that no held-out model reads even when clean.

    Raises:
        UserError: see `tune`.
    """
    levels = PhotoLevels(tuning, progress=progress)
    everyone = list(levels.entries)
    judges = tuning.answering()
    levels.protect(dict.fromkeys(everyone, tuning.highest))
    known = [photo for photo in everyone if levels.record(photo, tuning.highest)["authorized"] is not None]
    readers = _readers(levels, known, judges, tuning.highest) if known else _Readers((), {})
    measurable = [photo for photo in known if readers.truths[photo]]
    searches = _searched(tuning, levels, measurable, judges, readers)
    chosen = {photo: _choice(search, levels, photo) for photo, search in searches.items()}
    rest = [photo for photo in known if photo not in searches]
    levels.protect(dict.fromkeys(rest, fallback))
    chosen |= dict.fromkeys(rest, fallback)
    _write(tuning, levels, {photo: chosen.get(photo, tuning.highest) for photo in everyone})
    results = _judged_again(tuning, judges, progress) if known else None
    found = [
        _found(photo, chosen.get(photo, tuning.highest), levels, readers, tuning, results, photo in searches)
        for photo in everyone
    ]
    write_atomic(tuning.out / TABLE, to_csv(found).encode())
    return found


def check_earlier(tuning: Tuning) -> int | None:
    """The highest level of the tuning that began `OUT/protected/`, None where none did; it may be another one now.

    Raises:
        UserError: that tuning was of other models or settings.
    """
    out = tuning.out / PROTECTED
    if not (out / run_record.NAME).exists():
        return None
    budget, _ = run_record.budget_and_recipe(run_record.read(out))
    level = round(budget.linf * 255)
    run_record.write(out, *_run_of(tuning, level))  # there is one: it is compared
    return level


def to_csv(found: Sequence[PhotoBudget]) -> str:
    """One line a photo; a name that a spreadsheet would take for a formula gets a leading apostrophe."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, [field.name for field in fields(PhotoBudget)])
    writer.writeheader()
    for one in found:
        writer.writerow(asdict(one) | {"photo": "'" + one.photo if one.photo.startswith(FORMULA) else one.photo})
    return out.getvalue()


def _readers(levels: PhotoLevels, photos: Sequence[str], judges: Sequence[Judge], highest: int) -> _Readers:
    """Ask all judges about the originals."""
    clean = evaluate_models(judges, _pairs(levels, dict.fromkeys(photos, highest), protected=False), progress=False)
    rows = [index for index, row in enumerate(clean.rows) if row in clean.counted()]
    truths: dict[str, dict[int, Answer]] = {photo: {} for photo in photos}
    for index in rows:
        row = clean.rows[index]
        for photo, truth, answer in zip(photos, row.truths, row.answers[CLEAN][AS_WRITTEN], strict=True):
            if truth is not None and answer == truth:
                truths[photo][index] = truth
    return _Readers(rows, truths)


def _searched(
    tuning: Tuning, levels: PhotoLevels, photos: Sequence[str], judges: Sequence[Judge], readers: _Readers
) -> dict[str, Search]:
    """Finished searches. Every round measures each photo that is still open once."""
    highest, grid = tuning.highest, range(1, tuning.highest + 1)
    first = tuple(dict.fromkeys((highest, (highest + 1) // 2)))
    searches = {photo: Search(tuning.target, first, grid, sampled=False) for photo in photos}
    while open_ones := {photo: level for photo in photos if (level := searches[photo].wanted) is not None}:
        levels.protect(open_ones)
        results = evaluate_models(judges, _pairs(levels, open_ones), progress=False)
        for place, (photo, level) in enumerate(open_ones.items()):
            reading = readers.reading(photo, _said(results, NOW, place))
            kept = levels.record(photo, level)["status"] == "protected"
            searches[photo].add(Point(level, reading / len(readers.truths[photo]), float(kept)))
    return searches


def _pairs(levels: PhotoLevels, at: Mapping[str, int], *, protected: bool = True) -> Iterator[Pair]:
    """Originals, with their versions at these levels; where nothing was written the original stands in."""
    for photo, level in at.items():
        original = read_photo(levels.paths[photo])
        versions: dict[str, Pixels] = {}
        if protected:
            file = levels.file(photo, level)
            versions = {NOW: original if file is None else read_photo(file)}
        yield Pair(photo, original, versions, int(levels.record(photo, level)["label"]))


def _said(results: Results, version: str, place: int) -> dict[int, Answer]:
    return {index: row.answers[version][AS_WRITTEN][place] for index, row in enumerate(results.rows)}


def _choice(search: Search, levels: PhotoLevels, photo: str) -> int:
    """The least level that suffices, else the largest of which there is a file, else the largest."""
    if search.best is not None:
        return search.best.level
    written = [level for level in search.points if levels.file(photo, level) is not None]
    return max(written or search.points)


def _write(tuning: Tuning, levels: PhotoLevels, chosen: Mapping[str, int]) -> None:
    """Copy the chosen files, with run.json and one line each in the manifest."""
    out = tuning.out / PROTECTED
    out.mkdir(exist_ok=True)
    run = _run_of(tuning, tuning.highest)
    if check_earlier(tuning) not in (None, tuning.highest):
        write_atomic(out / run_record.NAME, run_record.to_bytes(*run))
    run_record.write(out, *run)
    manifest = Manifest(out / MANIFEST)
    before: Mapping[str, Record] = manifest.by_source()
    for photo, level in chosen.items():
        record, file = levels.record(photo, level), levels.file(photo, level)
        earlier = before.get(photo)
        if file is not None:
            write_atomic(out / record["output"], file.read_bytes())
        elif earlier is not None and earlier["output"]:
            (out / earlier["output"]).unlink(missing_ok=True)  # of another target
        if earlier != record:
            manifest.append(record)


def _run_of(tuning: Tuning, level: int) -> tuple[Context, int, ModelUris, str]:
    """What `run.json` in `OUT/protected/` says, of a highest level."""
    out = tuning.out / PROTECTED
    return tuning.at(level), tuning.batch_size, tuning.uris_from(out), seen_from(tuning.source, out)


def _judged_again(tuning: Tuning, judges: tuple[Judge, ...], progress: bool) -> Results:
    out = tuning.out / PROTECTED
    evaluation = Evaluation(tuning.source, (out,), judges)
    return judge_folders(evaluation, out, command=tuning.command, device=tuning.context.device, progress=progress)


def _found(
    photo: str,
    level: int,
    levels: PhotoLevels,
    readers: _Readers,
    tuning: Tuning,
    results: Results | None,
    searched: bool,
) -> PhotoBudget:
    """What is true of a photo by the judgment of the written files."""
    record = levels.record(photo, level)
    if results is None or photo not in readers.truths:  # it could not be worked on, and nobody was asked
        return PhotoBudget(photo, 0, "not protected", 0, 0)
    place, (run,) = results.photos.index(photo), results.runs
    judges, reading = len(readers.truths[photo]), readers.reading(photo, _said(results, run.name, place))
    change = run.distortion[place]
    if record["status"] != "protected":
        return PhotoBudget(photo, 0, "not protected", judges, reading, change.psnr, change.ssim)
    state: State = "not measurable"
    if searched:
        kept = results.authorized.answers[run.name][AS_WRITTEN][place] == results.labels[place]
        state = "least" if kept and tuning.target.misleads(reading / judges) else "not enough"
    return PhotoBudget(photo, level, state, judges, reading, change.psnr, change.ssim)
