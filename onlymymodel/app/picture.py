"""One photo of a session: its files, all in one folder of its own, and what became of it."""

import io
import shutil
import threading
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.app.choice import MAX_PIXELS
from onlymymodel.app.readings import Reading
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import Photo, PhotoError, decode, encode
from onlymymodel.errors import UserError
from onlymymodel.evaluate.report import amplified

MAX_BYTES = 20_000_000
THUMB = 320  # pixels, twice what the page shows
AMPLIFY = 8
MAX_NAME = 120  # characters
Status = Literal["ready", "waiting", "working", "protected", "unchanged", "skipped", "failed"]
View = Literal["thumb", "before", "after", "difference"]
VIEWS = get_args(View)


@dataclass(frozen=True)
class Result:
    """What became of a photo.

    Attributes:
        reason: why, in a sentence.
        figures: largest change (of 255), PSNR in dB, SSIM, seconds; only of a protected photo.
        label: what the authorized model reads.
    """

    status: Status = "ready"
    reason: str = ""
    label: str = ""
    figures: dict[str, float | None] = field(default_factory=dict)
    readings: tuple[Reading, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class Picture:
    """A photo that was taken in.

    Attributes:
        name: for people; no file of ours bears it.
        width, height: upright, in pixels.
        size: of the file, in bytes.
        version: counts the results, so that a browser never shows an old one for a new one.
        gone: its files are removed, and no more are written.
    """

    folder: Path
    number: int
    name: str
    width: int
    height: int
    size: int
    result: Result = Result()
    version: int = 0
    gone: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def source(self) -> Path:
        """The bytes as they came."""
        return self.folder / "source"

    @property
    def protected(self) -> Path:
        """The written file, there while the status is `protected`."""
        return self.folder / "after.png"

    @property
    def saved_name(self) -> str:
        """The name under which the protected file is saved."""
        return f"{Path(self.name).stem}.png"

    def reset(self, result: Result) -> None:
        """Begin anew: what an earlier run gave goes."""
        with self._lock:
            self.result, self.version = result, self.version + 1
            for name in ("after", "difference"):
                (self.folder / f"{name}.png").unlink(missing_ok=True)

    def keep(self, data: bytes) -> None:
        """Write the protected file."""
        with self._lock:
            if not self.gone:
                write_atomic(self.protected, data)

    def discard(self) -> None:
        """Remove the files for good: what somebody is about to make of the photo would bring its folder back."""
        with self._lock:
            self.gone = True
            shutil.rmtree(self.folder, ignore_errors=True)

    def view(self, view: View) -> Path | None:
        """A PNG for the page, made when first asked for; None where there is none (no protected file yet, or gone)."""
        path = self.folder / f"{view}.png"
        with self._lock:
            if self.gone:
                return None
            if view in ("after", "difference") and self.result.status != "protected":
                return None
            if not path.exists():
                photo = self._read(self.source)
                if view == "before":
                    # the same lossless way as the protected file: what differs on the page is the change alone
                    write_atomic(path, encode(photo.pixels, like=photo, strip_metadata=True))
                else:
                    written = self._read(self.protected).pixels
                    write_atomic(path, _png(amplified(photo.pixels, written, AMPLIFY)))
        return path

    def to_json(self) -> dict[str, Any]:
        """What the page shows, as JSON values."""
        result = self.result
        return {
            "number": self.number,
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "size": self.size,
            "version": self.version,
            "status": result.status,
            "reason": result.reason,
            "label": result.label,
            "figures": result.figures,
            "readings": [reading.to_json() for reading in result.readings],
            "notes": list(result.notes),
        }

    def _read(self, path: Path) -> Photo:
        return decode(path.read_bytes(), max_pixels=MAX_PIXELS)


def take_in(folder: Path, number: int, name: str, data: bytes) -> Picture:
    """Write an uploaded photo to a new `folder`.

    Raises:
        UserError: it is no photo, or too large.
    """
    if len(data) > MAX_BYTES:
        raise UserError(
            f"{name}: too large, {len(data) / 1e6:.0f} MB; the page takes files up to {MAX_BYTES // 10**6} MB"
        )
    try:
        photo = decode(data, max_pixels=MAX_PIXELS)
    except PhotoError as error:
        raise UserError(f"{name}: {error}") from error
    height, width = photo.pixels.shape[:2]
    folder.mkdir(mode=0o700)
    try:
        write_atomic(folder / "source", data)
        write_atomic(folder / "thumb.png", _png(photo.pixels, THUMB))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Picture(folder, number, name, width, height, len(data))


def clean_name(name: str) -> str:
    """The last part of a file's name without anything that a file system, an archive or a terminal takes amiss."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(char for char in unicodedata.normalize("NFC", last) if char.isprintable() and char not in '<>:"|?*')
    plain = plain.strip(" .")
    stem, suffix = Path(plain).stem, Path(plain).suffix
    return stem[: MAX_NAME - len(suffix[:8])] + suffix[:8] or "photo"


def _png(pixels: NDArray[np.uint8], longest: int | None = None) -> bytes:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if longest is not None:
        image.thumbnail((longest, longest))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
