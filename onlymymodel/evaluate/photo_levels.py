"""Photos at several levels: any of them at any level, computed once and kept on the disk."""

from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from onlymymodel.data.folder import Entry, scan
from onlymymodel.data.manifest import Manifest
from onlymymodel.errors import UserError
from onlymymodel.evaluate.tune import Tuning
from onlymymodel.protect.context import Record
from onlymymodel.protect.folder import MANIFEST, NOT_WRITTEN, Job, protect_folder

PLACE = "per-photo"


class PhotoLevels:
    """The photos of a tuning's source, each at the levels that were asked for.

    A level is a folder of its own below `OUT/per-photo/`, as `omm protect` would make it of some of the photos.

    Attributes:
        entries: the photos, in the order of the folder.
        paths: where each is, by its path below the source.
    """

    def __init__(self, tuning: Tuning, *, progress: bool = True) -> None:
        self._tuning, self._progress = tuning, progress
        found = scan(tuning.source, f".{tuning.context.format}")
        self.entries: Mapping[str, Entry] = {str(one.relative): one for one in found if one.status == "photo"}
        self.paths = {photo: entry.path for photo, entry in self.entries.items()}
        self._records: dict[tuple[str, int], Record] = {}

    def protect(self, at: Mapping[str, int]) -> None:
        """Protect photos, each at its level, where that was not done yet.

        Raises:
            UserError: see `protect_folder`; a file that cannot be written.
        """
        by_level: dict[int, set[str]] = {}
        for photo, level in at.items():
            by_level.setdefault(level, set()).add(photo)
        with tqdm(total=len(at), unit="photo", desc="photo by photo", disable=None if self._progress else True) as bar:
            for level, photos in sorted(by_level.items()):
                self._protect(photos, level)
                bar.update(len(photos))

    def record(self, photo: str, level: int) -> Record:
        """The line of the manifest of a photo at a level that was asked for."""
        return self._records[photo, level]

    def file(self, photo: str, level: int) -> Path | None:
        """The protected file; None where nothing was written."""
        output = self.record(photo, level)["output"]
        return None if output is None else self._folder(level) / output

    def _folder(self, level: int) -> Path:
        return self._tuning.out / PLACE / f"epsilon-{level}"

    def _protect(self, photos: set[str], level: int) -> None:
        folder, tuning = self._folder(level), self._tuning
        folder.mkdir(parents=True, exist_ok=True)
        job = Job(
            tuning.source,
            folder,
            tuning.at(level),
            tuning.uris_from(folder),
            tuning.labels,
            tuning.masks,
            tuning.batch_size,
            only=photos,
        )
        protect_folder(job, progress=False)
        records = Manifest(folder / MANIFEST).by_source()
        for photo in photos:
            if str(records[photo]["reason"]).startswith(NOT_WRITTEN):
                raise UserError(f"{folder / photo} {records[photo]['reason']}; what is done stays")
            self._records[photo, level] = records[photo]
