"""The session of one browser tab: its photos, in their own folder, which is removed when the tab closes."""

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

from onlymymodel.app.form import RUN_FILE, run_file
from onlymymodel.app.model_loading import LoadingModel
from onlymymodel.app.uploaded_photo import PhotoResult, UploadedPhoto, clean_name, store_upload
from onlymymodel.errors import UserError
from onlymymodel.settings import RunSettings

MAX_PHOTOS = 50
MAX_SESSIONS = 16
Phase = Literal["idle", "queued", "loading", "working", "done", "stopped", "refused"]


class Stopped(Exception):
    """The person pressed Stop or closed the tab, or the server is shutting down."""


@dataclass(frozen=True)
class Progress:
    """Progress of a session's run.

    Attributes:
        sentence: why the run was refused.
        photo, photos, step, steps: counted from 1; 0 before the first.
        stage: what is done with the photo: the models are asked about the `original`, a `change` is searched, the
            `file` is checked, or the models are asked about the `result`.
        models: all models of the run, while they are loaded.
    """

    phase: Phase = "idle"
    sentence: str = ""
    photo: int = 0
    photos: int = 0
    step: int = 0
    steps: int = 0
    stage: Literal["", "original", "change", "file", "result"] = ""
    models: tuple[LoadingModel, ...] = ()


@dataclass(eq=False)
class Session:
    """The session of one tab.

    The worker replaces `progress` and each photo's `result` as a whole, so that a reader needs no lock.

    Attributes:
        folder: folder of this session, inside the folder of all sessions that is passed.
        id: secret that gives access to the photos.
        choice: settings of the last run.
        stop: set to stop the run.
        busy: whether a run is queued or going on.
        closed: whether the tab was closed.
        job: the last run.
        last_seen: monotonic time of the last request.
    """

    folder: Path
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    photos: dict[int, UploadedPhoto] = field(default_factory=dict)
    progress: Progress = Progress()
    settings: RunSettings | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    busy: bool = False
    closed: bool = False
    job: Future[None] | None = None
    last_seen: float = field(default_factory=time.monotonic)
    _next: int = 1
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.folder /= self.id
        self.folder.mkdir(mode=0o700)

    def add(self, name: str, data: bytes) -> UploadedPhoto:
        """Add an uploaded photo.

        Raises:
            UserError: the data is not a photo, there are too many photos, or a run is in progress.
        """
        name = clean_name(name)
        with self._lock:
            self._refuse_while_busy()
            if len(self.photos) >= MAX_PHOTOS:
                raise UserError(f"{name}: there are {MAX_PHOTOS} photos already, which is the limit; remove some first")
            photo = store_upload(self.folder / str(self._next), self._next, self._unused_name(name), data)
            self.photos[photo.number] = photo
            self._next += 1
        return photo

    def remove(self, number: int) -> None:
        """Remove a photo and its files.

        Raises:
            UserError: a run is going on.
        """
        with self._lock:
            self._refuse_while_busy()
            photo = self.photos.pop(number, None)
            if photo is not None:
                photo.discard()

    def begin(self, settings: RunSettings) -> None:
        """Prepare for a run that is about to be queued; the results of an earlier run are removed.

        Raises:
            UserError: a run is going on, or there are no photos.
        """
        with self._lock:
            self._refuse_while_busy()
            if not self.photos:
                raise UserError("there is no photo yet: drop one onto the page first")
            for photo in self.photos.values():
                photo.reset(PhotoResult("waiting"))
            self.settings, self.busy, self.job = settings, True, None
            self.progress = Progress("queued", photos=len(self.photos))
            self.stop.clear()

    def end(self, progress: Progress) -> None:
        """Record how a run ended."""
        with self._lock:
            for photo in self.photos.values():
                if photo.result.status in ("waiting", "working"):
                    photo.result = PhotoResult("ready")
            self.progress, self.busy = progress, False
            if self.closed:
                self._remove_files()

    def halt(self) -> None:
        """Stop the run if there is one: at once while it is queued, otherwise after the current step."""
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
        """Raise Stopped if the run was stopped."""
        if self.stop.is_set():
            raise Stopped

    def pack(self) -> Path:
        """Return an archive of all protected files and the run file. PNG is compressed already, so files are stored.

        Raises:
            UserError: the tab was closed, or there is no protected file.
        """
        with self._lock:
            self._refuse_closed()
            protected = [photo for photo in self.photos.values() if photo.result.is_written]
            if not protected or self.settings is None:
                raise UserError("no photo is protected yet")
            with NamedTemporaryFile(dir=self.folder, delete=False) as file, ZipFile(file, "w") as archive:
                for photo in protected:
                    archive.write(photo.protected, photo.saved_name)
                archive.writestr(RUN_FILE, run_file(self.settings))
        return Path(file.name)

    def state(self) -> dict[str, Any]:
        """Return what the page shows, as JSON values."""
        stopping = self.busy and self.stop.is_set()
        photos = [photo.to_json() for photo in list(self.photos.values())]
        return {"run": {**asdict(self.progress), "busy": self.busy, "stopping": stopping}, "photos": photos}

    def _remove_files(self) -> None:
        for photo in self.photos.values():
            photo.discard()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _unused_name(self, name: str) -> str:
        """Return the name, numbered if another photo of the session would be saved under the same name."""
        taken = {photo.saved_name.casefold() for photo in self.photos.values()}
        stem, suffix = Path(name).stem, Path(name).suffix
        for number in range(1, len(taken) + 2):
            candidate = stem if number == 1 else f"{stem}-{number}"
            if f"{candidate}.png".casefold() not in taken:
                break
        return candidate + suffix

    def _refuse_closed(self) -> None:
        if self.closed:
            raise UserError("this page was closed: reload it")

    def _refuse_while_busy(self) -> None:
        self._refuse_closed()
        if self.busy:
            raise UserError("a run is in progress: stop it first, or wait until it is done")


class Sessions:
    """The sessions of all open tabs, by their secret ids.

    Args:
        folder: parent of the sessions' folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    def new(self) -> Session:
        """Open a session for another tab; beyond 16, the idle one with the oldest last request is closed.

        Raises:
            UserError: all of them have a run going on.
        """
        with self._lock:
            if len(self._open) >= MAX_SESSIONS:
                idle = [session for session in self._open.values() if not session.busy]
                if not idle:
                    raise UserError(f"{MAX_SESSIONS} pages are open already: close one of them")
                self._drop(min(idle, key=lambda session: session.last_seen).id)
            session = Session(self.folder)
            self._open[session.id] = session
        return session

    def get(self, key: str) -> Session | None:
        """Return the session with that id; None if there is none, or no longer."""
        session = self._open.get(key)
        if session is not None:
            session.last_seen = time.monotonic()
        return session

    def close(self, key: str) -> None:
        """Close the session of a tab."""
        with self._lock:
            self._drop(key)

    def close_all(self) -> None:
        """Close all sessions."""
        with self._lock:
            for key in list(self._open):
                self._drop(key)

    def _drop(self, key: str) -> None:
        session = self._open.pop(key, None)
        if session is not None:
            session.close()
