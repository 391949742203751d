"""Photos protected at several levels, each computed once and kept on disk."""

from collections.abc import Mapping
from pathlib import Path

from onlymymodel.data.folder import Entry, scan
from onlymymodel.errors import UserError
from onlymymodel.evaluate.protected_folder import ReadOptions
from onlymymodel.evaluate.tune.tuning import Tuning
from onlymymodel.progress import counted
from onlymymodel.protect.folder import Job, protect_folder
from onlymymodel.protect.folder_run import NOT_WRITTEN
from onlymymodel.protect.photo_record import PhotoManifest, PhotoRecord

FOLDER = "per-photo"


class PhotoLevels:
    """The photos of a tuning's source, each at the levels that were requested.

    A level is a folder below `OUT/per-photo/`, as `omm protect` would write it for some of the photos.

    Attributes:
        entries: entries of the photos by their path below the source, in the order of the folder.
        files: file of each photo, by its path below the source.
        read_options: how the photos are decoded.
    """

    def __init__(self, tuning: Tuning, *, progress: bool = True) -> None:
        self._tuning, self._progress = tuning, progress
        entries = scan(tuning.source, f".{tuning.context.format}", tuning.context.exclude)
        self.entries: Mapping[str, Entry] = {str(entry.relative): entry for entry in entries if entry.status == "photo"}
        self.files = {photo: entry.file for photo, entry in self.entries.items()}
        self.read_options = ReadOptions(tuning.context.max_pixels, tuning.context.first_frame)
        self._records: dict[tuple[str, int], PhotoRecord] = {}

    def protect(self, levels: Mapping[str, int]) -> None:
        """Protect photos, each at its level, unless that was done before.

        Raises:
            UserError: see `protect_folder`; a file that cannot be written.
        """
        by_level: dict[int, set[str]] = {}
        for photo, level in levels.items():
            by_level.setdefault(level, set()).add(photo)
        with counted("photo by photo", len(levels), progress=self._progress) as task:
            for level, photos in sorted(by_level.items()):
                self._protect(photos, level)
                task.update(len(photos))

    def record(self, photo: str, level: int) -> PhotoRecord:
        """Return the manifest record of a photo at a level that was requested."""
        return self._records[photo, level]

    def label(self, photo: str, level: int) -> int:
        """Return the authorized model's right class of a photo that models were asked about."""
        label = self.record(photo, level).label
        if label is None:
            raise ValueError(f"{photo} has no label: no model was asked about it")
        return label

    def file(self, photo: str, level: int) -> Path | None:
        """Return the protected file; None where nothing was written."""
        output = self.record(photo, level).output
        return None if output is None else self._folder(level) / output

    def _folder(self, level: int) -> Path:
        return self._tuning.out / FOLDER / self._tuning.knob.folder(level)

    def _protect(self, photos: set[str], level: int) -> None:
        folder, tuning = self._folder(level), self._tuning
        folder.mkdir(parents=True, exist_ok=True)
        job = Job(
            tuning.source,
            folder,
            tuning.context_at(level),
            tuning.uris_from(folder),
            tuning.labels,
            tuning.masks,
            tuning.batch_size,
            only=photos,
            limits=tuning.limits,
        )
        protect_folder(job, progress=False)
        records = PhotoManifest(folder).by_source()
        for photo in photos:
            if records[photo].reason.startswith(NOT_WRITTEN):
                raise UserError(f"{folder / photo} {records[photo].reason}; photos that are done are kept")
            self._records[photo, level] = records[photo]
