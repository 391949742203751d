"""What one browser tab has: its photos, in a folder of its own that goes when the tab does."""

import secrets
import shutil
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal
from zipfile import ZipFile

from onlymymodel.app.choice import RUN_FILE, Choice, to_toml
from onlymymodel.app.picture import Picture, Result, clean_name, take_in
from onlymymodel.errors import UserError

MAX_PHOTOS = 50
MAX_SESSIONS = 16
Phase = Literal["idle", "queued", "loading", "working", "done", "stopped", "refused"]


class Stopped(Exception):
    """The person pressed Stop, closed the tab, or the server goes down."""


@dataclass(frozen=True)
class Progress:
    """Where the run of a session stands.

    Attributes:
        sentence: why it was refused.
        photo, photos, step, steps: counted from 1; 0 where nothing has begun.
    """

    phase: Phase = "idle"
    sentence: str = ""
    photo: int = 0
    photos: int = 0
    step: int = 0
    steps: int = 0


@dataclass(eq=False)
class Session:
    """One tab. The worker replaces `progress` and each picture's `result` whole, so that a reader needs no lock.

    Attributes:
        id: a secret: who knows it sees the photos.
        choice: of the last run.
        job: that run, waiting or at work.
    """

    folder: Path
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    pictures: dict[int, Picture] = field(default_factory=dict)
    progress: Progress = Progress()
    choice: Choice | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    busy: bool = False
    closed: bool = False
    job: Future[None] | None = None
    seen: float = field(default_factory=time.monotonic)
    _next: int = 1
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.folder /= self.id
        self.folder.mkdir(mode=0o700)

    def add(self, name: str, data: bytes) -> Picture:
        """Take a photo in.

        Raises:
            UserError: it is none, there are too many, or a run is going on.
        """
        name = clean_name(name)
        with self._lock:
            self._refuse_while_busy()
            if len(self.pictures) >= MAX_PHOTOS:
                raise UserError(f"{name}: there are {MAX_PHOTOS} photos already, and no more fit; remove some first")
            picture = take_in(self.folder / str(self._next), self._next, self._free(name), data)
            self.pictures[picture.number] = picture
            self._next += 1
        return picture

    def remove(self, number: int) -> None:
        """Let a photo go, with its files.

        Raises:
            UserError: a run is going on.
        """
        with self._lock:
            self._refuse_while_busy()
            picture = self.pictures.pop(number, None)
            if picture is not None:
                picture.discard()

    def begin(self, choice: Choice) -> None:
        """Take note of a run that is about to be queued; what an earlier one gave goes.

        Raises:
            UserError: one is going on, or there are no photos.
        """
        with self._lock:
            self._refuse_while_busy()
            if not self.pictures:
                raise UserError("there is no photo yet: drop one onto the page first")
            for picture in self.pictures.values():
                picture.reset(Result("waiting"))
            self.choice, self.busy, self.job = choice, True, None
            self.progress = Progress("queued", photos=len(self.pictures))
            self.stop.clear()

    def end(self, progress: Progress) -> None:
        """The worker is through, whatever came of it."""
        with self._lock:
            for picture in self.pictures.values():
                if picture.result.status in ("waiting", "working"):
                    picture.result = Result("ready")
            self.progress, self.busy = progress, False
            if self.closed:
                self._remove_files()

    def halt(self) -> None:
        """Stop the run if there is one: at once while it waits its turn, else after the step that is being taken."""
        with self._lock:
            self.stop.set()
            if self.busy and self.job is not None and self.job.cancel():
                self.end(Progress("stopped"))

    def close(self) -> None:
        """Stop the run if there is one, and remove every file."""
        with self._lock:
            self.closed = True
            self.halt()
            if not self.busy:
                self._remove_files()

    def check(self) -> None:
        """Raises Stopped where the run is no longer wanted."""
        if self.stop.is_set():
            raise Stopped

    def pack(self) -> Path:
        """An archive of all protected files under their names, and the run file. PNG is packed already: stored.

        Raises:
            UserError: the tab was closed, or there is no protected file.
        """
        with self._lock:
            self._refuse_closed()
            done = [picture for picture in self.pictures.values() if picture.result.status == "protected"]
            if not done or self.choice is None:
                raise UserError("no photo is protected yet")
            with NamedTemporaryFile(dir=self.folder, delete=False) as file, ZipFile(file, "w") as archive:
                for picture in done:
                    archive.write(picture.protected, picture.saved_name)
                archive.writestr(RUN_FILE, to_toml(self.choice))
        return Path(file.name)

    def state(self) -> dict[str, Any]:
        """What the page shows, as JSON values."""
        stopping = self.busy and self.stop.is_set()
        pictures = [picture.to_json() for picture in list(self.pictures.values())]
        return {"run": {**asdict(self.progress), "busy": self.busy, "stopping": stopping}, "photos": pictures}

    def _remove_files(self) -> None:
        for picture in self.pictures.values():
            picture.discard()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _free(self, name: str) -> str:
        """A name whose saved file no other photo of the session gets."""
        taken = {picture.saved_name.casefold() for picture in self.pictures.values()}
        stem, suffix = Path(name).stem, Path(name).suffix
        for number in range(1, len(taken) + 2):
            tried = stem if number == 1 else f"{stem}-{number}"
            if f"{tried}.png".casefold() not in taken:
                break
        return tried + suffix

    def _refuse_closed(self) -> None:
        if self.closed:
            raise UserError("this page was closed: reload it")

    def _refuse_while_busy(self) -> None:
        self._refuse_closed()
        if self.busy:
            raise UserError("photos are being worked on: stop that first, or wait until it is done")


class Sessions:
    """The tabs that are open. Nobody finds another's: a session is known by its secret alone.

    Args:
        folder: ours, under which every session has its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    def new(self) -> Session:
        """A session for another tab; beyond 16, the one that nobody looked at for longest goes.

        Raises:
            UserError: all of them are at work.
        """
        with self._lock:
            if len(self._open) >= MAX_SESSIONS:
                idle = [session for session in self._open.values() if not session.busy]
                if not idle:
                    raise UserError(f"{MAX_SESSIONS} pages are at work already: close one of them")
                self._drop(min(idle, key=lambda session: session.seen).id)
            session = Session(self.folder)
            self._open[session.id] = session
        return session

    def get(self, key: str) -> Session | None:
        """The session of that secret, None where there is none (any more)."""
        session = self._open.get(key)
        if session is not None:
            session.seen = time.monotonic()
        return session

    def close(self, key: str) -> None:
        """A tab was closed."""
        with self._lock:
            self._drop(key)

    def close_all(self) -> None:
        """The server goes down."""
        with self._lock:
            for key in list(self._open):
                self._drop(key)

    def _drop(self, key: str) -> None:
        session = self._open.pop(key, None)
        if session is not None:
            session.close()
