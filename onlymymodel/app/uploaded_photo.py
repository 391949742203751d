"""One photo of a session: its files, in their own folder, and its result."""

import io
import shutil
import threading
import unicodedata
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from PIL import Image

from onlymymodel.app.form import MAX_PIXELS
from onlymymodel.app.model_answers import ChannelAnswers, LeastMargin
from onlymymodel.app.preview import bound_map, face_map, grain, limited_to, preview_image, visibility_table
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import Photo, PhotoError, decode, encode
from onlymymodel.data.pixels import to_image
from onlymymodel.errors import UserError
from onlymymodel.evaluate.images import amplify_difference, reduced_image
from onlymymodel.protect import photo_record

MAX_BYTES = 20_000_000
THUMB = 320  # pixels, twice what the page shows
AMPLIFY = 8
MAX_NAME = 120  # characters
Status = Literal["ready", "waiting", "working"] | photo_record.Status
View = Literal["thumb", "preview", "bound", "grain", "faces", "before", "after", "difference"]
VIEWS = get_args(View)


@dataclass(frozen=True)
class Figures:
    """The distortion of a protected photo, and the cost of its protection.

    Attributes:
        linf: largest change of any channel of any pixel, in 8-bit steps.
        psnr: in dB; None where nothing changed.
        ssim: structural similarity.
        seconds: spent on the photo.
    """

    linf: int | None
    psnr: float | None
    ssim: float | None
    seconds: float | None


@dataclass(frozen=True)
class PhotoResult:
    """The result of a run for one photo.

    Attributes:
        reason: of the status, in a sentence.
        label: name of the class that the authorized model keeps.
        figures: of a photo that has a file; None of any other.
        channels: the answers of every model, before and after, through each channel.
        least: the authorized model's smallest margin through deployments.
    """

    status: Status = "ready"
    reason: str = ""
    label: str = ""
    figures: Figures | None = None
    channels: tuple[ChannelAnswers, ...] = ()
    least: LeastMargin | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_written(self) -> bool:
        """Return whether there is a protected file."""
        return self.status in photo_record.WRITTEN


@dataclass(eq=False)
class UploadedPhoto:
    """A photo that a person uploaded.

    Attributes:
        folder: folder of this photo's files.
        number: unique in the session.
        name: for people; no file on the disk has it.
        width, height: upright, in pixels.
        size: of the file, in bytes.
        version: number of runs, so that a browser never shows an old result for a new one.
        discarded: its files are removed, and no more are written.
    """

    folder: Path
    number: int
    name: str
    width: int
    height: int
    size: int
    result: PhotoResult = PhotoResult()
    version: int = 0
    discarded: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def source(self) -> Path:
        """File with the uploaded bytes."""
        return self.folder / "source"

    @property
    def protected(self) -> Path:
        """The protected file, which exists while the result is written."""
        return self.folder / "after.png"

    @property
    def saved_name(self) -> str:
        """Name under which a browser saves the protected file."""
        return f"{Path(self.name).stem}.png"

    def reset(self, result: PhotoResult) -> None:
        """Replace the result and remove the files of an earlier run."""
        with self._lock:
            self.result, self.version = result, self.version + 1
            for name in ("after", "difference"):
                (self.folder / f"{name}.png").unlink(missing_ok=True)

    def write_protected(self, data: bytes) -> None:
        """Write the protected file, unless the photo was discarded."""
        with self._lock:
            if not self.discarded:
                write_atomic(self.protected, data)

    def discard(self) -> None:
        """Remove all files, and let nothing write new ones: a view that is being made would bring the folder back."""
        with self._lock:
            self.discarded = True
            shutil.rmtree(self.folder, ignore_errors=True)

    def view(self, view: View) -> bytes | None:
        """Return a PNG for the page, made on the first request; None without a protected file, or once discarded."""
        with self._lock:
            if self.discarded:
                return None
            if view in ("after", "difference") and not self.result.is_written:
                return None
            self._make(view)
            return (self.folder / f"{view}.png").read_bytes()

    def preview(self, *, faces: bool = False) -> dict[str, Any] | None:
        """Return the preview's size and `visibility_table` as JSON values; None once the photo is discarded.

        Args:
            faces: for a change of the faces alone; the table of a photo without a face is that of no change.
        """
        with self._lock:
            if self.discarded:
                return None
            photo, noise = (self._image(view) for view in ("preview", "grain"))
            if faces:
                noise = limited_to(noise, self._image("faces"))
        return {"width": photo.width, "height": photo.height, "table": visibility_table(photo, noise)}

    def _make(self, view: View) -> None:
        """Make the file of a view that does not exist yet."""
        path = self.folder / f"{view}.png"
        if path.exists():
            return
        if view == "grain":
            image = grain(self._image("bound"))
        else:
            photo = self._read(self.source)
            if view == "before":
                # encoded as the protected file is, so that the two pictures on the page differ only in the change
                write_atomic(path, encode(photo.pixels, like=replace(photo, exif=None)))
                return
            if view == "difference":
                image = to_image(amplify_difference(photo.pixels, self._read(self.protected).pixels, AMPLIFY))
            else:
                image = {"preview": preview_image, "bound": bound_map, "faces": face_map}[view](photo.pixels)
        write_atomic(path, _png(image))

    def _image(self, view: View) -> Image.Image:
        self._make(view)
        image = Image.open(self.folder / f"{view}.png")
        image.load()
        return image

    def to_json(self) -> dict[str, Any]:
        """Return what the page shows, as JSON values."""
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
            "figures": {} if result.figures is None else asdict(result.figures),
            "channels": [asdict(channel) for channel in result.channels],
            "least": None if result.least is None else asdict(result.least),
            "notes": list(result.notes),
        }

    def _read(self, path: Path) -> Photo:
        return decode(path.read_bytes(), max_pixels=MAX_PIXELS)


def store_upload(folder: Path, number: int, name: str, data: bytes) -> UploadedPhoto:
    """Write an uploaded photo to a new `folder`.

    Raises:
        UserError: the data is not a photo, or too large.
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
        write_atomic(folder / "thumb.png", _png(reduced_image(photo.pixels, THUMB)))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return UploadedPhoto(folder, number, name, width, height, len(data))


def clean_name(name: str) -> str:
    """Return the last part of a file's name without characters that harm a file system, an archive or a terminal."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(char for char in unicodedata.normalize("NFC", last) if char.isprintable() and char not in '<>:"|?*')
    plain = plain.strip(" .")
    stem, suffix = Path(plain).stem, Path(plain).suffix
    return stem[: MAX_NAME - len(suffix[:8])] + suffix[:8] or "photo"


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
