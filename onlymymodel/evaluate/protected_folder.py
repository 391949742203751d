"""Match folders of protected photos to their originals, file by file; no photo is left out silently."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from onlymymodel.data.atomic import leads_through_link
from onlymymodel.data.folder import Entry, scan, without_picture_suffix
from onlymymodel.data.image_io import MAX_PIXELS, PhotoError, decode
from onlymymodel.data.manifest import sha256, sha256_file
from onlymymodel.data.regular_file import Readable, max_photo_bytes, read_regular
from onlymymodel.data.source import Source
from onlymymodel.errors import UserError, first_of, number_of
from onlymymodel.evaluate.harness import Pair
from onlymymodel.evaluate.judges import Pixels
from onlymymodel.evaluate.recorded_margins import RecordedMargins, recorded_margins
from onlymymodel.evaluate.results import CLEAN
from onlymymodel.protect import run_record
from onlymymodel.protect.budget.kinds import describe
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest, PhotoRecord
from onlymymodel.protect.run_record import RunRecord
from onlymymodel.surrogates.classifier import ModelCard

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProtectedFolder:
    """One protected version of a folder of photos.

    Attributes:
        name: of the run, unique in an evaluation.
        files: the protected file of each original, by the original's path below the source; None where no file was
            written, so that the original is what gets shared.
        records: the manifest's records by the same paths; empty for a folder that another tool made.
        run: the content of `run.json`; None for a folder that another tool made.
    """

    name: str
    path: Path
    files: Mapping[str, Path | None]
    records: Mapping[str, PhotoRecord] = field(default_factory=dict)
    run: RunRecord | None = None

    @property
    def statuses(self) -> Counter[str]:
        """Number of photos with each status; empty for a folder that another tool made."""
        return Counter(record.status for record in self.records.values())

    @property
    def epsilon(self) -> float | None:
        """The budget in 1/255; None where it is not known."""
        return None if self.run is None else self.run.epsilon

    @property
    def recipe(self) -> str:
        """Name of the recipe; "" where it is not known."""
        return "" if self.run is None else self.run.recipe_name

    @property
    def bounds(self) -> str:
        """The budget's bounds besides epsilon, in words."""
        return "" if self.run is None else describe(self.run.settings["budget"])

    @property
    def margins(self) -> dict[str, RecordedMargins]:
        """The authorized model's margins through the deployments that the recipe kept, by name."""
        return recorded_margins(self.records.values())

    def took_part(self) -> list[ModelCard]:
        """Return the cards of the models that the folder was made with, without class names."""
        return [] if self.run is None else [self.run.authorized, *self.run.surrogates]


def open_folders(source: Source, folders: Sequence[Path]) -> tuple[list[Entry], list[ProtectedFolder]]:
    """Return the photos below `source` that can be read, and each folder's protected versions of all photos.

    A photo that a run could not read, and that cannot be read now either, is left out and counted in the statuses. A
    photo that was not protected for want of a face, a mask or memory is not left out: its original is what gets shared.

    Raises:
        UserError: there is no photo; a run is unfinished; photos have no protected version, or protected files no
            original; originals have changed since they were protected.
    """
    runs = [run_record.read(folder) for folder in folders if (folder / run_record.NAME).exists()]
    exclude = sorted({glob for run in runs for glob in run.exclude})
    photos = [entry for entry in scan(source, exclude=exclude) if entry.status == "photo"]
    names = _names(folders)
    opened = [_open(photos, folder, name) for folder, name in zip(folders, names, strict=True)]
    _check_originals(photos, opened)
    options = read_options(opened)
    unasked = {path for folder in opened for path, record in folder.records.items() if record.authorized is None}
    readable = [entry for entry in photos if str(entry.relative) not in unasked or _can_be_read(entry.file, options)]
    if not readable:
        raise UserError(f"{source} has no photo that can be read")
    return readable, opened


def read_pairs(
    photos: Sequence[Entry], folders: Sequence[ProtectedFolder], labels: Mapping[str, int]
) -> Iterator[Pair]:
    """Yield the photos as decoded from the files, one at a time.

    Raises:
        UserError: a file cannot be read.
    """
    options = read_options(folders)
    for entry in photos:
        path = str(entry.relative)
        original = read_photo(entry.file, options)
        protected = {
            folder.name: original if file is None else read_photo(file, options)
            for folder, file in ((folder, folder.files[path]) for folder in folders)
        }
        yield Pair(path, original, protected, labels[path])


@dataclass(frozen=True)
class ReadOptions:
    """Settings for decoding photos, see `decode`."""

    max_pixels: int = MAX_PIXELS
    first_frame: bool = False


def read_options(folders: Sequence[ProtectedFolder]) -> ReadOptions:
    """Return options with which every photo that one of the runs read can be read.

    The number of pixels is the largest limit of the runs, and at least the default limit.
    """
    runs = [folder.run for folder in folders if folder.run is not None]
    return ReadOptions(max([MAX_PIXELS, *(run.max_pixels for run in runs)]), any(run.first_frame for run in runs))


def read_photo(path: Readable, options: ReadOptions = ReadOptions()) -> Pixels:
    """Return the pixels of a photo's file, HWC uint8, upright.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        data = read_regular(path, max_photo_bytes(options.max_pixels))
        return decode(data, max_pixels=options.max_pixels, first_frame=options.first_frame).pixels
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except PhotoError as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _open(photos: Sequence[Entry], folder: Path, name: str) -> ProtectedFolder:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of protected photos")
    if (folder / run_record.NAME).exists() or (folder / MANIFEST).exists():
        return _open_ours(photos, folder, name)
    files = {
        without_picture_suffix(entry.relative).parts: entry.path for entry in scan(folder) if entry.status == "photo"
    }
    stems = {str(entry.relative): without_picture_suffix(entry.relative).parts for entry in photos}
    missing = [path for path, stem in stems.items() if stem not in files]
    if missing:
        raise UserError(
            f"{folder}: {number_of(len(missing), 'photo has', 'photos have')} no protected version: {first_of(missing)}"
        )
    expected = set(stems.values())
    unmatched = [path.name for stem, path in files.items() if stem not in expected]
    if unmatched:
        raise UserError(f"{folder}: {_without_original(unmatched)}")
    return ProtectedFolder(name, folder, {path: files[stem] for path, stem in stems.items()})


def _open_ours(photos: Sequence[Entry], folder: Path, name: str) -> ProtectedFolder:
    run = run_record.read(folder)
    records = PhotoManifest(folder).by_source()
    expected = [str(entry.relative) for entry in photos]
    missing = [path for path in expected if path not in records]
    if missing:
        raise UserError(
            f"{folder}: {number_of(len(missing), 'photo is', 'photos are')} not in its manifest: {first_of(missing)}; "
            "finish the run with the command that started it"
        )
    unmatched = [path for path in sorted(set(records).difference(expected)) if records[path].output]
    if unmatched:
        raise UserError(f"{folder}: {_without_original(unmatched)}")
    files = {path: folder / output if (output := records[path].output) else None for path in expected}
    written = {path: file for path, file in files.items() if file is not None}
    absent = [path for path, file in written.items() if not file.is_file() or leads_through_link(file, folder)]
    if absent:
        are = number_of(len(absent), "protected file is", "protected files are")
        raise UserError(f"{folder}: {are} missing: {first_of(absent)}")
    if changed := [path for path, file in written.items() if _digest(file) != records[path].output_sha256]:
        log.warning(
            "%s: %s changed since the run wrote the folder; judged as on the disk now: %s",
            folder, number_of(len(changed), "protected file"), first_of(changed),
        )  # fmt: skip
    return ProtectedFolder(name, folder, files, {path: records[path] for path in expected}, run)


def _without_original(paths: Sequence[str]) -> str:
    """Say which protected photos have no original."""
    return f"{number_of(len(paths), 'protected photo has', 'protected photos have')} no original: {first_of(paths)}"


def _check_originals(photos: Sequence[Entry], folders: Sequence[ProtectedFolder]) -> None:
    """Check that the originals are the photos that were protected.

    Raises:
        UserError: originals have other bytes than a manifest records.
    """
    files = {str(entry.relative): entry.file for entry in photos}

    @cache  # computed once for each photo, whatever the number of folders
    def digest(path: str) -> str:
        return _digest(files[path])

    for folder in folders:
        recorded = {path: record.source_sha256 for path, record in folder.records.items() if record.source_sha256}
        changed = [path for path in files if path in recorded and digest(path) != recorded[path]]
        if changed:
            ones = number_of(len(changed), "original is not the one that was", "originals are not those that were")
            raise UserError(
                f"{folder.path}: {ones} protected: {first_of(changed)}; "
                "restore what was, or protect what is there now with the command that started the run"
            )


def _digest(file: Readable) -> str:
    try:
        return sha256_file(file) if isinstance(file, Path) else sha256(file.read_all())
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error


def _can_be_read(path: Readable, options: ReadOptions) -> bool:
    try:
        read_photo(path, options)
    except UserError:
        return False
    return True


def _names(folders: Sequence[Path]) -> list[str]:
    """Return a short name for each folder: its own, with as many of its parents as make the names unique."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("one protected folder is listed twice")
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names) and CLEAN not in names:
            break
    return names
