"""Processes that protect batches for one driver: each has its own models, and computes with one thread.

The driver reads the photos and writes files and manifest; workers turn bytes into bytes and records. A worker that dies
takes only the photo with it on which it dies again when it is alone.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import NamedTuple, Protocol, TypeVar

import torch

from onlymymodel.errors import UserError, first_line
from onlymymodel.protect.batches import Result, protect_batch
from onlymymodel.protect.canary import Canary, run_canary
from onlymymodel.protect.context import Context, PhotoSource
from onlymymodel.protect.limits import UNLIMITED, Limits
from onlymymodel.protect.photo_outcome import blank_record

WORKER_ENDED = "its worker process ended"
BATCHES_AHEAD = 2  # for each worker: batches that are read before their turn
_GRACE = 5.0  # seconds in which a worker that is told to stop may end

MakeContext = Callable[[str], Context]
Admit = Callable[[Canary], None]


class HasSources(Protocol):
    """A batch of photos."""

    @property
    def sources(self) -> Sequence[PhotoSource]:
        """The photos to compute; none where nothing is left to do."""


Batch = TypeVar("Batch", bound=HasSources)


@dataclass(frozen=True)
class WorkerSettings:
    """Number of workers, and the specification from which each makes its own models.

    Attributes:
        count: number of processes.
        make_context: returns the context for models on a device such as `cpu` or `cuda:1`; it is pickled.
    """

    count: int
    make_context: MakeContext

    def pool(self, context: Context, batch_size: int, admit: Admit, limits: Limits) -> "WorkerPool":
        """Return an executor, see `WorkerPool`."""
        return WorkerPool(self, context, batch_size, admit, limits)


class _Task(NamedTuple):
    """Photos of one batch that a worker computes together.

    Attributes:
        batch: number of the batch.
        positions: places of the photos in the batch.
        sources: the photos.
    """

    batch: int
    positions: tuple[int, ...]
    sources: tuple[PhotoSource, ...]


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    ready: bool = False
    task: _Task | None = None


@dataclass
class WorkerPool:
    """Protect batches in several processes. Results come in the order of the batches, whoever computes them.

    Use it as a context manager: at the end, whatever happens, no worker is left.

    Args:
        settings: see `WorkerSettings`.
        context: that of the driver; a worker whose models or settings differ is refused.
        batch_size: see `protect_batch`.
        admit: called with the canary of each worker before it gets a batch; what it raises ends the run.
        limits: of each process.
    """

    settings: WorkerSettings
    context: Context
    batch_size: int
    admit: Admit
    limits: Limits = UNLIMITED
    _workers: list[_Worker] = field(default_factory=list, init=False)

    def __enter__(self) -> "WorkerPool":
        return self  # workers are started when there is something to compute

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_GRACE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Result]]]:
        """Yield each batch with the results of its sources.

        Raises:
            UserError: models cannot be loaded in a worker, or are others there.
            RuntimeError: another error of a worker, which a sound photo causes too.
        """
        source = enumerate(batches)
        taken: deque[Batch] = deque()
        results: dict[int, list[Result | None]] = {}
        tasks: deque[_Task] = deque()
        next_batch, exhausted = 0, False
        while not exhausted or taken:
            while not exhausted and len(taken) < BATCHES_AHEAD * self.settings.count:
                item = next(source, None)
                if item is None:
                    exhausted = True
                    break
                number, batch = item
                taken.append(batch)
                results[number] = [None] * len(batch.sources)
                if batch.sources:
                    tasks.append(_Task(number, tuple(range(len(batch.sources))), tuple(batch.sources)))
            if taken and (complete := _complete(results[next_batch])) is not None:
                del results[next_batch]
                next_batch += 1
                yield taken.popleft(), complete
                continue
            self._assign(tasks)
            if taken:
                self._collect(tasks, results)

    def _assign(self, tasks: deque[_Task]) -> None:
        waiting = sum(worker.task is None for worker in self._workers)
        for index in range(len(self._workers), min(self.settings.count, len(self._workers) + len(tasks) - waiting)):
            self._workers.append(self._start(index))
        for worker in self._workers:
            if worker.ready and worker.task is None and tasks:
                worker.task = tasks.popleft()
                with suppress(OSError):  # it has died: `_collect` notices
                    worker.connection.send(worker.task.sources)

    def _collect(self, tasks: deque[_Task], results: dict[int, list[Result | None]]) -> None:
        """Wait until a worker has something to say, and store its results."""
        said = wait([worker.connection for worker in self._workers])
        for index, worker in enumerate(self._workers):
            if worker.connection not in said:
                continue
            try:
                answer = worker.connection.recv()
            except (EOFError, OSError):
                self._workers[index] = self._replace(index, worker)
                if worker.task is not None:
                    self._blame(worker, worker.task, tasks, results)
                continue
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, Canary):
                self.admit(answer)
            elif worker.task is not None:
                _store(worker.task, answer, results)
                worker.task = None
            worker.ready = True

    def _blame(
        self, worker: _Worker, task: _Task, tasks: deque[_Task], results: dict[int, list[Result | None]]
    ) -> None:
        """Try the photos of a worker that died one by one; one that was alone has failed."""
        if len(task.sources) > 1:
            singles = zip(task.positions, task.sources, strict=True)
            tasks.extendleft(_Task(task.batch, (position,), (photo,)) for position, photo in reversed(list(singles)))
            return
        reason = f"{WORKER_ENDED} ({_ending(worker.process)}), perhaps for want of memory"
        _store(task, [(None, blank_record(task.sources[0], self.context, "failed", reason))], results)

    def _replace(self, index: int, worker: _Worker) -> _Worker:
        worker.process.join()
        worker.connection.close()
        if not worker.ready:
            raise UserError(f"a worker process ended while it loaded the models ({_ending(worker.process)})")
        return self._start(index)

    def _start(self, index: int) -> _Worker:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy the threads and locks of torch
        ours, theirs = spawn.Pipe()
        process = spawn.Process(
            target=_work,
            args=(theirs, self.settings.make_context, _device(self.context.device, index), cards(self.context),
                  self.batch_size, self.limits),
            name=f"omm-worker-{index}",
            daemon=True,
        )  # fmt: skip
        with _interrupts_held_back():  # else the worker shows one as a traceback while it imports torch
            process.start()
        theirs.close()
        return _Worker(process, ours)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back in this thread, and for good in the processes that it starts meanwhile; not on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would let them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(
    connection: Connection,
    make_context: MakeContext,
    device: str,
    expected: Sequence[str],
    batch_size: int,
    limits: Limits,
) -> None:
    """Protect batches until the driver hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's: it stops the workers
    threading.Thread(target=_exit_with_driver, daemon=True).start()
    torch.set_num_threads(1)
    try:
        context = make_context(device)
        if cards(context) != expected:
            raise UserError("a worker loaded other models than the run: a file of weights has changed meanwhile")
        connection.send(run_canary(context))
        while True:
            sources = connection.recv()
            connection.send(protect_batch(sources, context, None, batch_size, limits))
    except (EOFError, BrokenPipeError):
        return
    except UserError as error:
        connection.send(error)
    except Exception as error:  # noqa: BLE001 - it is raised again by the driver
        connection.send(RuntimeError(f"{type(error).__name__} in a worker process: {first_line(error)}"))


def _exit_with_driver() -> None:
    """Wait until the driver has ended, and end this process at once, in the middle of a batch too."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    wait([driver.sentinel])
    os._exit(1)


def cards(context: Context) -> list[str]:
    """Return what has to be the same in every process: the hashes of all models, the recipe and its attack's code."""
    models = (context.authorized, *context.surrogates)
    attack = "" if context.attack is None else context.attack.sha256
    return [*(model.card.sha256 for model in models), context.recipe.sha256(), attack]


def _device(device: torch.device, index: int) -> str:
    """Return the device of a worker: GPUs are given out in turn."""
    return f"cuda:{index % torch.cuda.device_count()}" if device.type == "cuda" else str(device)


def _complete(results: Sequence[Result | None]) -> list[Result] | None:
    """Return the results of a batch; None while one is missing."""
    present = [result for result in results if result is not None]
    return present if len(present) == len(results) else None


def _store(task: _Task, found: Sequence[Result], results: dict[int, list[Result | None]]) -> None:
    for position, result in zip(task.positions, found, strict=True):
        results[task.batch][position] = result


def _ending(process: SpawnProcess) -> str:
    """Return how a process ended, in words."""
    code = process.exitcode
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
