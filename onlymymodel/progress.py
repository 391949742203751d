"""Progress of long work: a bar in a terminal, plain lines or JSON lines elsewhere, or nothing.

Long work opens a task by `track`. How tasks are shown is set once for a process by `shown`; the command line does so.
Otherwise there is a bar where standard error is a terminal, and nothing elsewhere.
"""

import json
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, Literal, Self, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Mode = Literal["bar", "lines", "json", "none"]
INTERVAL = 5.0  # seconds between two lines; later three and six times as many
EARLY, LATE = 12, 48  # lines at the first interval, and at the first and second


@dataclass(frozen=True)
class Display:
    """Display of progress on standard error.

    Attributes:
        mode: `bar` in a terminal only; `lines`: a line every few seconds; `json`: the same as JSON; or `none`.
        verbose: also show a line for each photo. With `json` each photo has a line anyway.
        interval: seconds between two lines at first; they become rarer in a long run.
    """

    mode: Mode = "bar"
    verbose: bool = False
    interval: float = INTERVAL

    @property
    def is_silent(self) -> bool:
        """Return whether nothing is shown: a bar needs a terminal."""
        return self.mode == "none" or (self.mode == "bar" and not sys.stderr.isatty())


_display = Display()
_active: list["Task[Any]"] = []  # the last one is the one inside the others, and is shown


@contextmanager
def shown(display: Display) -> Iterator[None]:
    """Show progress in this way while the context is open."""
    global _display
    earlier, _display = _display, display
    try:
        yield
    finally:
        _display = earlier


def emit(text: str, event: str, /, **fields: object) -> None:
    """Write one line to standard error, without destroying a bar: the text, or the event and its fields as JSON."""
    if _display.mode == "json":
        text = json.dumps({"event": event, **fields}, default=str)
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


def remark(text: str) -> None:
    """Show one line, unless no progress is shown."""
    if not _display.is_silent:
        emit(text, "remark", text=text)


def is_shown() -> bool:
    """Return whether progress is shown."""
    return not _display.is_silent


def track(
    items: Iterable[Item], name: str, *, total: int | None = None, unit: str = "photo", progress: bool = True
) -> "Task[Item]":
    """Return a task to iterate over.

    Args:
        items: what to iterate over; each is counted when the next one is asked for.
        name: what is done, in a word.
        total: number of items, where they do not know it themselves.
        unit: what is counted, in the singular.
        progress: whether anything is shown.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    return Task(items, name, total, unit, _display if progress else Display("none"))


def counted(name: str, total: int, *, unit: str = "photo", progress: bool = True) -> "Task[object]":
    """Return a task to use as a context, of which `update` or `photo` tells what is done.

    Args:
        name: what is done, in a word.
        total: number of units.
        unit: what is counted, in the singular.
        progress: whether anything is shown.
    """
    return Task((), name, total, unit, _display if progress else Display("none"))


class Task(Generic[Item]):
    """Work that takes long. Use it as a context, or iterate over it.

    Attributes:
        done: number of units that are done.
        counts: number of photos with each status.
    """

    def __init__(self, items: Iterable[Item], name: str, total: int | None, unit: str, display: Display) -> None:
        self.items, self.name, self.total, self.unit = items, name, total, unit
        self.done, self.counts = 0, Counter[str]()
        self._note, self._worked, self._seconds = "", 0, 0.0
        self._display, self._started, self._spoke = display, monotonic(), False
        self._bar: tqdm[Any] | None = None
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        """Begin to show the task."""
        self._started = monotonic()
        _active.append(self)
        if self._display.mode == "bar":
            # bars of other tasks than those over photos disappear at their end
            leave = self.unit == "photo" and len(_active) == 1
            self._bar = tqdm(total=self.total, unit=self.unit, desc=self.name, disable=None, leave=leave)
        elif self._display.mode != "none":
            if self._display.mode == "json":
                emit("", "start", task=self.name, unit=self.unit, total=self.total)
            self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Show what was done at last."""
        if self._bar is not None:
            self._bar.close()
        if self._ticker.is_alive():
            self._ended.set()
            self._ticker.join()
            if self._display.mode == "json" or self._spoke:
                self._show("end")
        _active.remove(self)

    def __iter__(self) -> Iterator[Item]:
        """Yield the items; those that `photo` was not called for are counted when the next one is asked for."""
        with self:
            for item in self.items:
                done = self.done
                yield item
                if self.done == done:
                    self.update()

    def update(self, count: int = 1) -> None:
        """Count units as done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)

    def note(self, text: str) -> None:
        """Say what is done at the moment."""
        self._note = text
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def photo(self, name: str, status: str, reason: str = "", seconds: float | None = None) -> None:
        """Count a photo as done, and show its line if lines of photos are shown.

        Args:
            name: its path below the source.
            status: its status, in a word.
            reason: of the status.
            seconds: spent on it; None if nothing was done.
        """
        self.counts[status] += 1
        if self._display.mode == "json" or (self._display.verbose and self._display.mode != "none"):
            text = _printable(f"{status:10} {name}" + (f": {reason}" if reason else ""))
            emit(text, "photo", photo=name, status=status, reason=reason, seconds=seconds)
        self.update()
        self.note(", ".join(f"{count} {status}" for status, count in self.counts.items()))

    def worked(self, count: int, seconds: float) -> None:
        """Take into account how long units took; after the first ones, say how long the others will take.

        Call it before these units are counted as done.
        """
        first = not self._worked
        self._worked += count
        self._seconds += seconds
        rest = (self.total or 0) - self.done - count
        if first and rest > 0 and count and not self._display.is_silent:
            each = self._seconds / self._worked
            emit(
                f"about {each:.1f} s a {self.unit}: {rest} more {self._units(rest)} will take about "
                f"{duration(rest * each)}",
                "estimate",
                task=self.name,
                seconds_per_unit=round(each, 3),
                remaining=rest,
                eta=round(rest * each, 1),
            )

    @property
    def eta(self) -> float | None:
        """Seconds until the end; None where that cannot be told: models, for one, take different times."""
        if self.total is None or self.unit == "model" or not (self.done or self._worked):
            return None
        each = self._seconds / self._worked if self._worked else (monotonic() - self._started) / self.done
        return (self.total - self.done) * each

    def _tick(self) -> None:
        lines = 0
        while not self._ended.wait(self._display.interval * (1 if lines < EARLY else 3 if lines < LATE else 6)):
            lines += 1
            if _active[-1:] == [self]:
                self._show("progress")
                self._spoke = True

    def _show(self, event: str) -> None:
        seconds, eta = monotonic() - self._started, self.eta if event == "progress" else None
        of = "" if self.total is None else f" of {self.total}"
        parts = [f"{self.done}{of} {self._units(self.total or self.done)}", self._note, duration(seconds)]
        if eta is not None:
            parts.append(f"about {duration(eta)} left")
        emit(
            f"{self.name}: " * bool(self.name) + ", ".join(filter(None, parts)),
            event,
            task=self.name,
            unit=self.unit,
            done=self.done,
            total=self.total,
            seconds=round(seconds, 1),
            eta=None if eta is None else round(eta, 1),
            note=self._note,
        )

    def _units(self, count: int) -> str:
        return self.unit if count == 1 else f"{self.unit}s"


def _printable(text: str) -> str:
    """Return the text with `?` for every character that could control a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def duration(seconds: float) -> str:
    """Return a time in words, such as `45 s`, `12 min` or `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
