"""The record of one photo, and the manifest of a protected folder with one record in each line."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from onlymymodel.data.attributes import MAX_ATTRIBUTES
from onlymymodel.data.manifest import BrokenLine, Manifest
from onlymymodel.errors import UserError
from onlymymodel.protect.answer_records import DeploymentMargins, ModelAnswers, SurrogateAnswers, promised
from onlymymodel.protect.budget.strengths import STRENGTHS
from onlymymodel.protect.kept_object import KeptObject
from onlymymodel.protect.region import RegionRecord

MANIFEST = "manifest.jsonl"

Status = Literal["protected", "already-misread", "unchanged", "skipped", "failed"]
WRITTEN = ("protected", "already-misread")  # statuses of photos that have a file
REPLACED = "its file is now that of"  # beginning of a reason
LabelSource = Literal["given", "authorized model's clean answer"]
FaceState = Literal["changed", "put back", "untouched"]
Distance = float | UnsetType | None  # unset where the budget does not bound it
FaceBox = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True, kw_only=True)
class FaceRecord:
    """The record of one face on a photo with several.

    Attributes:
        box: on the original.
        label: class index that the authorized model has to keep for this face.
        label_name: name of that class.
        authorized: None where the authorized model does not read aligned faces: its answers are those to the photo.
        surrogates: answers of the surrogates that read aligned faces.
        area: state of the face's area: changed; put back to the original, where the change would cost the authorized
            model's answer; or untouched, where no surrogate is attacked.
        deployments: margins at this face through the deployments that the recipe keeps, where its area is changed;
            unset for the first face, whose margins are those of the photo.
    """

    box: FaceBox
    label: int
    label_name: str
    authorized: ModelAnswers | None
    surrogates: tuple[SurrogateAnswers, ...]
    area: FaceState
    deployments: dict[str, DeploymentMargins] | UnsetType = UNSET

    @property
    def promised(self) -> dict[str, DeploymentMargins]:
        """See `PhotoRecord.promised`."""
        return promised(self.deployments)


@dataclass(frozen=True, kw_only=True)
class PhotoRecord:
    """The record of one photo: a line of the manifest.

    Attributes:
        source: path below the source folder; "" for a photo that was given as bytes.
        output: path of the protected file below the output folder; None where no file was written.
        output_sha256: of that file.
        source_sha256: of the original's bytes; None where they could not be read.
        status: the one outcome. `protected`: at least one surrogate that read the original no longer reads the file, or
            no surrogate took part; `already-misread`: a file was written, but no surrogate read the original;
            `unchanged`: nothing was written, see the reason.
        reason: of the status, in words.
        label: class index that the authorized model has to keep; None where it is not known.
        label_source: where the label is from.
        authorized, surrogates: None where no model was asked.
        deployments: margins through the deployments that the recipe keeps, by name; unset where it keeps none, and
            None where no model was asked.
        objects: those that the authorized model has to keep, if it is a detector; else unset.
        faces: the faces that were protected one by one; None where the photo was protected as a whole.
        linf: largest change of any channel of any pixel, in 8-bit steps; None, as the further figures, where no change
            was measured.
        psnr: in dB; None also where nothing changed.
        ssim: see `distortion.SSIM_DEFINITION`.
        flip: see `flip.DEFINITION`; None also in records of earlier versions.
        luma: largest change of brightness, in 8-bit steps; unset, as color, l2 and lpips, where the budget does not
            bound it.
        color: largest change of color, in 8-bit steps.
        l2: Euclidean norm of the change, in pixels of [0, 1].
        lpips: perceptual distance.
        strength: the strength of this photo, where it was chosen photo by photo.
        steps: number of steps that the optimizer took.
        seconds: spent on the photo.
        region: which part of the photo could change; None for all of it.
        recipe_sha256: hash of the recipe.
        notes: further remarks.
    """

    source: str = ""
    output: str | None = None
    output_sha256: str | None = None
    source_sha256: str | None
    status: Status
    reason: str
    label: int | None
    label_source: LabelSource
    authorized: ModelAnswers | None = None
    surrogates: tuple[SurrogateAnswers, ...] | None = None
    deployments: dict[str, DeploymentMargins] | UnsetType | None = UNSET
    objects: tuple[KeptObject, ...] | UnsetType = UNSET
    faces: tuple[FaceRecord, ...] | None = None
    linf: int | None = None
    psnr: float | None = None
    ssim: float | None = None
    flip: float | None = None
    luma: Distance = UNSET
    color: Distance = UNSET
    l2: Distance = UNSET
    lpips: Distance = UNSET
    strength: str | UnsetType = UNSET
    steps: int | None = None
    seconds: float | None = None
    region: RegionRecord | None = None
    recipe_sha256: str = ""
    notes: tuple[str, ...] = ()

    @property
    def promised(self) -> dict[str, DeploymentMargins]:
        """The deployments through which the authorized model reads the original, and has to read the file."""
        return promised(self.deployments)

    def replaced_by(self, source: str) -> "PhotoRecord":
        """Return the record of a photo that is gone (a.heic) and whose file is now that of another (a.jpg)."""
        reason = f"{REPLACED} {source!r}"
        return replace(self, status="skipped", reason=reason, output=None, output_sha256=None)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, those that are unset left out."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "PhotoRecord":
        """Return the record that `to_json` gave the fields of, in this version or an earlier one.

        Keys that an earlier version did not write get their defaults; unknown keys are ignored.

        Raises:
            msgspec.ValidationError: a key is missing or has a value of another type.
        """
        return msgspec.convert(fields, cls)


_DECODER = msgspec.json.Decoder(PhotoRecord)


class PhotoManifest:
    """The records of the photos of a protected folder, in `manifest.jsonl`; written by one process at a time.

    Attributes:
        appended: whether `append` was called.

    Args:
        folder: the output folder of a run.
    """

    def __init__(self, folder: Path) -> None:
        self._lines = Manifest(folder / MANIFEST)
        self.appended = False

    def append(self, record: PhotoRecord) -> None:
        """Add a line and have it on the disk before returning.

        Raises:
            UserError: the file cannot be written.
        """
        self.appended = True
        try:
            self._lines.append(record.to_json())
        except OSError as error:
            raise UserError(
                f"{self._lines.path} cannot be written: {error.strerror}; what is protected so far stays"
            ) from error

    def drop_superseded(self) -> None:
        """Drop every record that a later one of the same source replaces.

        Raises:
            UserError: see `append` and `load`.
        """
        try:
            self._lines.drop_superseded("source")
        except OSError as error:
            raise UserError(f"{self._lines.path} cannot be written: {error.strerror}; its last lines count") from error

    def load(self) -> list[PhotoRecord]:
        """Return the records of all lines in file order, see `read`."""
        return [record for _, record in self.read()]

    def read(self) -> Iterator[tuple[int, PhotoRecord]]:
        """Yield the offset and the record of each line; none where there is no file.

        A torn last line, and a line without a `source`, are left out. Memory does not grow with the file.

        Raises:
            UserError: the file cannot be read; or another line is not a record, or names a file outside the folder: the
                message names it.
        """
        try:
            for number, (offset, line) in enumerate(self._lines.lines(), start=1):
                record = self._parse(number, line)
                if record is not None:
                    yield offset, record
        except OSError as error:
            raise self._unreadable(error) from error

    def read_at(self, offset: int) -> PhotoRecord:
        """Return the record of the line at an offset that `read` gave. Raises UserError as `read` does."""
        try:
            record = self._parse(0, self._lines.line_at(offset))
        except OSError as error:
            raise self._unreadable(error) from error
        if record is None:
            raise UserError(f"{self._lines.path} was changed by another program during the run")
        return record

    def close(self) -> None:
        """Close the file that `read_at` reads from, before it is replaced."""
        self._lines.close()

    def _unreadable(self, error: OSError) -> UserError:
        return UserError(f"{self._lines.path} cannot be read: {error.strerror}")

    def _parse(self, number: int, line: bytes) -> PhotoRecord | None:
        try:
            record = _DECODER.decode(line)  # ten times as fast as what follows
        except msgspec.DecodeError:  # not a record, or a name with the escape of a byte that is not UTF-8
            fields = self._lines.parse(number, line)
            if fields is None or "source" not in fields:
                return None
            try:
                record = PhotoRecord.from_json(fields)
            except (msgspec.ValidationError, ValueError) as error:
                raise self._malformed(number, error) from error
        if not record.source:
            return None
        try:
            _check_values(record)
        except ValueError as error:
            raise self._malformed(number, error) from error
        return record

    def _malformed(self, number: int, error: Exception) -> BrokenLine:
        return BrokenLine(self._lines.path, number, f"is not the record of a photo: {error}")

    def by_source(self) -> dict[str, PhotoRecord]:
        """Return the last record of each source, in the order in which the sources first appear. Raises as `load`."""
        return {record.source: record for record in self.load()}


def _check_values(record: PhotoRecord) -> None:
    """Check that a record names files below the folders of photos and of results, a class and a strength.

    Raises:
        ValueError: a path leads elsewhere, the label cannot be the index of a class, or there is no such strength.
    """
    for text in filter(None, (record.source, record.output)):
        if not text.isascii():
            os.fsencode(text)
        if text[0] not in "/\\" and ".." not in text and ":" not in text and "\0" not in text:
            continue  # nearly all
        path = Path(text)
        if path.anchor or ".." in path.parts or "\0" in text:
            raise ValueError(f"{text!r} leads out of the folder")
    if record.label is not None and not 0 <= record.label < 1 << MAX_ATTRIBUTES:
        raise ValueError(f"{record.label} is no class")
    if record.strength is not UNSET and record.strength not in STRENGTHS:
        raise ValueError(f"{record.strength!r} is no strength")
