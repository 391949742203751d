"""Folders of originals and of protected photos, matched file by file; nothing falls out silently."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from onlymymodel.data.folder import Entry, scan
from onlymymodel.data.image_io import MAX_PIXELS, PhotoError, decode
from onlymymodel.data.manifest import Manifest, sha256_file
from onlymymodel.errors import UserError
from onlymymodel.evaluate.harness import Pair, Pixels
from onlymymodel.evaluate.results import CLEAN
from onlymymodel.protect import run_record
from onlymymodel.protect.folder import MANIFEST
from onlymymodel.protect.photo import Record
from onlymymodel.surrogates.classifier import ModelCard

NAMED = 5  # files that an error names
BOUNDS = {
    "luma": "brightness within {:g}/255",
    "l2": "L2 at most {:g}",
    "psnr": "PSNR at least {:g} dB",
    "ssim": "SSIM at least {:g}",
    "lpips": "LPIPS at most {:g}",
    "shape": "spent beside {}",
}


@dataclass(frozen=True)
class ProtectedFolder:
    """One protected version of a folder of photos.

    Attributes:
        name: of the run, unique in an evaluation.
        files: the protected file of each original, by the original's path below the source; None where nothing was
            written, so that the original is what leaves the person's hands.
        records: the manifest's lines by the same paths; empty for a folder that another tool made.
        settings: the settings in `run.json`; empty for a folder that another tool made.
    """

    name: str
    path: Path
    files: Mapping[str, Path | None]
    records: Mapping[str, Record] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def statuses(self) -> Counter[str]:
        """How many photos ended in each status, where the manifest says."""
        return Counter(str(record["status"]) for record in self.records.values())

    @property
    def epsilon(self) -> float | None:
        """The budget in 1/255, where it is known."""
        return float(self.settings["budget"]["linf"]) if self.settings else None

    @property
    def recipe(self) -> str:
        """The recipe's name, where it is known."""
        return str(self.settings["recipe"]["name"]) if self.settings else ""

    @property
    def bounds(self) -> str:
        """The budget's further bounds, in words."""
        budget = self.settings["budget"] if self.settings else {}
        return ", ".join(words.format(budget[name]) for name, words in BOUNDS.items() if name in budget)

    def took_part(self) -> list[ModelCard]:
        """Cards of the models that it was made with, without their class names."""
        if not self.settings:
            return []
        return [ModelCard.from_json(fields) for fields in (self.settings["authorized"], *self.settings["surrogates"])]


def open_folders(source: Path, folders: Sequence[Path]) -> tuple[list[Entry], list[ProtectedFolder]]:
    """The photos below `source` that can be read, and each folder's protected versions of all.

    A photo that a run could not read, and that cannot be read now, is left out of all and counted in the statuses. For
    want of a face, a mask or memory none is left out: models read what leaves the person's hands.

    Raises:
        UserError: no photo, an unfinished run, photos without a protected version or the other way round, photos that
            are not those that were protected.
    """
    photos = [entry for entry in scan(source) if entry.status == "photo"]
    names = _names(folders)
    opened = [_open(photos, folder, name) for folder, name in zip(folders, names, strict=True)]
    _check_originals(photos, opened)
    limit = pixel_limit(opened)
    unasked = {path for one in opened for path, record in one.records.items() if record["authorized"] is None}
    readable = [entry for entry in photos if str(entry.relative) not in unasked or _can_be_read(entry.path, limit)]
    if not readable:
        raise UserError(f"{source} has no photo that can be read")
    return readable, opened


def read_pairs(
    photos: Sequence[Entry], folders: Sequence[ProtectedFolder], labels: Mapping[str, int]
) -> Iterator[Pair]:
    """The photos as a reader of the files sees them, one at a time.

    Raises:
        UserError: a file cannot be read.
    """
    limit = pixel_limit(folders)
    for entry in photos:
        path = str(entry.relative)
        original = read_photo(entry.path, limit)
        protected = {
            folder.name: original if file is None else read_photo(file, limit)
            for folder, file in ((folder, folder.files[path]) for folder in folders)
        }
        yield Pair(path, original, protected, labels[path])


def pixel_limit(folders: Sequence[ProtectedFolder]) -> int:
    """How many pixels a photo may have to be read: as many as any of the runs allowed, and never less than usual."""
    return max([MAX_PIXELS, *(int(folder.settings.get("max_pixels", 0)) for folder in folders)])


def read_photo(path: Path, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The pixels of a file, HWC uint8, upright.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return decode(path.read_bytes(), max_pixels=max_pixels).pixels
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except PhotoError as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _open(photos: Sequence[Entry], folder: Path, name: str) -> ProtectedFolder:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of protected photos")
    if (folder / run_record.NAME).exists() or (folder / MANIFEST).exists():
        return _open_ours(photos, folder, name)
    found = {entry.relative.with_suffix("").parts: entry.path for entry in scan(folder) if entry.status == "photo"}
    stems = {str(entry.relative): entry.relative.with_suffix("").parts for entry in photos}
    missing = [path for path, stem in stems.items() if stem not in found]
    if missing:
        raise UserError(f"{folder}: {len(missing)} photos have no protected version: {_listed(missing)}")
    wanted = set(stems.values())
    strange = [path.name for stem, path in found.items() if stem not in wanted]
    if strange:
        raise UserError(f"{folder}: {len(strange)} protected photos have no original: {_listed(strange)}")
    return ProtectedFolder(name, folder, {path: found[stem] for path, stem in stems.items()})


def _open_ours(photos: Sequence[Entry], folder: Path, name: str) -> ProtectedFolder:
    settings = run_record.read(folder)["settings"]
    records = Manifest(folder / MANIFEST).by_source()
    wanted = [str(entry.relative) for entry in photos]
    missing = [path for path in wanted if path not in records]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} photos are not in its manifest: {_listed(missing)}; "
            "finish the run by the command that began it"
        )
    gone = [path for path in sorted(set(records).difference(wanted)) if records[path]["output"]]
    if gone:
        raise UserError(f"{folder}: {len(gone)} protected photos have no original: {_listed(gone)}")
    files = {path: folder / records[path]["output"] if records[path]["output"] else None for path in wanted}
    lost = [path for path, file in files.items() if file is not None and not file.is_file()]
    if lost:
        raise UserError(f"{folder}: {len(lost)} protected files are missing: {_listed(lost)}")
    return ProtectedFolder(name, folder, files, {path: records[path] for path in wanted}, settings)


def _check_originals(photos: Sequence[Entry], folders: Sequence[ProtectedFolder]) -> None:
    """Raise UserError where a photo is another than the one that a manifest tells of: the protected file of one picture
    says nothing about another."""
    digest = cache(_digest)  # of each photo once, whatever the number of folders
    for folder in folders:
        recorded = {path: record["source_sha256"] for path, record in folder.records.items()}
        given = {str(entry.relative): entry.path for entry in photos if recorded.get(str(entry.relative))}
        changed = [path for path, file in given.items() if digest(file) != recorded[path]]
        if changed:
            raise UserError(
                f"{folder.path}: {len(changed)} originals are not those that were protected: {_listed(changed)}; "
                "put those back, or protect the new ones by the command that began the run"
            )


def _digest(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _can_be_read(path: Path, max_pixels: int) -> bool:
    try:
        read_photo(path, max_pixels)
    except UserError:
        return False
    return True


def _names(folders: Sequence[Path]) -> list[str]:
    """A short name for each folder: its own, with as many parents as tell it from the others."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("one protected folder stands there twice")
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names) and CLEAN not in names:
            break
    return names


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
