"""Photos at several levels: any of them at any level, computed once and kept on the disk."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from onlymymodel.data.atomic import sweep_partials, write_atomic
from onlymymodel.data.folder import Entry, scan
from onlymymodel.data.image_io import SUFFIXES
from onlymymodel.data.manifest import Manifest, sha256, sha256_file
from onlymymodel.errors import UserError
from onlymymodel.evaluate.tune import Tuning
from onlymymodel.protect import run_record
from onlymymodel.protect.context import Record, Source
from onlymymodel.protect.folder import MANIFEST
from onlymymodel.protect.photo import protect_photos
from onlymymodel.protect.record import blank_record

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
            UserError: a folder that was made with other settings, or that cannot be written.
        """
        by_level: dict[int, list[str]] = {}
        for photo, level in at.items():
            by_level.setdefault(level, []).append(photo)
        with tqdm(total=len(at), unit="photo", desc="photo by photo", disable=None if self._progress else True) as bar:
            for level, photos in sorted(by_level.items()):
                self._open(level)
                for start in range(0, len(photos), self._tuning.batch_size):
                    batch = photos[start : start + self._tuning.batch_size]
                    self._protect(batch, level)
                    bar.update(len(batch))

    def record(self, photo: str, level: int) -> Record:
        """The line of the manifest of a photo at a level that was asked for."""
        return self._records[photo, level]

    def file(self, photo: str, level: int) -> Path | None:
        """The protected file; None where nothing was written."""
        output = self.record(photo, level)["output"]
        return None if output is None else self._folder(level) / output

    def seen_from(self, folder: Path) -> str:
        """The source as a path relative to a folder."""
        return Path(os.path.relpath(self._tuning.source.resolve(), folder.resolve())).as_posix()

    def _folder(self, level: int) -> Path:
        return self._tuning.out / PLACE / f"epsilon-{level}"

    def _open(self, level: int) -> None:
        """Take in what an earlier run left."""
        folder, tuning = self._folder(level), self._tuning
        folder.mkdir(parents=True, exist_ok=True)
        uris = tuning.uris_from(folder)
        run_record.write(folder, tuning.at(level), tuning.batch_size, uris, self.seen_from(folder))
        sweep_partials(folder)
        for photo, record in Manifest(folder / MANIFEST).by_source().items():
            self._records.setdefault((photo, level), record)

    def _protect(self, photos: Sequence[str], level: int) -> None:
        """A batch; where a part of it is missing all of it is computed, so that a resumed run writes the same bytes."""
        context, manifest = self._tuning.at(level), Manifest(self._folder(level) / MANIFEST)
        sources: dict[str, Source] = {}
        for photo in photos:
            try:
                sources[photo] = self._source(photo)
            except OSError as error:
                record = blank_record(Source(b""), context, "failed", f"cannot be read: {error.strerror}")
                self._note(photo, level, None, {**record, "source_sha256": None}, manifest)
        kept = {photo for photo, source in sources.items() if self._is_done(photo, source, level)}
        if len(kept) == len(sources):
            return
        results = protect_photos(list(sources.values()), context, rows_at_once=self._tuning.batch_size)
        for photo, (data, record) in zip(sources, results, strict=True):
            if photo not in kept:
                self._note(photo, level, data, record, manifest)

    def _source(self, photo: str) -> Source:
        entry, masks = self.entries[photo], self._tuning.masks
        mask = None
        if masks is not None and masks.is_file():
            mask = masks.read_bytes()
        elif masks is not None:
            place = masks / entry.relative.parent
            found = (place / f"{entry.relative.stem}{suffix}" for suffix in sorted(SUFFIXES))
            mask = next((path.read_bytes() for path in found if path.is_file()), None)
        return Source(entry.path.read_bytes(), self._tuning.labels.get(photo), mask)

    def _is_done(self, photo: str, source: Source, level: int) -> bool:
        """Whether the last line of a photo still holds: same source, same label, same mask, same written file."""
        record = self._records.get((photo, level))
        if record is None or record["source_sha256"] != sha256(source.data):
            return False
        if (record["label"] if record["label_source"] == "given" else None) != source.label:
            return False
        region = record["region"] or {}
        if region.get("kind") == "mask" and (source.mask is None or region["sha256"] != sha256(source.mask)):
            return False
        file = self.file(photo, level)
        return file is None or (file.is_file() and sha256_file(file) == record["output_sha256"])

    def _note(self, photo: str, level: int, data: bytes | None, record: Record, manifest: Manifest) -> None:
        """Write a file, then its line."""
        output = self.entries[photo].output if data is not None else None
        line = {
            "source": photo,
            "output": None if output is None else str(output),
            "output_sha256": None if data is None else sha256(data),
            **record,
        }
        try:
            if data is not None and output is not None:
                write_atomic(self._folder(level) / output, data)
            if self._records.get((photo, level)) != line:
                manifest.append(line)
        except OSError as error:
            raise UserError(f"{self._folder(level)} cannot be written: {error.strerror}; what is done stays") from error
        self._records[photo, level] = line
