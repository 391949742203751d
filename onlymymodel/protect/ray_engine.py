"""Ray as the executor of batches: actors on the machines of a cluster protect them, this process records them.

Ray Data drops the blocks of an actor that died for good without a word (`max_errored_blocks=-1`, so that one photo does
not end the run), so this process counts what is missing, and has it tried photo by photo.
"""

import logging
import os
import socket
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from queue import Empty, Queue
from threading import Thread
from typing import Any, Protocol, TypeVar

from onlymymodel.errors import UserError, first_line
from onlymymodel.progress import duration
from onlymymodel.protect.batches import Result
from onlymymodel.protect.canary import Canary
from onlymymodel.protect.context import Context, PhotoSource
from onlymymodel.protect.limits import Limits
from onlymymodel.protect.portable import LIMITS, is_portable
from onlymymodel.protect.remote_batches import BatchWorker, PhotoName, RemoteTask, WorkerPlan, failure, read_row
from onlymymodel.protect.workers import WORKER_ENDED, Admit, cards

MISSING = "--engine ray needs Ray: pip install 'onlymymodel[ray]'"
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else what is left of a run that ended would start Ray again
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",  # where Ray is started here; by default its workers give way to every other program
}
BLOCKS_KEPT = 4  # that have arrived and are not yet recorded


class HasNames(Protocol):
    """A batch of photos that workers read by their names."""

    @property
    def sources(self) -> Sequence[PhotoSource]:
        """The photos to compute; none where nothing is left to do."""

    @property
    def names(self) -> Sequence[PhotoName]:
        """Their names."""

    def forget(self) -> None:
        """Let go of the bytes of the sources."""


Batch = TypeVar("Batch", bound=HasNames)


@dataclass(frozen=True)
class RaySettings:
    """Settings of the Ray engine.

    Attributes:
        maker, specification: see `WorkerPlan`.
        address: of a running cluster, or `auto`; None to start Ray on this machine.
        smallest, largest: numbers of actors between which Ray chooses.
        gpus: share of a GPU for each actor.
        patience: seconds without any result after which the run ends with an error.
        retries: times that Ray tries a batch again whose actor died.
    """

    maker: str
    specification: str
    address: str | None = None
    smallest: int = 1
    largest: int = 1
    gpus: float = 0.0
    patience: float = 1800.0
    retries: int = 3

    @property
    def count(self) -> int:
        """Number of batches that are at work together, at least."""
        return self.smallest

    def pool(self, context: Context, batch_size: int, admit: Admit, limits: Limits) -> "RayPool":
        """Return an executor, see `RayPool`."""
        return RayPool(self, context, batch_size, admit, limits)


@dataclass
class RayPool:
    """Protect batches by actors of Ray. Results come as they are ready. Use it as a context manager.

    Args:
        settings: see `RaySettings`.
        context: that of the driver; an actor whose models or settings differ ends the run.
        batch_size: see `protect_batch`.
        admit: called with the canary of each actor; what it raises ends the run.
        limits: of each actor, as they were reckoned on this machine.
    """

    settings: RaySettings
    context: Context
    batch_size: int
    admit: Admit
    limits: Limits
    _admitted: set[Canary] = field(default_factory=set, init=False)

    def __enter__(self) -> "RayPool":
        connect(self.settings)
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        ray.shutdown()

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Result]]]:
        """Yield each batch with the results of its sources; those with nothing to compute come first.

        Raises:
            UserError: models cannot be loaded in an actor, or are others there; every photo fails; Ray ended, or has
                given no result for too long.
        """
        taken: dict[int, tuple[Batch, RemoteTask, dict[int, Result]]] = {}
        for number, batch in enumerate(batches):
            if not batch.sources:
                yield batch, []
                continue
            names = tuple(batch.names)
            taken[number] = batch, RemoteTask(number, tuple(range(len(names))), names), {}
            batch.forget()
        for alone in (False, True):
            for number, position, result in self._results(_rest(taken.values(), alone=alone), alone=alone):
                batch, task, results = taken[number]
                results[position] = result
                if len(results) == len(task.names):
                    del taken[number]
                    yield batch, [results[place] for place in task.positions]
        for batch, task, results in taken.values():
            reason = f"{WORKER_ENDED} on every try, perhaps for want of memory"
            yield (
                batch,
                [
                    results.get(place) or (None, failure(name, self.context, reason))
                    for place, name in zip(task.positions, task.names, strict=True)
                ],
            )

    def _results(self, tasks: Sequence[RemoteTask], *, alone: bool) -> Iterator[tuple[int, int, Result]]:
        """Yield the batch, place and result of each photo of some tasks, as far as there is one."""
        if not tasks:
            return
        blocks: Queue[Any] = Queue(BLOCKS_KEPT)
        dataset = self._dataset(tasks, 1 if alone else 2)
        Thread(target=_collect, args=(dataset, blocks), daemon=True).start()
        while True:
            try:
                block = blocks.get(timeout=self.settings.patience)
            except Empty:
                waited = duration(self.settings.patience)
                raise UserError(
                    f"no result has come from Ray for {waited}; run the same command again to go on"
                ) from None
            if block is None:
                return
            if isinstance(block, Exception):
                raise UserError(f"Ray ended the run ({type(block).__name__}: {first_line(block)})") from block
            for row in block:
                number, position, result, canary = read_row(row)
                if canary not in self._admitted:
                    self.admit(canary)
                    self._admitted.add(canary)
                yield number, position, result

    def _dataset(self, tasks: Sequence[RemoteTask], in_flight: int) -> Any:
        """Return the lazy dataset of the results, with a block for each task."""
        import ray.data

        settings = self.settings
        plan = WorkerPlan(
            settings.maker,
            settings.specification,
            "cuda" if self.context.device.type == "cuda" else str(self.context.device),
            tuple(cards(self.context)),
            self.batch_size,
            asdict(self.limits),
        )
        pool = ray.data.ActorPoolStrategy(
            min_size=min(settings.smallest, len(tasks)),
            max_size=min(settings.largest, len(tasks)),
            max_tasks_in_flight_per_actor=in_flight,
        )
        rows = [{"task": task.to_text()} for task in tasks]
        # names of the last two are deprecated, and nothing takes their place; the extra has no version without them
        warnings.filterwarnings("ignore", "`ray_remote_args`", DeprecationWarning)
        return ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Actor,
            fn_constructor_args=(asdict(plan),),
            batch_size=None,
            batch_format="pyarrow",
            compute=pool,
            num_cpus=1,
            num_gpus=settings.gpus or None,
            max_restarts=-1,
            max_task_retries=settings.retries,
        )


class Actor:
    """`BatchWorker` as Ray Data calls it.

    Args:
        plan: see `BatchWorker`.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.worker = BatchWorker(plan)

    def __call__(self, block: Any) -> Any:
        """Return the rows of all tasks in a block, as `pyarrow.Table` in and out."""
        import pyarrow

        return pyarrow.Table.from_pylist([
            row for task in block["task"].to_pylist() for row in self.worker.protect(task)
        ])  # fmt: skip


def connect(settings: RaySettings) -> None:
    """Connect to a cluster, or start Ray on this machine, without reports of usage and without Ray's progress bars.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError(MISSING) from error
    _check_reachable(settings.address)
    started: dict[str, Any] = {"address": settings.address}
    if settings.address is None:
        started = {"num_cpus": settings.largest, "include_dashboard": False}
    variables = {"env_vars": dict(LIMITS)} if is_portable() else {}
    try:
        ray.init(**started, runtime_env=variables, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"there is no Ray cluster at {settings.address or 'this machine'}: {first_line(error)}"
        ) from error
    data = ray.data.DataContext.get_current()
    data.enable_progress_bars = False
    data.max_errored_blocks = -1
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _check_reachable(address: str | None) -> None:
    """Refuse a `HOST:PORT` at which nothing listens: Ray would try for minutes. Raises UserError."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise UserError(f"there is no Ray cluster at {address}: {first_line(error)}") from error


def _rest(taken: Iterable[tuple[object, RemoteTask, dict[int, Result]]], *, alone: bool) -> list[RemoteTask]:
    """Return the tasks of what has no result yet."""
    if not alone:
        return [task for _, task, _ in taken]
    return [single for _, task, found in taken for single in task.alone() if single.positions[0] not in found]


def _collect(dataset: Any, blocks: "Queue[Any]") -> None:
    """Put the rows of each block into a queue, and None or an error at the end."""
    try:
        for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            blocks.put(block.to_pylist())
        blocks.put(None)
    except Exception as error:  # noqa: BLE001 - the other thread raises it
        blocks.put(error)
