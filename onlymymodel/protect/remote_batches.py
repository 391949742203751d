"""Batches of photos for executors on other machines: names go there, files and records come back."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch

from onlymymodel.data.entry import Entry
from onlymymodel.data.manifest import sha256
from onlymymodel.data.regular_file import max_photo_bytes, read_regular
from onlymymodel.data.rows.parquet import ParquetTable
from onlymymodel.data.rows.source import RowFile
from onlymymodel.errors import UserError, first_line
from onlymymodel.protect.batches import Result, protect_batch
from onlymymodel.protect.canary import Canary, run_canary
from onlymymodel.protect.context import Context, PhotoSource
from onlymymodel.protect.limits import Limits
from onlymymodel.protect.photo_outcome import blank_record
from onlymymodel.protect.photo_record import PhotoRecord
from onlymymodel.protect.workers import cards

CHANGED = "it changed during the run"
NOT_READ = "it cannot be read by a worker"

MakeContext = Callable[[str, str], Context]


@dataclass(frozen=True)
class PhotoName:
    """A photo by its name, to be read where it is protected.

    Attributes:
        path: of its file, or of the Parquet file that it is a row of; the same on every machine.
        sha256: of its bytes.
        label: see `PhotoSource`.
        mask: path of its mask; None if it has none.
        row: number of its row in the Parquet file; None for a file.
    """

    path: str
    sha256: str
    label: int | None = None
    mask: str | None = None
    row: int | None = None

    @classmethod
    def of(cls, entry: Entry, digest: str, label: int | None, mask: Path | None) -> "PhotoName":
        """Return the name of a photo of this machine with absolute paths."""
        file, row = (entry.file.path, entry.file.row) if isinstance(entry.file, RowFile) else (entry.path, None)
        return cls(str(file.absolute()), digest, label, None if mask is None else str(mask.absolute()), row)


@dataclass(frozen=True)
class RemoteTask:
    """Photos of one batch that are protected together.

    Attributes:
        batch: number of the batch.
        positions: places of the photos in the batch.
        names: the photos.
    """

    batch: int
    positions: tuple[int, ...]
    names: tuple[PhotoName, ...]

    def alone(self) -> list["RemoteTask"]:
        """Return a task for each photo."""
        pairs = zip(self.positions, self.names, strict=True)
        return [RemoteTask(self.batch, (position,), (name,)) for position, name in pairs]

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "RemoteTask":
        """Return the task that `to_text` gave."""
        fields = json.loads(text)
        names = tuple(PhotoName(**name) for name in fields["names"])
        return cls(fields["batch"], tuple(fields["positions"]), names)


@dataclass(frozen=True)
class WorkerPlan:
    """Specification from which a worker makes its own models: texts and numbers, nothing that is unpickled into code.

    Attributes:
        maker: `module:function` that makes a context from the specification and the name of a device.
        specification: of the context.
        device: kind of device, such as `cpu`.
        cards: what has to be the same in every process, see `cards`.
        batch_size: see `protect_batch`.
        limits: the fields of a `Limits`.
    """

    maker: str
    specification: str
    device: str
    cards: tuple[str, ...]
    batch_size: int
    limits: dict[str, Any] = field(default_factory=dict)


class BatchWorker:
    """Protects batches in a process of its own, which loads the models once.

    What goes wrong while they are loaded is told in the answer to the first batch: an executor would try again.

    Args:
        plan: the fields of a `WorkerPlan`.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = WorkerPlan(**{**plan, "cards": tuple(plan["cards"])})
        self.error = ""
        self._table: ParquetTable | None = None
        torch.set_num_threads(1)
        try:
            make: MakeContext = resolve_name(self.plan.maker)
            self.context = make(self.plan.specification, self.plan.device)
            if tuple(cards(self.context)) != self.plan.cards:
                raise UserError("a worker loaded other models than the run: a file of weights differs there")
            self.canary = json.dumps(asdict(run_canary(self.context)))
        except Exception as error:  # noqa: BLE001 - the driver raises it
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__} in a worker process: "
            self.error = kind + first_line(error)

    def protect(self, text: str) -> list[dict[str, Any]]:
        """Protect the photos of a `RemoteTask`; returns a row for each, which `read_row` reads."""
        task = RemoteTask.from_text(text)
        if self.error:
            return [self._row(task, 0, (None, None), self.error)]
        try:
            results = self._protect(task.names)
        except Exception as error:  # noqa: BLE001 - the driver raises it
            message = f"{type(error).__name__} in a worker process: {first_line(error)}"
            return [self._row(task, 0, (None, None), message)]
        return [self._row(task, index, result) for index, result in enumerate(results)]

    def _protect(self, names: Sequence[PhotoName]) -> list[Result]:
        read = [self._read(name) for name in names]
        sources = [found for found in read if isinstance(found, PhotoSource)]
        limits = Limits(**self.plan.limits)
        computed = iter(protect_batch(sources, self.context, None, self.plan.batch_size, limits) if sources else ())
        return [next(computed) if isinstance(found, PhotoSource) else (None, found) for found in read]

    def _read(self, name: PhotoName) -> PhotoSource | PhotoRecord:
        """Return the input of a photo, or the record of its failure."""
        limit = max_photo_bytes(self.context.max_pixels)
        try:
            data = read_regular(Path(name.path), limit) if name.row is None else self._read_row(name.path, name.row)
            mask = None if name.mask is None else read_regular(Path(name.mask), limit)
        except (OSError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or "not enough memory"
            return failure(name, self.context, f"{NOT_READ}: {reason}")
        if sha256(data) != name.sha256:
            return failure(name, self.context, CHANGED)
        return PhotoSource(data, name.label, mask)

    def _read_row(self, path: str, row: int) -> bytes:
        """Return the bytes of a row; the Parquet file of the last one stays open. Raises OSError."""
        if self._table is None or self._table.key != path:
            self._table = ParquetTable(path, Path(path), None)
        return self._table.read(row)

    def _row(
        self, task: RemoteTask, index: int, result: tuple[bytes | None, PhotoRecord | None], error: str = ""
    ) -> dict[str, Any]:
        data, record = result
        return {
            "batch": task.batch,
            "position": task.positions[index],
            "written": data is not None,
            "data": data or b"",
            "record": "" if record is None else json.dumps(record.to_json()),
            "canary": "" if error else self.canary,
            "error": error,
        }


def read_row(row: dict[str, Any]) -> tuple[int, int, Result, Canary]:
    """Return the number of the batch, the place in it, the result and the canary of the process that computed it.

    Raises:
        UserError: the worker could not load the models, or every photo fails.
    """
    if row["error"]:
        raise UserError(row["error"])
    result = row["data"] if row["written"] else None, PhotoRecord.from_json(json.loads(row["record"]))
    return row["batch"], row["position"], result, Canary(**json.loads(row["canary"]))


def failure(name: PhotoName, context: Context, reason: str) -> PhotoRecord:
    """Return the record of a photo that failed before it was read, or that no worker lived to protect."""
    record = blank_record(PhotoSource(b"", name.label), context, "failed", reason)
    return replace(record, source_sha256=name.sha256)
